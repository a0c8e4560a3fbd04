use std::{
    ops::Deref,
    sync::{Arc, OnceLock},
};

use auth_billing::{Billing, StripeProvider};
use auth_core::{
    Auth, AuthBuilder, Hashing, Links, SigningKeys, Templates,
    ports::{AuditLog, Outbox, SessionStore, UserStore},
    types::{AccountKey, Email, ProviderName, RedirectUri, Secret, UserId},
};
use auth_tower::{AuthRouter, ClientIp, InternalKeys};
use serde_json::json;

use crate::{
    Client, Mail, Mailbox, MovableClock, PASSWORD, Person, StoreKind, TestStore, email_of,
    postgres::Proxy,
    provider::{PATIENCE, Provider},
    store::Data,
    stripe,
    stripe_api::StripeApi,
};

/// `SECRET_KEY` of an app.
pub const SECRET: &str = "the signing secret of these tests, 0123456789";
/// An API key that opens internal routes.
pub const API_KEY: &str = "api-key-of-the-tests-0123456789abcdef";
/// Another one, under another name.
pub const OTHER_API_KEY: &str = "other-api-key-of-the-tests-0123456789";

/// A page that browsers may be sent to, in an app that has any.
pub const ALLOWED_PAGE: &str = "https://app.example.org/welcome";
/// Who gets test mails.
pub const OPERATOR: &str = "operator@example.org";

/// The whole: endpoints over a real store, a mailbox and a clock. It is a [`Client`] of its own endpoints.
#[derive(Debug)]
pub struct App {
    /// The core.
    pub auth: Auth,
    /// Credits, in the same store.
    pub billing: Billing,
    /// What the core takes for the time.
    pub clock: MovableClock,
    /// Where its mails arrive.
    pub mailbox: Mailbox,
    /// What the core keeps things in.
    pub store: TestStore,
    client: Client,
    data: Arc<Data>,
}

/// The ring with [`SECRET`] alone.
pub fn signing_keys() -> SigningKeys {
    SigningKeys::parse(SECRET).unwrap()
}

/// The built-in ones, proved once for all apps of a process: that takes a while in a debug build.
fn templates() -> Templates {
    static TEMPLATES: OnceLock<Templates> = OnceLock::new();
    TEMPLATES
        .get_or_init(|| Templates::builtin().unwrap())
        .clone()
}

impl App {
    /// Over memory.
    pub async fn start() -> Self {
        Self::on(StoreKind::Memory).await
    }

    /// Over a store of this kind, which is empty.
    pub async fn on(kind: StoreKind) -> Self {
        Self::with(kind, |auth| auth).await
    }

    /// With other settings.
    pub async fn with(kind: StoreKind, settings: impl FnOnce(AuthBuilder) -> AuthBuilder) -> Self {
        let data = Arc::new(Data::new(kind).await);
        let (clock, mailbox) = <(MovableClock, Mailbox)>::default();
        Self::over(data, clock, mailbox, signing_keys(), settings).await
    }

    /// Over a database with our schema behind a proxy, by one connection: each statement is prepared once.
    pub async fn behind(proxy: &Proxy) -> Self {
        let data = Arc::new(Data::Postgres {
            database: proxy.database.clone(),
            connections: 1,
        });
        let (clock, mailbox) = <(MovableClock, Mailbox)>::default();
        Self::over(data, clock, mailbox, signing_keys(), allowing).await
    }

    /// With two providers: `google`, which decides about addresses as Google does, and `acme`, which decides about none.
    pub async fn with_providers(kind: StoreKind) -> (Self, Provider, Provider) {
        Self::with_providers_within(kind, PATIENCE).await
    }

    /// As [`with_providers`](Self::with_providers), and waits no longer than that for an answer of one.
    pub async fn with_providers_within(
        kind: StoreKind,
        patience: std::time::Duration,
    ) -> (Self, Provider, Provider) {
        let data = Arc::new(Data::new(kind).await);
        let (clock, mailbox) = <(MovableClock, Mailbox)>::default();
        let google = Provider::start(clock.clone()).await;
        let acme = Provider::start(clock.clone()).await;
        let settings = |auth| sign_in(auth, &google, &acme, patience);
        let app = Self::over(data, clock, mailbox, signing_keys(), settings).await;
        (app, google, acme)
    }

    /// A [`replica`](Self::replica) of an app that has these providers; it knows nothing of them yet.
    pub async fn replica_with_providers(
        &self,
        google: &Provider,
        acme: &Provider,
        patience: std::time::Duration,
    ) -> Self {
        self.replica(signing_keys(), |auth| sign_in(auth, google, acme, patience))
            .await
    }

    /// With a Stripe that it sells by.
    pub async fn selling(kind: StoreKind) -> (Self, StripeApi) {
        let data = Arc::new(Data::new(kind).await);
        let (clock, mailbox) = <(MovableClock, Mailbox)>::default();
        let stripe = StripeApi::start(clock.clone()).await;
        let app = Self::over(data, clock, mailbox, signing_keys(), allowing).await;
        (app.sold_by(&stripe), stripe)
    }

    /// A [`replica`](Self::replica) that sells by the same Stripe.
    pub async fn selling_replica(&self, stripe: &StripeApi) -> Self {
        let app = self.replica(signing_keys(), allowing).await;
        app.sold_by(stripe)
    }

    /// The same, selling by this Stripe.
    #[must_use]
    pub fn sold_by(self, stripe: &StripeApi) -> Self {
        self.sold_through(stripe.provider())
    }

    /// The same, selling by what this says.
    #[must_use]
    pub fn sold_through(mut self, provider: StripeProvider) -> Self {
        let settings = stripe::settings().provider(provider);
        self.billing = self.billing.stripe(settings);
        self.client = Client::of(self.router().into_service());
        self
    }

    /// A second process on the same data, at the same time, with the same mailbox, and with these keys and settings.
    pub async fn replica(
        &self,
        keys: SigningKeys,
        settings: impl FnOnce(AuthBuilder) -> AuthBuilder,
    ) -> Self {
        let (data, clock) = (Arc::clone(&self.data), self.clock.clone());
        Self::over(data, clock, self.mailbox.clone(), keys, settings).await
    }

    async fn over(
        data: Arc<Data>,
        clock: MovableClock,
        mailbox: Mailbox,
        keys: SigningKeys,
        settings: impl FnOnce(AuthBuilder) -> AuthBuilder,
    ) -> Self {
        let store = TestStore::new(data.handle().await);
        let auth = Auth::builder(store.clone(), keys)
            .clock(clock.clone())
            .hashing(Hashing::bcrypt(4).unwrap())
            .templates(templates())
            .mailer(
                mailbox.clone(),
                Links::to("https://app.example.org").unwrap(),
            );
        let auth = auth.test_mail_to(Email::parse(OPERATOR).unwrap());
        let auth = settings(auth).build().unwrap();
        let billing = Billing::new(&auth, store.clone()).stripe(stripe::settings());
        Self {
            client: Client::of(router(&auth, &billing).into_service()),
            auth,
            billing,
            clock,
            mailbox,
            store,
            data,
        }
    }

    /// The endpoints, for a host that mounts them in its own way.
    pub fn router(&self) -> AuthRouter {
        router(&self.auth, &self.billing)
    }

    /// The keys that open internal routes.
    pub fn internal_keys() -> InternalKeys {
        let key = |key: &str| Secret::new(key.to_owned());
        InternalKeys::parse([("tests", key(API_KEY)), ("others", key(OTHER_API_KEY))]).unwrap()
    }

    /// Somebody who has just registered: the address is not proven.
    #[track_caller]
    pub fn registered(&self, name: &str) -> impl Future<Output = Person> + Send {
        let call = self.post(
            "/auth/register",
            json!({"username": name, "email": email_of(name), "password": PASSWORD}),
        );
        async move { Person::of(call.await.ok(201), PASSWORD) }
    }

    /// Somebody who followed the link in the welcome mail.
    pub async fn verified(&self, name: &str) -> Person {
        let person = self.registered(name).await;
        let token = self.mailed_token(&person.email).await;
        let answer = self
            .post("/auth/verify-email", json!({"token": token}))
            .await;
        assert_eq!(answer.ok(200)["status"], "verified");
        person
    }

    /// The same person in a new session.
    pub async fn logged_in(&self, person: &Person) -> Person {
        let body = json!({"username": person.username, "password": person.password});
        let answer = self.post("/auth/login", body).await;
        Person::of(answer.ok(200), &person.password)
    }

    /// Lets queued mails arrive, and says how many there were.
    pub async fn deliver(&self) -> usize {
        let mut sent = 0;
        loop {
            match self.auth.send_due_mails().await.unwrap() {
                0 => return sent,
                batch => sent += batch,
            }
        }
    }

    /// Every mail to an address by now, the oldest first.
    pub async fn mails_to(&self, address: &str) -> Vec<Mail> {
        self.deliver().await;
        self.mailbox.to(address)
    }

    /// The names of the templates of all mails to an address by now, the oldest first.
    pub async fn templates_to(&self, address: &str) -> Vec<&'static str> {
        let mails = self.mails_to(address).await;
        mails.iter().map(|mail| mail.template).collect()
    }

    /// The token in the newest mail to an address.
    pub async fn mailed_token(&self, address: &str) -> String {
        self.deliver().await;
        self.mailbox.last_to(address).token().to_owned()
    }

    /// A reset token, asked for and received.
    pub async fn reset_token(&self, address: &str) -> String {
        let body = json!({"email": address});
        self.post("/auth/password-reset-request", body)
            .await
            .ok(200);
        self.deliver().await;
        let mail = self.mailbox.last_to(address);
        assert_eq!(mail.template, "password_reset");
        mail.token().to_owned()
    }

    /// Asks for another address; the tokens that its own mailbox and the old one get.
    pub async fn email_change_tokens(&self, person: &Person, new_email: &str) -> (String, String) {
        let body = json!({"new_email": new_email, "current_password": person.password});
        let answer = self.put("/auth/users/change-email", body).by(person).await;
        answer.ok(202);
        self.deliver().await;
        let change = self.mailbox.last_to(new_email);
        let cancel = self.mailbox.last_to(&person.email);
        assert_eq!(
            (change.template, cancel.template),
            ("email_change_verify", "email_change_notice")
        );
        (change.token().to_owned(), cancel.token().to_owned())
    }

    /// The audit log of a user, the oldest entry first.
    pub async fn audit(&self, user: UserId) -> Vec<&'static str> {
        let mut entries = self.store.audit_entries(user, 1000).await.unwrap();
        entries.reverse();
        entries.iter().map(|entry| entry.event.as_str()).collect()
    }

    /// All that the store tells of somebody, to see whether anything changed.
    pub async fn state_of(&self, person: &Person) -> String {
        use auth_core::ports::Clock;
        let account = self.store.account(&AccountKey::Id(person.id)).await;
        let account = account.unwrap();
        let password = account.as_ref().and_then(|account| {
            let password = account.password.as_ref()?;
            Some(password.as_str().to_owned())
        });
        let now = self.clock.now();
        let sessions = self.store.sessions(person.id, now).await.unwrap();
        let audit = self.store.audit_entries(person.id, 1000).await.unwrap();
        let mails = self.store.mail_counts().await.unwrap();
        format!("{account:?}\n{password:?}\n{sessions:?}\n{audit:?}\n{mails:?}")
    }

    /// Every byte that the store keeps; `None` for a store that keeps nothing beyond its process.
    pub async fn stored_bytes(&self) -> Option<Vec<u8>> {
        self.data.bytes().await
    }
}

fn sign_in(
    auth: AuthBuilder,
    google: &Provider,
    acme: &Provider,
    patience: std::time::Duration,
) -> AuthBuilder {
    let name = |name: &str| ProviderName::parse(name).unwrap();
    let (as_google, as_acme) = (google.as_google(patience), acme.as_any("Acme", patience));
    auth.oauth_provider(name("google"), Provider::callback("google"), as_google)
        .oauth_provider(name("acme"), Provider::callback("acme"), as_acme)
        .allowed_redirects([RedirectUri::parse(ALLOWED_PAGE).unwrap()])
}

fn allowing(auth: AuthBuilder) -> AuthBuilder {
    auth.allowed_redirects([RedirectUri::parse(ALLOWED_PAGE).unwrap()])
}

fn router(auth: &Auth, billing: &Billing) -> AuthRouter {
    AuthRouter::new(auth)
        .billing(billing.clone())
        .client_ip(ClientIp::peer())
        // Clients of tests ask more than people do; the tests of limits put them up again.
        .without_rate_limits()
        .internal_keys(App::internal_keys())
}

impl Deref for App {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}
