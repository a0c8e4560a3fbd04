use lettre::message::Mailbox;

use super::reader::Reader;

/// How mails leave.
pub(crate) struct Mail {
    pub(crate) from: Mailbox,
}

impl Mail {
    pub(super) fn read(reader: &mut Reader) -> Option<Self> {
        let default = Mailbox::new(None, "auth-service@localhost.localdomain".parse().ok()?);
        Some(Self {
            from: reader.or("MAIL_FROM", default, |text| {
                text.parse().map_err(|_| "must be an e-mail address")
            }),
        })
    }
}
