//! `auth-service config`: what is set, and whether the service would start with it.

use clap::Subcommand;

use crate::{
    console::{Unsaid, complain_of, say},
    settings::{Settings, Source},
};

#[derive(Subcommand)]
pub(crate) enum Config {
    /// Tell every fault of the settings; status 1 when there is one
    Check,
    /// List every setting, where it comes from and, unless it is a secret, its value; status 1 when one is wrong
    Show,
}

/// Does it without writing anything; `false` when a setting is wrong.
pub(crate) fn run(what: &Config) -> Result<bool, Unsaid> {
    let look = Settings::look();
    if let Config::Show = what {
        for setting in &look.settings {
            let name = &setting.name;
            match (&setting.source, &setting.shown) {
                (Source::Default, _) => say(&format!("{name} is not set"))?,
                (source, Some(value)) => say(&format!("{name}={value} ({source})"))?,
                (source, None) => say(&format!("{name} is set and not shown ({source})"))?,
            }
        }
    }
    match look.outcome {
        Ok(settings) => {
            for note in &settings.notes {
                say(&format!("note: {note}"))?;
            }
            if let Config::Check = what {
                say("the settings are good")?;
            }
            Ok(true)
        }
        Err(faults) => {
            complain_of(&faults.lines);
            Ok(false)
        }
    }
}
