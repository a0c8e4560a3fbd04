use time::OffsetDateTime;

use super::{
    Email, IdentityKey, NewIdentity, NewMailedToken, NewSession, PasswordHash, ProviderName,
    UserId, Username,
};

/// An account as its owner, the host and other services see it.
#[derive(Debug, Clone)]
#[allow(clippy::struct_excessive_bools)] // each is a fact of its own
pub struct User {
    /// Never changes.
    pub id: UserId,
    /// Unique without regard to case.
    pub username: Username,
    /// Unique without regard to case.
    pub email: Email,
    /// The mailbox of `email` was proven.
    pub is_verified: bool,
    /// May do what the host reserves for administrators.
    pub is_admin: bool,
    /// An administrator switched the account off: no login, no session.
    pub is_disabled: bool,
    /// A password is set; accounts made by another sign-in method have none.
    pub has_password: bool,
    /// Where the user has an identity that opens the account, in alphabetical order.
    pub providers: Vec<ProviderName>,
    /// Of the mails to this user, such as `en`.
    pub locale: String,
    /// UTC.
    pub created_at: OffsetDateTime,
    /// UTC; when name, address, password or status last changed.
    pub updated_at: OffsetDateTime,
}

impl User {
    /// The ways in which this user can log in.
    pub fn sign_in_methods(&self) -> Vec<SignInMethod> {
        let password = self.has_password.then_some(SignInMethod::Password);
        let providers = self.providers.iter().cloned().map(SignInMethod::Provider);
        password.into_iter().chain(providers).collect()
    }
}

/// A way to log in.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SignInMethod {
    /// Username or address, and a password.
    Password,
    /// An identity at this provider.
    Provider(ProviderName),
}

impl SignInMethod {
    /// As the contract spells it.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Password => "password",
            Self::Provider(name) => name.as_str(),
        }
    }
}

/// Counts the changes of what opens an account: password, address, identities, disabling.
///
/// A write that rests on an earlier look at the credentials names the version it saw; another version refuses the write.
/// So a login that began before a password reset cannot open a session after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CredentialsVersion(i64);

impl CredentialsVersion {
    /// Of a new account.
    pub const FIRST: Self = Self(1);

    /// For stores.
    pub const fn from_i64(version: i64) -> Self {
        Self(version)
    }

    /// For stores.
    pub const fn as_i64(self) -> i64 {
        self.0
    }

    /// After a change.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// A user with what proves it is them.
#[derive(Debug, Clone)]
pub struct Account {
    /// Who.
    pub user: User,
    /// `None` when no password is set.
    pub password: Option<PasswordHash>,
    /// What a later write must name.
    pub version: CredentialsVersion,
}

/// How an account is looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccountKey {
    /// By address, without regard to case.
    Email(Email),
    /// By id.
    Id(UserId),
    /// By an identity at a provider.
    Identity(IdentityKey),
    /// By username, without regard to case.
    Username(Username),
}

impl AccountKey {
    /// What a person typed into "username or e-mail address"; `None` when no account can have it.
    pub fn login_name(raw: &str) -> Option<Self> {
        if raw.contains('@') {
            Email::parse(raw).ok().map(Self::Email)
        } else {
            Username::parse(raw).ok().map(Self::Username)
        }
    }
}

/// All that a registration writes beside its [`Record`](super::Record).
#[derive(Debug, Clone)]
pub struct NewAccount {
    /// The new user.
    pub user: User,
    /// `None` for accounts of another sign-in method.
    pub password: Option<PasswordHash>,
    /// The session that it opens, if any.
    pub session: Option<NewSession>,
    /// The token of the welcome mail, if one is sent.
    pub token: Option<NewMailedToken>,
    /// The identity that opens it, if it comes from a provider.
    pub identity: Option<NewIdentity>,
}
