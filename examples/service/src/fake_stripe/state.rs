//! What the fake remembers, until it ends.

use std::collections::{BTreeMap, HashMap};

use auth_core::{
    ports::Sale,
    time::{Duration, OffsetDateTime},
    types::{IdempotencyKey, UserId},
};

use super::events::{self, Event, Reason};

/// Of each kind; the oldest goes first.
const MOST: usize = 1000;
/// What a month is, and a year.
const PERIOD: Duration = Duration::days(30);

/// A page that takes a payment.
#[derive(Clone)]
pub(crate) struct Session {
    pub(crate) user: UserId,
    pub(super) customer: String,
    pub(crate) sale: Sale,
    pub(crate) item: String,
    pub(super) price: String,
    /// Of money, in hundredths.
    pub(crate) amount: i64,
    pub(crate) success_url: String,
    pub(crate) cancel_url: String,
    pub(crate) is_open: bool,
}

#[derive(Clone)]
pub(crate) struct Subscription {
    pub(crate) user: UserId,
    pub(super) customer: String,
    pub(crate) item: String,
    pub(super) price: String,
    pub(crate) amount: i64,
    pub(crate) status: &'static str,
    pub(super) created_at: OffsetDateTime,
    pub(crate) period: (OffsetDateTime, OffsetDateTime),
    pub(crate) ends_with_period: bool,
    /// The item, price and amount that it has from the next period on.
    pub(super) next: Option<(String, String, i64)>,
    pub(super) latest_invoice: Option<String>,
}

/// Something that was paid.
#[derive(Clone)]
pub(crate) struct Payment {
    pub(crate) user: UserId,
    pub(crate) item: String,
    pub(crate) amount: i64,
    pub(crate) is_refunded: bool,
}

/// Ids are those of one run: what a database remembers of another one is not found here.
pub(super) struct State {
    run: String,
    made: u64,
    pub(super) customers: BTreeMap<String, UserId>,
    pub(super) sessions: BTreeMap<String, Session>,
    pub(super) subscriptions: BTreeMap<String, Subscription>,
    pub(super) payments: BTreeMap<String, Payment>,
    /// What was asked under a key, and the id of what was made.
    pub(super) keys: HashMap<IdempotencyKey, (String, String)>,
}

impl State {
    pub(super) fn new(now: OffsetDateTime) -> Self {
        Self {
            run: format!("{:x}", now.unix_timestamp_nanos() / 1_000_000),
            made: 0,
            customers: BTreeMap::new(),
            sessions: BTreeMap::new(),
            subscriptions: BTreeMap::new(),
            payments: BTreeMap::new(),
            keys: HashMap::new(),
        }
    }

    /// Ids of one kind sort by age.
    pub(super) fn id(&mut self, kind: &str) -> String {
        self.made += 1;
        format!("{kind}_fake_{}_{:08}", self.run, self.made)
    }

    /// Forgets what is too much.
    pub(super) fn trim(&mut self) {
        fn trim<T>(map: &mut BTreeMap<String, T>) {
            while map.len() > MOST {
                map.pop_first();
            }
        }
        trim(&mut self.customers);
        trim(&mut self.sessions);
        trim(&mut self.subscriptions);
        trim(&mut self.payments);
        if self.keys.len() > MOST {
            self.keys.clear();
        }
    }

    fn paid(&mut self, user: UserId, item: &str, amount: i64) -> String {
        let id = self.id("pi");
        let payment = Payment {
            user,
            item: item.to_owned(),
            amount,
            is_refunded: false,
        };
        self.payments.insert(id.clone(), payment);
        id
    }

    /// Somebody pays on the page of a session; `None` when it is not open any more.
    pub(super) fn pay(&mut self, id: &str, now: OffsetDateTime) -> Option<Vec<Event>> {
        let session = self
            .sessions
            .get_mut(id)
            .filter(|session| session.is_open)?;
        session.is_open = false;
        let session = session.clone();
        if session.sale == Sale::Once {
            let payment = self.paid(session.user, &session.item, session.amount);
            return Some(vec![events::session_paid(
                id,
                &session,
                Some(&payment),
                None,
            )]);
        }
        let (name, mut told) = self.begin(
            (session.user, &session.customer),
            (&session.item, &session.price, session.amount),
            now,
        );
        told.insert(0, events::session_paid(id, &session, None, Some(&name)));
        Some(told)
    }

    /// A subscription that is paid at once.
    pub(super) fn begin(
        &mut self,
        (user, customer): (UserId, &str),
        (item, price, amount): (&str, &str, i64),
        now: OffsetDateTime,
    ) -> (String, Vec<Event>) {
        let name = self.id("sub");
        let subscription = Subscription {
            user,
            customer: customer.to_owned(),
            item: item.to_owned(),
            price: price.to_owned(),
            amount,
            status: "active",
            created_at: now,
            period: (now, now + PERIOD),
            ends_with_period: false,
            next: None,
            latest_invoice: None,
        };
        let mut told = vec![events::subscription(
            "customer.subscription.created",
            &name,
            &subscription,
            now,
        )];
        self.subscriptions.insert(name.clone(), subscription);
        told.extend(self.charge(&name, Reason::Begin, true));
        (name, told)
    }

    fn charge(&mut self, name: &str, reason: Reason<'_>, passes: bool) -> Vec<Event> {
        let Some(subscription) = self.subscriptions.get(name).cloned() else {
            return Vec::new();
        };
        let amount = match reason {
            Reason::Upgrade(_, old) => subscription.amount - old,
            Reason::Begin | Reason::Renew => subscription.amount,
        };
        let payment = passes.then(|| self.paid(subscription.user, &subscription.item, amount));
        let invoice = self.id("in");
        if let Some(subscription) = self.subscriptions.get_mut(name) {
            subscription.latest_invoice = Some(invoice.clone());
        }
        events::invoice(&invoice, (name, &subscription), reason, payment.as_deref())
    }

    /// The period of a subscription is over: it is paid for the next one, or not, or ends.
    pub(super) fn next_period(
        &mut self,
        name: &str,
        passes: bool,
        now: OffsetDateTime,
    ) -> Option<Vec<Event>> {
        let subscription = self.subscriptions.get_mut(name)?;
        if subscription.status == "canceled" {
            return None;
        }
        if subscription.ends_with_period {
            return self.cancel(name, now);
        }
        if passes {
            if let Some((item, price, amount)) = subscription.next.take() {
                (subscription.item, subscription.price, subscription.amount) =
                    (item, price, amount);
            }
            let end = subscription.period.1;
            subscription.period = (end, end + PERIOD);
        }
        subscription.status = if passes { "active" } else { "past_due" };
        let mut told = self.updated(name, now);
        told.extend(self.charge(name, Reason::Renew, passes));
        Some(told)
    }

    fn updated(&self, name: &str, now: OffsetDateTime) -> Vec<Event> {
        let about = self.subscriptions.get(name);
        about
            .map(|about| events::subscription("customer.subscription.updated", name, about, now))
            .into_iter()
            .collect()
    }

    /// Another price, at once; the difference is paid.
    pub(super) fn change(
        &mut self,
        name: &str,
        (item, price, amount): (&str, &str, i64),
        now: OffsetDateTime,
    ) -> Option<Vec<Event>> {
        let subscription = self.subscriptions.get_mut(name)?;
        let old = (subscription.price.clone(), subscription.amount);
        item.clone_into(&mut subscription.item);
        price.clone_into(&mut subscription.price);
        subscription.amount = amount;
        let mut told = self.updated(name, now);
        told.extend(self.charge(name, Reason::Upgrade(&old.0, old.1), true));
        Some(told)
    }

    /// Lets a subscription end with its period, or not.
    pub(super) fn end_with_period(
        &mut self,
        name: &str,
        now: OffsetDateTime,
    ) -> Option<Vec<Event>> {
        self.subscriptions.get_mut(name)?.ends_with_period = true;
        Some(self.updated(name, now))
    }

    pub(super) fn cancel(&mut self, name: &str, now: OffsetDateTime) -> Option<Vec<Event>> {
        let subscription = self.subscriptions.get_mut(name)?;
        if subscription.status == "canceled" {
            return None;
        }
        subscription.status = "canceled";
        subscription.period.1 = now;
        let kind = "customer.subscription.deleted";
        Some(vec![events::subscription(kind, name, subscription, now)])
    }

    pub(super) fn refund(&mut self, id: &str) -> Option<Vec<Event>> {
        let payment = self.payments.get_mut(id).filter(|it| !it.is_refunded)?;
        payment.is_refunded = true;
        Some(vec![events::refunded(id, payment)])
    }
}
