//! One file a feature, named as in `auth_core`: fields in, a call of the core, an answer out.

pub(crate) mod change_email;
pub(crate) mod change_password;
pub(crate) mod credits;
pub(crate) mod delete_account;
pub(crate) mod diagnostics;
pub(crate) mod login;
pub(crate) mod logout;
pub(crate) mod lookup_user;
pub(crate) mod me;
pub(crate) mod oauth;
pub(crate) mod refresh;
pub(crate) mod register;
pub(crate) mod resend_verification;
pub(crate) mod reset_password;
pub(crate) mod revoke;
pub(crate) mod sessions;
pub(crate) mod stripe;
pub(crate) mod verify_email;

mod answers;
