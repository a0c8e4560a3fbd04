//! Writes every mail in every language into a folder, to be looked at in a browser:
//! `cargo run -p auth-templates --example preview -- DIR [TEMPLATES]`, the second with a host's overrides.

use std::env;
use std::error::Error;
use std::fs;
use std::path::PathBuf;

use auth_templates::{Mail, Templates};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args_os().skip(1).map(PathBuf::from);
    let target = arguments.next().ok_or("which folder?")?;
    let templates = match arguments.next() {
        Some(folder) => Templates::with_overrides(&folder)?,
        None => Templates::builtin()?,
    };
    for locale in templates.locales() {
        let folder = target.join(locale);
        fs::create_dir_all(&folder)?;
        for mail in Mail::samples() {
            let rendered = templates.render(locale, "Example", &mail)?;
            let file = folder.join(mail.name());
            fs::write(file.with_extension("html"), rendered.html)?;
            let letter = format!("Subject: {}\n\n{}", rendered.subject, rendered.text);
            fs::write(file.with_extension("txt"), letter)?;
        }
    }
    Ok(())
}
