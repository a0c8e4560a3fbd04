//! The mailer of development: each mail is an `.eml` file in a folder.

use std::{
    io,
    path::{Path, PathBuf},
};

use async_trait::async_trait;
use auth_core::{
    adapters::Sender,
    ports::{Mailer, MailerError, OutgoingMail},
};

use crate::secrets;

#[derive(Debug, Clone)]
pub(crate) struct MailFolder {
    folder: PathBuf,
    sender: Sender,
}

impl MailFolder {
    /// Makes the folder if it is not there, for its owner only, and refuses one that others can look into: mails carry tokens.
    pub(crate) fn open(folder: PathBuf, sender: Sender) -> io::Result<Self> {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&folder)?;
        secrets::refuse_if_others_can_read(&std::fs::metadata(&folder)?)?;
        Ok(Self { folder, sender })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.folder
    }

    /// The newest mails first, at most `limit`; their names are times and ids, so names sort by age.
    pub(crate) async fn newest(&self, limit: usize) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        let mut entries = tokio::fs::read_dir(&self.folder).await?;
        while let Some(entry) = entries.next_entry().await? {
            names.extend(
                entry
                    .file_name()
                    .into_string()
                    .ok()
                    .filter(|name| name.strip_suffix(".eml").is_some()),
            );
        }
        names.sort_unstable_by(|a, b| b.cmp(a));
        names.truncate(limit);
        Ok(names)
    }

    /// One mail as it was written; `None` for a name that is none of ours.
    pub(crate) async fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        let stem = name.strip_suffix(".eml").unwrap_or_default();
        if stem.is_empty()
            || !stem
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        {
            return Ok(None);
        }
        match tokio::fs::read(self.folder.join(name)).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[async_trait]
impl Mailer for MailFolder {
    async fn send(&self, mail: &OutgoingMail) -> Result<(), MailerError> {
        let message = self.sender.write(mail)?;
        let write = async {
            // First under another name: who looks at the folder sees whole mails only.
            let part = self.folder.join(format!("{}.part", mail.id));
            tokio::fs::write(&part, message).await?;
            // Ids are UUIDv7: their names sort by time.
            tokio::fs::rename(&part, self.folder.join(format!("{}.eml", mail.id))).await
        };
        write
            .await
            .map_err(|error: io::Error| MailerError::Temporary(error.into()))
    }
}
