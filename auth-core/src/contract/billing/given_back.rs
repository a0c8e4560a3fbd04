//! What is given back, or held by a dispute.

use super::{
    BillingStores, book, disputed, disputed_by, event, is, link, pack, paid, part, reference,
    refunded,
};
use crate::{
    contract::credits::{add, spend},
    types::{Dispute, EventOutcome, PaymentFact, Purchase, User},
};

/// After its purchase and before it, rounded up.
pub async fn a_refund_takes_back_its_share_in_any_order(stores: BillingStores) {
    let ada = stores.registered("ada").await;
    let bob = stores.registered("bob").await;
    stores.apply(paid("evt_1", pack(&ada, "cs_1"))).await;
    let third = refunded("evt_2", "pi_cs_1", 300);
    assert_eq!(stores.apply(third).await, EventOutcome::Applied);
    assert_eq!(stores.books(&ada).await, is("66.66", "0.00"));

    let early = refunded("evt_3", "pi_cs_2", 300);
    assert_eq!(stores.apply(early).await, EventOutcome::UnknownPayment);
    assert_eq!(stores.alarms().await, ["evt_3 unknown_payment"]);
    stores.apply(paid("evt_4", pack(&bob, "cs_2"))).await;
    assert_eq!(stores.books(&bob).await, is("66.66", "0.00"));
    // Nobody has to look any more, and nothing happens when it is sent again.
    assert_eq!(stores.alarms().await, [""; 0]);
    let again = refunded("evt_3", "pi_cs_2", 300);
    let again = stores.second.apply_payment_event(again).await.unwrap();
    assert_eq!(
        (again.outcome, again.is_replay),
        (EventOutcome::Applied, true)
    );
}

/// Whatever the provider counts, and whatever comes late.
pub async fn refunds_never_take_more_than_was_granted(stores: BillingStores) {
    let ada = stores.registered("ada").await;
    book(&*stores.credits.first, add(&ada, "50")).await;
    stores.apply(paid("evt_1", pack(&ada, "cs_1"))).await;
    for (id, sum, balance) in [
        ("evt_2", 1, "149.88"),
        ("evt_3", 899, "50.11"),
        // An older one comes late.
        ("evt_4", 450, "50.11"),
        ("evt_5", 900, "50.00"),
        ("evt_6", 5000, "50.00"),
    ] {
        stores.apply(refunded(id, "pi_cs_1", sum)).await;
        assert_eq!(stores.books(&ada).await, is(balance, "0.00"), "{id}");
    }
    stores
        .apply(disputed("evt_7", "pi_cs_1", Dispute::Open))
        .await;
    assert_eq!(stores.books(&ada).await, is("50.00", "0.00"));
}

/// And an inquiry takes nothing.
pub async fn a_dispute_takes_the_rest_and_a_won_one_gives_it_again(stores: BillingStores) {
    let ada = stores.registered("ada").await;
    stores.apply(paid("evt_1", pack(&ada, "cs_1"))).await;
    stores.apply(refunded("evt_2", "pi_cs_1", 450)).await;
    for (id, dispute, balance) in [
        ("evt_3", Dispute::None, "50.00"),
        ("evt_4", Dispute::Open, "0.00"),
        ("evt_5", Dispute::Won, "50.00"),
        // What was told before comes late.
        ("evt_6", Dispute::Open, "50.00"),
        ("evt_7", Dispute::Lost, "0.00"),
    ] {
        stores.apply(disputed(id, "pi_cs_1", dispute)).await;
        assert_eq!(stores.books(&ada).await, is(balance, "0.00"), "{id}");
    }
}

/// As far as it reaches, and once.
pub async fn what_the_balance_cannot_give_is_debt_that_the_next_purchase_settles(
    stores: BillingStores,
) {
    let ada = stores.registered("ada").await;
    stores.apply(paid("evt_1", pack(&ada, "cs_1"))).await;
    book(&*stores.credits.first, spend(&ada, "70")).await;
    stores.apply(refunded("evt_2", "pi_cs_1", 900)).await;
    assert_eq!(stores.books(&ada).await, is("0.00", "70.00"));
    // What another service adds is not a purchase.
    book(&*stores.credits.first, add(&ada, "5")).await;
    assert_eq!(stores.books(&ada).await, is("5.00", "70.00"));
    stores.apply(paid("evt_3", pack(&ada, "cs_2"))).await;
    assert_eq!(stores.books(&ada).await, is("35.00", "0.00"));

    let bob = stores.registered("bob").await;
    for number in [3, 4] {
        let (purchase, spent) = (format!("cs_{number}"), spend(&bob, "100"));
        let id = format!("evt_paid_{number}");
        stores.apply(paid(&id, pack(&bob, &purchase))).await;
        book(&*stores.credits.first, spent).await;
    }
    for number in [3, 4] {
        let payment = format!("pi_cs_{number}");
        let id = format!("evt_refund_{number}");
        stores.apply(refunded(&id, &payment, 900)).await;
    }
    assert_eq!(stores.books(&bob).await, is("0.00", "200.00"));
    // A purchase settles no more than it grants.
    stores.apply(paid("evt_5", pack(&bob, "cs_5"))).await;
    assert_eq!(stores.books(&bob).await, is("0.00", "100.00"));
    // And none of it twice, when it is given back itself.
    stores.apply(refunded("evt_6", "pi_cs_5", 900)).await;
    assert_eq!(stores.books(&bob).await, is("0.00", "200.00"));
}

/// Nothing is given that is still owed.
pub async fn a_won_dispute_settles_debt_before_it_gives(stores: BillingStores) {
    let ada = stores.registered("ada").await;
    stores.apply(paid("evt_1", pack(&ada, "cs_1"))).await;
    book(&*stores.credits.first, spend(&ada, "70")).await;
    stores
        .apply(disputed("evt_2", "pi_cs_1", Dispute::Open))
        .await;
    assert_eq!(stores.books(&ada).await, is("0.00", "70.00"));
    stores
        .apply(disputed("evt_3", "pi_cs_1", Dispute::Won))
        .await;
    assert_eq!(stores.books(&ada).await, is("30.00", "0.00"));
}

/// A payment whose purchase is told last.
pub async fn a_late_link_finds_its_refund(stores: BillingStores) {
    let ada = stores.registered("ada").await;
    let link = |id| link(id, "in_1", part("pi_1", 900));
    let invoice = Purchase {
        payments: Vec::new(),
        ..pack(&ada, "in_1")
    };
    let refund = stores.apply(refunded("evt_1", "pi_1", 450)).await;
    assert_eq!(refund, EventOutcome::UnknownPayment);
    stores.apply(paid("evt_2", invoice)).await;
    assert_eq!(stores.books(&ada).await, is("100.00", "0.00"));
    assert_eq!(stores.alarms().await, ["evt_1 unknown_payment"]);
    assert_eq!(stores.apply(link("evt_3")).await, EventOutcome::Applied);
    assert_eq!(stores.books(&ada).await, is("50.00", "0.00"));
    stores.apply(link("evt_4")).await;
    assert_eq!(stores.books(&ada).await, is("50.00", "0.00"));
    assert_eq!(stores.alarms().await, [""; 0]);
}

/// Whatever the other parts do, and whichever is told first.
pub async fn a_part_of_a_price_takes_back_its_part(stores: BillingStores) {
    let ada = stores.registered("ada").await;
    let bob = stores.registered("bob").await;
    let invoice = |user: &User, id: &str, payments| Purchase {
        payments,
        ..pack(user, id)
    };
    let parts = vec![part("pi_1", 600), part("pi_2", 300)];
    stores
        .apply(paid("evt_1", invoice(&ada, "in_1", parts)))
        .await;
    let refund = |id: &str, payment: &str, amount, refunded| {
        let fact = PaymentFact::Refunded {
            payment: reference(payment),
            amount,
            refunded,
        };
        event(id, fact)
    };
    for (event, balance) in [
        (refund("evt_2", "pi_2", 300, 300), "66.66"),
        (disputed("evt_3", "pi_1", Dispute::Open), "0.00"),
        (disputed("evt_4", "pi_1", Dispute::Won), "66.66"),
        (refund("evt_5", "pi_1", 600, 300), "33.32"),
        (disputed("evt_6", "pi_2", Dispute::Open), "33.32"),
        (refund("evt_7", "pi_1", 600, 600), "0.00"),
    ] {
        let id = event.id.clone();
        assert_eq!(stores.apply(event).await, EventOutcome::Applied, "{id}");
        assert_eq!(stores.books(&ada).await, is(balance, "0.00"), "{id}");
    }
    // As later versions of the provider's API tell it: the parts by events of their own.
    stores.apply(disputed("evt_8", "pi_3", Dispute::Lost)).await;
    stores.apply(link("evt_9", "in_2", part("pi_3", 300))).await;
    stores
        .apply(paid("evt_10", invoice(&bob, "in_2", Vec::new())))
        .await;
    assert_eq!(stores.books(&bob).await, is("66.66", "0.00"));
    stores
        .apply(link("evt_11", "in_2", part("pi_4", 600)))
        .await;
    assert_eq!(stores.books(&bob).await, is("66.66", "0.00"));
}

/// One that is won frees nothing that another one holds, in any order.
pub async fn disputes_of_one_payment_stand_apart(stores: BillingStores) {
    let ada = stores.registered("ada").await;
    stores.apply(paid("evt_1", pack(&ada, "cs_1"))).await;
    for (id, dispute, state, balance) in [
        ("evt_2", "dp_1", Dispute::Open, "0.00"),
        ("evt_3", "dp_2", Dispute::Open, "0.00"),
        ("evt_4", "dp_1", Dispute::Won, "0.00"),
        ("evt_5", "dp_2", Dispute::Won, "100.00"),
        // The second one was told to be open before it was won.
        ("evt_6", "dp_2", Dispute::Open, "100.00"),
        ("evt_7", "dp_3", Dispute::Open, "0.00"),
        ("evt_8", "dp_3", Dispute::Lost, "0.00"),
        ("evt_9", "dp_1", Dispute::Won, "0.00"),
    ] {
        stores
            .apply(disputed_by(id, dispute, "pi_cs_1", state))
            .await;
        assert_eq!(stores.books(&ada).await, is(balance, "0.00"), "{id}");
    }
}
