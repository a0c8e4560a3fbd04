//! What the outside must do for the core: keep rows, send mail, tell the time, draw random bits.

mod attempt_limiter;
mod audit;
mod billing_store;
mod clock;
mod credit_store;
mod delegate;
mod identity_store;
mod mailer;
mod oauth;
mod outbox;
mod payment_provider;
mod random;
mod rate_limiter;
mod session_store;
mod store;
mod user_store;

#[doc(hidden)] // for `delegate!`
pub use async_trait::async_trait;
pub use attempt_limiter::{
    Attempt, AttemptLimiter, REMEMBERED, SLOW, WINDOW, WRONG_FROM_A_NETWORK, WRONG_IN_A_ROW,
};
pub use audit::AuditLog;
pub use billing_store::BillingStore;
pub use clock::{Clock, SystemClock};
pub use credit_store::{
    Balance, Booking, CreditStore, History, HistoryPage, LedgerAccount, LedgerLine,
};
pub use identity_store::{IdentityStore, Linked, Unlinked};
pub use mailer::{Mailer, MailerError, OutgoingMail};
pub(crate) use oauth::quoted;
pub use oauth::{
    AuthorizationRequest, CodeRedemption, OAuthProvider, ProvenIdentity, ProviderError,
};
pub use outbox::{
    ClaimedMail, Claims, DeadMail, DeadMails, GIVE_UP_AFTER, LONGEST_PUT_OFF, LOOKS, LOST,
    MOST_COUNTED, MailCounts, Outbox, PUT_OFF, UNREADABLE, put_off,
};
pub use payment_provider::{
    Card, Checkout, CheckoutPage, EVENTS_KEPT, NewSubscription, PaymentMethod, PaymentProvider,
    PaymentProviderError, PaymentSetup, PurchaseState, Retelling, Retold, Sale, SubscriptionState,
};
pub use random::{OsRandom, Random};
pub use rate_limiter::{Quota, RateLimiter, Standing};
pub use session_store::{Authenticated, Ended, Rotated, Rotation, SessionStore};
pub use store::{AccountPlace, Connections, Removal, Store, StoreError, Sweepable, Swept, Unique};
pub use user_store::{Begun, EmailChange, PasswordChange, Redeemed, UserStore};
