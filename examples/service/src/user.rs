//! `auth-service user`: accounts by the hand of an operator.

use std::io::{self, BufRead, IsTerminal};

use auth_core::{
    Auth, Error, NewUser,
    types::{AccountKey, Client, Email, Password, Secret, User as Account, UserId, Username},
};
use clap::{Args, Subcommand};
use tokio::time::Instant;

use crate::{
    BoxError,
    console::{Unsaid, complain, say},
    database::{self, Database},
    migrate,
    settings::Settings,
};

#[derive(Subcommand)]
pub(crate) enum User {
    /// Make an account; its password is the first line of standard input
    Create(Create),
    /// Give administrator rights, or take them
    SetAdmin {
        #[command(flatten)]
        who: Who,
        /// Take them
        #[arg(long)]
        revoke: bool,
    },
    /// Switch an account off, which ends its sessions at once
    Disable(Who),
    /// Switch an account on again
    Enable(Who),
}

#[derive(Args)]
pub(crate) struct Create {
    #[arg(long)]
    username: String,
    #[arg(long)]
    email: String,
    /// With administrator rights
    #[arg(long)]
    admin: bool,
    /// Do not vouch for the address: the account has to prove it before it can be used
    #[arg(long)]
    unverified: bool,
}

#[derive(Args)]
pub(crate) struct Who {
    /// Id, username or e-mail address
    who: String,
}

/// Does it; `false` when there is no such account, or none can be made so.
pub(crate) async fn run(what: &User, settings: &Settings) -> Result<bool, BoxError> {
    let deadline = Instant::now() + database::PATIENCE;
    let database = Database::open(&settings.database.url, 2, deadline, complain).await?;
    migrate::require_newest(&database).await?;
    let auth = database
        .auth(settings.accounts.signing_keys.clone())
        .hashing(settings.accounts.hashing)
        .build()?;
    let done = match what {
        User::Create(new) => create(&auth, new).await,
        User::SetAdmin { who, revoke } => {
            set(&auth, &database, who, |auth, id| async move {
                auth.set_admin(id, !revoke, &Client::default()).await
            })
            .await
        }
        User::Disable(who) => {
            set(&auth, &database, who, |auth, id| async move {
                auth.set_disabled(id, true, &Client::default()).await
            })
            .await
        }
        User::Enable(who) => {
            set(&auth, &database, who, |auth, id| async move {
                auth.set_disabled(id, false, &Client::default()).await
            })
            .await
        }
    };
    database.close().await;
    done
}

async fn create(auth: &Auth, new: &Create) -> Result<bool, BoxError> {
    let mut faults = Vec::new();
    let username = Username::parse(&new.username)
        .map_err(|reason| faults.push(format!("username: {}", reason.message)));
    let email = Email::parse(&new.email)
        .map_err(|reason| faults.push(format!("email: {}", reason.message)));
    let password = Password::parse(password()?.expose())
        .map_err(|reason| faults.push(format!("password: {}", reason.message)));
    let (Ok(username), Ok(email), Ok(password)) = (username, email, password) else {
        for fault in &faults {
            complain(fault);
        }
        return Ok(false);
    };
    let new = NewUser {
        username,
        email,
        password,
        is_admin: new.admin,
        is_verified: !new.unverified,
    };
    match auth.create_user(new, &Client::default()).await {
        Ok(user) => {
            tell(&user)?;
            Ok(true)
        }
        Err(Error::Invalid(fields)) => {
            for field in fields {
                complain(&format!("{}: {}", field.field, field.reason.message));
            }
            Ok(false)
        }
        Err(error @ Error::UserExists(_)) => {
            complain(&error.to_string());
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}

async fn set<'a, W>(
    auth: &'a Auth,
    database: &Database,
    Who { who }: &Who,
    change: impl FnOnce(&'a Auth, UserId) -> W,
) -> Result<bool, BoxError>
where
    W: Future<Output = Result<(), Error>> + 'a,
{
    let key = UserId::parse(who)
        .ok()
        .map(AccountKey::Id)
        .or_else(|| AccountKey::login_name(who));
    let found = match key {
        Some(key) => database.users().account(&key).await?,
        None => None,
    };
    let Some(found) = found else {
        complain("there is no such user");
        return Ok(false);
    };
    change(auth, found.user.id).await?;
    tell(&auth.user(found.user.id).await?)?;
    Ok(true)
}

fn tell(user: &Account) -> Result<(), Unsaid> {
    let mut text = format!("{} {}", user.id, user.username);
    for (is_so, word) in [
        (user.is_admin, "administrator"),
        (user.is_disabled, "disabled"),
        (!user.is_verified, "unverified"),
    ] {
        if is_so {
            text += ", ";
            text += word;
        }
    }
    say(&text)
}

/// The first line of standard input. Never an argument: every user of the machine can read those.
fn password() -> io::Result<Secret<String>> {
    let input = io::stdin();
    let _silence = if input.is_terminal() {
        complain("Password (not shown):");
        Some(Silence::new()?)
    } else {
        None
    };
    let mut line = String::new();
    input.lock().read_line(&mut line)?;
    let end = line.trim_end_matches(['\r', '\n']).len();
    line.truncate(end);
    Ok(Secret::new(line))
}

/// A terminal that shows nothing of what is typed, until it is dropped.
#[cfg(unix)]
struct Silence(rustix::termios::Termios);

#[cfg(unix)]
impl Silence {
    fn new() -> io::Result<Self> {
        use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
        let before = tcgetattr(io::stdin())?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Flush, &silent)?;
        Ok(Self(before))
    }
}

#[cfg(unix)]
impl Drop for Silence {
    fn drop(&mut self) {
        use rustix::termios::{OptionalActions, tcsetattr};
        // There is nobody to tell.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}

#[cfg(not(unix))]
struct Silence;

#[cfg(not(unix))]
impl Silence {
    fn new() -> io::Result<Self> {
        Err(io::Error::other(
            "pipe the password in: this terminal cannot be silenced",
        ))
    }
}
