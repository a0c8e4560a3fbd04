//! One file a feature, each with its own `impl Auth`.

mod admin;
mod attempts;
mod change_email;
mod change_password;
mod delete_account;
mod diagnostics;
mod language;
mod login;
mod logout;
mod lookup_user;
mod me;
pub(crate) mod oauth;
mod refresh;
mod register;
mod resend_verification;
mod reset_password;
mod revoke;
mod sessions;
mod verify_email;

pub use admin::NewUser;
pub use change_email::ChangeEmail;
pub use change_password::ChangePassword;
pub use diagnostics::TemplateReport;
pub use login::Login;
pub use logout::LogoutScope;
pub use oauth::{Callback, CallbackError, LinkIdentity, Linking, SignIn, SignedIn, StartSignIn};
pub use refresh::Refresh;
pub use register::{Register, Registration};
pub use verify_email::{Verified, VerifiedStatus};

/// Takes a tenth of a second at the least: how much there was to do, for an account that exists or for none, does not show in the time of the answer.
async fn evenly<T>(work: impl Future<Output = T>) -> T {
    let (done, ()) = tokio::join!(
        work,
        tokio::time::sleep(std::time::Duration::from_millis(100))
    );
    done
}
