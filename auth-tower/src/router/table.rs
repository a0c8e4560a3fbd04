//! The declaration of all endpoints: dispatch, documents and tests read this table and nothing else.

use std::fmt;

use http::Method;

use super::route::{
    Route, RouteInfo, authenticated_by_body, billing, diagnostic, internal, public, signed,
    verified,
};
use crate::endpoints::{
    change_email, change_password, credits, delete_account, diagnostics, login, logout,
    lookup_user, me, oauth, refresh, register, resend_verification, reset_password, revoke,
    sessions, stripe, verify_email,
};

macro_rules! endpoints {
    ($($(#[$doc:meta])* $variant:ident => $name:literal),* $(,)?) => {
        /// Names an endpoint, for [`AuthRouter::without`](crate::AuthRouter::without) and [`RouteInfo`].
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Endpoint { $($(#[$doc])* $variant),* }

        impl Endpoint {
            /// Stable and `snake_case`.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }
        }
    };
}

endpoints! {
    /// `POST /credits/add`
    AddCredits => "add_credits",
    /// `GET /credits/balance`
    Balance => "balance",
    /// `POST /auth/cancel-email-change`
    CancelEmailChange => "cancel_email_change",
    /// `POST /stripe/cancel-subscription`
    CancelSubscription => "cancel_subscription",
    /// `PUT /auth/users/change-email`
    ChangeEmail => "change_email",
    /// `PUT /auth/users/change-password`
    ChangePassword => "change_password",
    /// `POST /stripe/change-subscription`
    ChangeSubscription => "change_subscription",
    /// `POST /stripe/create-checkout-session`
    CreateCheckoutSession => "create_checkout_session",
    /// `POST /stripe/create-subscription`
    CreateSubscription => "create_subscription",
    /// `DELETE /auth/users/delete-account`
    DeleteAccount => "delete_account",
    /// `GET /auth/users/{user_id}/email`
    EmailOfUser => "email_of_user",
    /// `DELETE /auth/sessions/{id}`
    EndSession => "end_session",
    /// `GET /health`
    Health => "health",
    /// `POST /auth/link/{provider}`
    Link => "link",
    /// `POST /auth/login`
    Login => "login",
    /// `POST /auth/logout`
    Logout => "logout",
    /// `GET /auth/me`
    Me => "me",
    /// `GET /auth/oauth/{provider}/callback`
    OauthCallback => "oauth_callback",
    /// `POST /auth/oauth/exchange`
    OauthExchange => "oauth_exchange",
    /// `GET /auth/oauth/{provider}/login`
    OauthLogin => "oauth_login",
    /// `GET /stripe/payment-methods`
    PaymentMethods => "payment_methods",
    /// `GET /health/ready`
    Ready => "ready",
    /// `POST /auth/refresh`
    Refresh => "refresh",
    /// `POST /auth/register`
    Register => "register",
    /// `POST /auth/password-reset-request`
    RequestPasswordReset => "request_password_reset",
    /// `POST /auth/resend-verification`
    ResendVerification => "resend_verification",
    /// `POST /update-password`
    ResetPassword => "reset_password",
    /// `POST /auth/revoke`
    Revoke => "revoke",
    /// `GET /auth/sessions`
    Sessions => "sessions",
    /// `POST /stripe/setup-intent`
    SetupIntent => "setup_intent",
    /// `POST /stripe/webhook`
    StripeWebhook => "stripe_webhook",
    /// `GET /auth/test-email`
    TestEmail => "test_email",
    /// `GET /credits/transactions`
    Transactions => "transactions",
    /// `POST /auth/unlink/{provider}`
    Unlink => "unlink",
    /// `POST /credits/use`
    UseCredits => "use_credits",
    /// `GET /auth/users/by-email/{email}`
    UserByEmail => "user_by_email",
    /// `POST /auth/verify-email`
    VerifyEmail => "verify_email",
    /// `GET /auth/verify-email`
    VerifyEmailLink => "verify_email_link",
    /// `GET /auth/verify-email-templates`
    VerifyEmailTemplates => "verify_email_templates",
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// All routes of this crate, as they are declared, whether or not a host switches one off.
///
/// ```
/// for route in auth_tower::routes() {
///     println!("{} {} ({}): {}", route.method, route.path, route.class, route.summary);
/// }
/// ```
pub fn routes() -> impl Iterator<Item = RouteInfo> {
    declared().into_iter().map(|route| route.info)
}

#[rustfmt::skip]
pub(crate) fn declared() -> Vec<Route> {
    use Endpoint as E;
    const GET: Method = Method::GET;
    const POST: Method = Method::POST;
    const PUT: Method = Method::PUT;
    const DELETE: Method = Method::DELETE;
    vec![
        public(E::Register, POST, "/auth/register", register::register).json().says("Creates an account and opens its first session"),
        public(E::Login, POST, "/auth/login", login::login).json_or_form().says("Opens a session by username or e-mail address and password"),
        public(E::VerifyEmailLink, GET, "/auth/verify-email", verify_email::verify_email).query().with_effect().by_mail().says("Verifies an e-mail address, or completes its change, by the mailed token"),
        public(E::VerifyEmail, POST, "/auth/verify-email", verify_email::verify_email).json().by_mail().says("Verifies an e-mail address, or completes its change, by the mailed token"),
        public(E::CancelEmailChange, POST, "/auth/cancel-email-change", change_email::cancel_email_change).json().by_mail().says("Drops a change of address and ends every session, by the token mailed to the old address"),
        public(E::ResendVerification, POST, "/auth/resend-verification", resend_verification::resend_verification).json().by_mail().says("Mails another verification link"),
        public(E::RequestPasswordReset, POST, "/auth/password-reset-request", reset_password::request_password_reset).json().by_mail().says("Mails a link to set a new password"),
        public(E::ResetPassword, POST, "/update-password", reset_password::reset_password).json().by_mail().says("Sets a new password by the mailed token and ends every session"),
        diagnostic(E::TestEmail, GET, "/auth/test-email", diagnostics::test_email).with_effect().by_mail().says("Sends a mail to the operator, and tells whether it left"),
        diagnostic(E::VerifyEmailTemplates, GET, "/auth/verify-email-templates", diagnostics::verify_email_templates).by_mail().says("Renders every mail in every language, and tells what is wrong"),
        public(E::OauthLogin, GET, "/auth/oauth/{provider}/login", oauth::start).query().with_effect().says("Sends the browser to a provider to sign in"),
        public(E::OauthCallback, GET, "/auth/oauth/{provider}/callback", oauth::callback).query().with_effect().says("Opens a session, or links, when the browser comes back from a provider"),
        public(E::OauthExchange, POST, "/auth/oauth/exchange", oauth::exchange).json().says("Trades the code that a sign-in ended with for tokens"),
        authenticated_by_body(E::Refresh, POST, "/auth/refresh", refresh::refresh).json().says("Trades a refresh token, or a valid access token, for the next tokens"),
        verified(E::Me, GET, "/auth/me", me::me).says("Tells who is logged in"),
        verified(E::Logout, POST, "/auth/logout", logout::logout).query().says("Ends this session, the others or all"),
        public(E::Revoke, POST, "/auth/revoke", revoke::revoke).json_or_form().says("Ends the session of an access or refresh token"),
        verified(E::ChangePassword, PUT, "/auth/users/change-password", change_password::change_password).json().says("Changes the password and ends every other session"),
        verified(E::ChangeEmail, PUT, "/auth/users/change-email", change_email::request_email_change).json().by_mail().says("Mails a link to a new address, which completes the change"),
        verified(E::DeleteAccount, DELETE, "/auth/users/delete-account", delete_account::delete_account).json().says("Deletes the account"),
        verified(E::Link, POST, "/auth/link/{provider}", oauth::link).json().says("Lets an identity at a provider open the account, too"),
        verified(E::Unlink, POST, "/auth/unlink/{provider}", oauth::unlink).json().says("Takes that from it, unless nothing else opens the account"),
        verified(E::Sessions, GET, "/auth/sessions", sessions::sessions).says("Lists the live sessions"),
        verified(E::EndSession, DELETE, "/auth/sessions/{id}", sessions::end_session).says("Ends one session"),
        internal(E::EmailOfUser, GET, "/auth/users/{user_id}/email", lookup_user::email_of_user).says("Tells the e-mail address of a user"),
        internal(E::UserByEmail, GET, "/auth/users/by-email/{email}", lookup_user::user_by_email).says("Finds a user by e-mail address"),
        billing(E::Balance, GET, "/credits/balance", credits::balance).query().says("Tells the balance of a user"),
        billing(E::AddCredits, POST, "/credits/add", credits::add).json().says("Adds credits to a balance"),
        billing(E::UseCredits, POST, "/credits/use", credits::spend).json().says("Uses credits of a balance"),
        billing(E::Transactions, GET, "/credits/transactions", credits::transactions).query().says("Lists the movements of a balance, the newest first"),
        signed(E::StripeWebhook, POST, "/stripe/webhook", stripe::webhook).raw(512 * 1024).says("Takes an event of Stripe: grants what was paid, takes back what was given back"),
        billing(E::CreateCheckoutSession, POST, "/stripe/create-checkout-session", stripe::create_checkout_session).json().says("Makes a page of Stripe that sells a plan or a credit pack"),
        billing(E::SetupIntent, POST, "/stripe/setup-intent", stripe::setup_intent).json().says("Lets a client leave a payment method with Stripe"),
        billing(E::PaymentMethods, GET, "/stripe/payment-methods", stripe::payment_methods).query().says("Lists what a user can pay with"),
        billing(E::CreateSubscription, POST, "/stripe/create-subscription", stripe::create_subscription).json().says("Begins a subscription to a plan"),
        billing(E::ChangeSubscription, POST, "/stripe/change-subscription", stripe::change_subscription).json().says("Changes the plan: at once to more credits, otherwise when the period ends"),
        billing(E::CancelSubscription, POST, "/stripe/cancel-subscription", stripe::cancel_subscription).json().says("Cancels a subscription, with its period or at once"),
        public(E::Health, GET, "/health", diagnostics::health).says("Answers as long as the process serves"),
        public(E::Ready, GET, "/health/ready", diagnostics::ready).says("Tells whether everything that is needed serves"),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::routes;

    #[test]
    fn each_endpoint_is_declared_once_and_explained() {
        let all: Vec<_> = routes().collect();
        let endpoints: HashSet<_> = all.iter().map(|route| route.endpoint).collect();
        let places: HashSet<_> = all
            .iter()
            .map(|route| (&route.method, route.path))
            .collect();
        assert_eq!((endpoints.len(), places.len()), (all.len(), all.len()));
        assert!(all.iter().all(|route| !route.summary.is_empty()));
    }
}
