//! What the scripts in `.ci` put into the target directory: programs of others that tests hold us against.

use std::path::PathBuf;

/// Where something is in the target directory.
///
/// # Panics
/// When it is not there, with the script that puts it there.
pub(crate) fn installed(what: &str, by: &str) -> PathBuf {
    // <target directory>/<profile>/deps/<test>
    let test = std::env::current_exe().unwrap();
    let target = test
        .ancestors()
        .nth(3)
        .expect("tests run in the target directory");
    let place = target.join(what);
    assert!(
        place.exists(),
        "{} is not there: `{by}` installs it",
        place.display()
    );
    place
}
