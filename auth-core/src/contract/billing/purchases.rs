//! What is paid.

use super::{BillingStores, is, pack, paid, reference};
use crate::{
    contract::fixtures::{at, queued},
    ports::OsRandom,
    types::{EventOutcome, Letter, Payer, Purchase, User, UserId},
};

/// Under one event, and under two.
pub async fn a_purchase_is_granted_once_whatever_tells_of_it(stores: BillingStores) {
    let ada = stores.registered("ada").await;
    let first = paid("evt_1", pack(&ada, "cs_1"));
    assert_eq!(stores.apply(first.clone()).await, EventOutcome::Applied);
    let again = stores.second.apply_payment_event(first).await.unwrap();
    assert_eq!(
        (again.outcome, again.is_replay),
        (EventOutcome::Applied, true)
    );
    let other = paid("evt_2", pack(&ada, "cs_1"));
    assert_eq!(stores.apply(other).await, EventOutcome::Ignored);
    assert_eq!(stores.books(&ada).await, is("100.00", "0.00"));
    let letters = stores.letters().await;
    let expected = Letter::CreditPurchase {
        username: "ada".to_owned(),
        item: "pack".to_owned(),
        credits: "100.00".to_owned(),
        balance: "100.00".to_owned(),
        price: "9.00".to_owned(),
        currency: "EUR".to_owned(),
    };
    assert_eq!(letters, [expected]);
}

/// Neither to an unknown user nor to an unknown customer.
pub async fn a_purchase_of_nobody_grants_nothing(stores: BillingStores) {
    let ada = stores.registered("ada").await;
    let nobody = User {
        id: UserId::generate(at(0), &OsRandom),
        ..ada.clone()
    };
    let unnamed = Purchase {
        payer: Payer {
            user: None,
            customer: Some(reference("cus_1")),
            subscription: None,
        },
        ..pack(&ada, "cs_2")
    };
    for (id, purchase) in [("evt_1", pack(&nobody, "cs_1")), ("evt_2", unnamed)] {
        let outcome = stores.apply(paid(id, purchase)).await;
        assert_eq!(outcome, EventOutcome::UnknownUser);
    }
    assert_eq!(stores.books(&ada).await, is("0.00", "0.00"));
    assert_eq!(queued(&*stores.accounts().first).await, 0);
}

/// Where what we wrote and who pays disagree, nobody gets credits.
pub async fn a_customer_of_another_user_pays_for_nobody(stores: BillingStores) {
    let ada = stores.registered("ada").await;
    let bob = stores.registered("bob").await;
    let customer = reference("cus_bob");
    let kept = stores.first.keep_customer(bob.id, customer.clone()).await;
    assert_eq!(kept.unwrap(), Some(customer.clone()));
    let by = |user: Option<&User>, id: &str| Purchase {
        payer: Payer {
            user: user.map(|user| user.id),
            customer: Some(customer.clone()),
            subscription: None,
        },
        ..pack(&ada, id)
    };
    let crossed = stores.apply(paid("evt_1", by(Some(&ada), "cs_1"))).await;
    assert_eq!(crossed, EventOutcome::UnknownUser);
    let by_customer = stores.apply(paid("evt_2", by(None, "cs_2"))).await;
    assert_eq!(by_customer, EventOutcome::Applied);
    assert_eq!(stores.books(&ada).await, is("0.00", "0.00"));
    assert_eq!(stores.books(&bob).await, is("100.00", "0.00"));
}
