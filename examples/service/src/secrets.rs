//! Secrets of a development service: drawn once, kept beside the database, readable by their owner only.

use std::{
    fs::{self, File, Metadata, OpenOptions},
    io::{self, Read, Write},
    path::Path,
};

use auth_core::ports::{OsRandom, Random};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};

#[derive(Default)]
pub(crate) struct Generated {
    pub(crate) internal_api_key: Option<String>,
    pub(crate) secret_key: Option<String>,
}

/// 384 random bits.
pub(crate) fn draw() -> String {
    let mut bytes = [0; 48];
    OsRandom.fill(&mut bytes);
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// What [`read_or_generate`] would give, without making the file.
pub(crate) fn read_or_draw(path: &Path) -> io::Result<Generated> {
    if path.exists() {
        return read(path);
    }
    Ok(Generated {
        internal_api_key: Some(draw()),
        secret_key: Some(draw()),
    })
}

/// The secrets of that file, which is made with mode 0600 when it does not exist.
pub(crate) fn read_or_generate(path: &Path) -> io::Result<Generated> {
    if !path.exists() {
        generate(path)?;
    }
    read(path)
}

fn read(path: &Path) -> io::Result<Generated> {
    let mut file = File::open(path)?;
    refuse_if_others_can_read(&file.metadata()?)?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    let value = |name: &str| {
        text.lines().find_map(|line| {
            line.strip_prefix(name)?
                .strip_prefix('=')
                .map(str::to_owned)
        })
    };
    let generated = Generated {
        internal_api_key: value("INTERNAL_API_KEY"),
        secret_key: value("SECRET_KEY"),
    };
    if generated.secret_key.is_none() {
        return Err(io::Error::other(
            "has no line SECRET_KEY=; delete the file to have it made anew",
        ));
    }
    Ok(generated)
}

/// Makes the file with all that is in it, or leaves the one that another process was faster to make.
fn generate(path: &Path) -> io::Result<()> {
    let part = path.with_extension(format!("secrets-{}", std::process::id()));
    let mut file = create(&part)?;
    let made = writeln!(file, "SECRET_KEY={}\nINTERNAL_API_KEY={}", draw(), draw())
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::hard_link(&part, path));
    fs::remove_file(&part)?;
    match made {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

#[cfg(unix)]
pub(crate) fn refuse_if_others_can_read(about: &Metadata) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    if about.permissions().mode() & 0o077 != 0 {
        return Err(io::Error::other(
            "can be read by others; `chmod go= …` mends it",
        ));
    }
    Ok(())
}

#[cfg(not(unix))]
pub(crate) fn refuse_if_others_can_read(_: &Metadata) -> io::Result<()> {
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::read_or_generate;

    #[test]
    fn secrets_are_drawn_once_and_kept_from_others() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.secrets");
        let first = read_or_generate(&path).unwrap().secret_key;
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(read_or_generate(&path).unwrap().secret_key, first);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(read_or_generate(&path).is_err());
    }
}
