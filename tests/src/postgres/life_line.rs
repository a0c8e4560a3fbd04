use std::{
    ffi::OsStr,
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
};

/// Cleans up when it is dropped or this process ends, in whatever way.
#[derive(Debug)]
pub(super) struct LifeLine {
    /// Waits until its input is closed.
    shell: Child,
}

impl LifeLine {
    /// What is cleaned up how: a script and its arguments.
    pub(super) fn new<A: AsRef<OsStr>>(
        script: &str,
        arguments: impl IntoIterator<Item = A>,
    ) -> Self {
        let shell = Command::new("sh")
            .arg("-c")
            .arg(format!("cat > /dev/null; {script}"))
            .arg("sh")
            .args(arguments)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // An interrupt from the keyboard is not for it.
            .process_group(0)
            .spawn()
            .unwrap();
        Self { shell }
    }
}

impl Drop for LifeLine {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}
