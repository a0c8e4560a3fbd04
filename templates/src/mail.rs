use std::fmt;

use serde::Serialize;

/// One mail, with all that its template may show.
///
/// Serialisable for checks only. `Debug` prints the name and nothing else, because a link holds a
/// one-time token.
#[derive(Clone, Serialize)]
#[serde(tag = "mail", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Mail {
    /// Greets a new user and asks to verify the address.
    Welcome {
        /// Name of the account.
        username: String,
        /// Page that verifies the address.
        link: String,
        /// Hours until the link expires.
        valid_hours: u32,
    },
    /// Asks once more to verify the address.
    VerifyEmail {
        /// Name of the account.
        username: String,
        /// Page that verifies the address.
        link: String,
        /// Hours until the link expires.
        valid_hours: u32,
    },
    /// Lets somebody who forgot the password choose another.
    PasswordReset {
        /// Name of the account.
        username: String,
        /// Page that takes the new password.
        link: String,
        /// Minutes until the link expires.
        valid_minutes: u32,
    },
    /// Tells that the password is another now.
    PasswordChanged {
        /// Name of the account.
        username: String,
    },
    /// Asks the new address for its consent to an address change.
    EmailChangeVerify {
        /// Name of the account.
        username: String,
        /// Page that confirms the new address.
        link: String,
        /// Hours until the link expires.
        valid_hours: u32,
    },
    /// Tells the old address of a requested address change.
    EmailChangeNotice {
        /// Name of the account.
        username: String,
        /// The address that was asked for.
        new_email: String,
        /// Page that cancels the change.
        link: String,
        /// Hours until the link expires.
        valid_hours: u32,
    },
    /// Tells that the account is gone.
    AccountDeleted {
        /// Name the account had.
        username: String,
    },
    /// Tells the owner of an address that somebody tried to register with it.
    AccountExists {
        /// Name of the account that has the address.
        username: String,
        /// Page that takes a new password.
        link: String,
        /// Minutes until the link expires.
        valid_minutes: u32,
    },
}

impl Mail {
    /// The name of the kind of mail, in `snake_case`: that of its templates.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Welcome { .. } => "welcome",
            Self::VerifyEmail { .. } => "verify_email",
            Self::PasswordReset { .. } => "password_reset",
            Self::PasswordChanged { .. } => "password_changed",
            Self::EmailChangeVerify { .. } => "email_change_verify",
            Self::EmailChangeNotice { .. } => "email_change_notice",
            Self::AccountDeleted { .. } => "account_deleted",
            Self::AccountExists { .. } => "account_exists",
        }
    }

    /// One mail of each kind, with harmless values.
    pub fn samples() -> Vec<Self> {
        std::iter::successors(Some(Self::first_sample()), Self::next_sample).collect()
    }

    fn first_sample() -> Self {
        Self::Welcome {
            username: sample_username(),
            link: sample_link("verify-email"),
            valid_hours: 24,
        }
    }

    // A chain through a match without a wildcard: a new kind does not compile until it has its place here.
    fn next_sample(&self) -> Option<Self> {
        let username = sample_username();
        Some(match self {
            Self::Welcome { .. } => Self::VerifyEmail {
                username,
                link: sample_link("verify-email"),
                valid_hours: 24,
            },
            Self::VerifyEmail { .. } => Self::PasswordReset {
                username,
                link: sample_link("update-password"),
                valid_minutes: 30,
            },
            Self::PasswordReset { .. } => Self::PasswordChanged { username },
            Self::PasswordChanged { .. } => Self::EmailChangeVerify {
                username,
                link: sample_link("verify-email"),
                valid_hours: 24,
            },
            Self::EmailChangeVerify { .. } => Self::EmailChangeNotice {
                username,
                new_email: "new@example.com".to_owned(),
                link: sample_link("cancel-email-change"),
                valid_hours: 24,
            },
            Self::EmailChangeNotice { .. } => Self::AccountDeleted { username },
            Self::AccountDeleted { .. } => Self::AccountExists {
                username,
                link: sample_link("update-password"),
                valid_minutes: 30,
            },
            Self::AccountExists { .. } => return None,
        })
    }
}

impl fmt::Debug for Mail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mail({})", self.name())
    }
}

fn sample_username() -> String {
    "username".to_owned()
}

fn sample_link(page: &str) -> String {
    format!("https://example.com/{page}?token=sample")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::files;

    #[test]
    fn each_kind_of_mail_has_one_sample_and_two_templates() {
        let mut wanted: BTreeSet<String> = ["mail/layout.html", "mail/layout.txt"]
            .map(str::to_owned)
            .into();
        for mail in Mail::samples() {
            for part in ["html", "txt"] {
                let path = format!("mail/{}.{part}", mail.name());
                assert!(wanted.insert(path.clone()), "{path} twice");
            }
        }
        let present = files::builtin()
            .templates
            .into_iter()
            .map(|file| file.path)
            .collect();
        assert_eq!(wanted, present);
    }

    #[test]
    fn the_serialised_form_carries_the_same_name() {
        for mail in Mail::samples() {
            let json = serde_json::to_value(&mail).unwrap();
            assert_eq!(json["mail"], mail.name());
            assert_eq!(json["username"], "username");
        }
    }

    #[test]
    fn debug_output_hides_the_link_and_the_user() {
        for mail in Mail::samples() {
            assert_eq!(format!("{mail:?}"), format!("Mail({})", mail.name()));
        }
    }
}
