//! What a period of a subscription grants.

use super::{BillingStores, disputed, is, orders, paid, period, reference, refunded};
use crate::types::{Dispute, EventOutcome, Purchase, Term};

/// Down and up again in a period, in whatever order it is told: the difference is granted once.
pub async fn a_period_grants_no_more_than_its_dearest_plan(stores: BillingStores) {
    for (run, order) in orders(3).into_iter().enumerate() {
        let user = stores.registered(&format!("user-{run}")).await;
        let of_run = |purchase: Purchase| {
            let subscription = reference(&format!("sub_{run}"));
            let term = purchase.term.map(|term| Term {
                subscription,
                ..term
            });
            Purchase { term, ..purchase }
        };
        let invoices = [
            period(&user, &format!("in_{run}_basic"), (0, 30), "120", "120"),
            period(&user, &format!("in_{run}_up"), (1, 30), "500", "380"),
            // It is paid by what the way down gave back.
            Purchase {
                paid: 0,
                ..period(&user, &format!("in_{run}_again"), (3, 30), "500", "380")
            },
        ];
        for place in &order {
            let invoice = of_run(invoices[*place].clone());
            stores
                .apply(paid(&format!("evt_{}", invoice.id), invoice))
                .await;
        }
        assert_eq!(stores.books(&user).await, is("500.00", "0.00"), "{order:?}");
        // The next period is another one.
        let next = of_run(period(
            &user,
            &format!("in_{run}_next"),
            (30, 60),
            "500",
            "500",
        ));
        stores.apply(paid(&format!("evt_{run}_next"), next)).await;
        assert_eq!(
            stores.books(&user).await,
            is("1000.00", "0.00"),
            "{order:?}"
        );
    }
}

/// A change that begins a period of its own ends no sooner than the one before, which was granted.
pub async fn a_period_that_a_change_began_counts_with_the_one_it_cut_short(stores: BillingStores) {
    let ada = stores.registered("ada").await;
    for (id, term, worth, more, outcome, balance) in [
        (
            "in_1",
            (0, 30),
            "120",
            "120",
            EventOutcome::Applied,
            "120.00",
        ),
        (
            "in_2",
            (1, 31),
            "500",
            "380",
            EventOutcome::Applied,
            "500.00",
        ),
        // Money came for it, and nobody knows for what.
        (
            "in_3",
            (3, 33),
            "500",
            "380",
            EventOutcome::Unaccounted,
            "500.00",
        ),
        // A dearer one grants what is left.
        (
            "in_4",
            (4, 34),
            "600",
            "480",
            EventOutcome::Partly,
            "600.00",
        ),
        (
            "in_5",
            (34, 64),
            "600",
            "600",
            EventOutcome::Applied,
            "1200.00",
        ),
    ] {
        let invoice = period(&ada, id, term, worth, more);
        let event = paid(&format!("evt_{id}"), invoice);
        assert_eq!(stores.apply(event).await, outcome, "{id}");
        assert_eq!(stores.books(&ada).await, is(balance, "0.00"), "{id}");
    }
    assert_eq!(
        stores.alarms().await,
        ["evt_in_3 unaccounted", "evt_in_4 partly"]
    );
    // What was granted for a part is not granted again.
    let again = paid("evt_in_4", period(&ada, "in_4", (4, 34), "600", "480"));
    let again = stores.second.apply_payment_event(again).await.unwrap();
    assert_eq!(
        (again.outcome, again.is_replay),
        (EventOutcome::Partly, true)
    );
    assert_eq!(stores.books(&ada).await, is("1200.00", "0.00"));
}

/// But not for what is disputed, which may be won.
pub async fn what_was_refunded_may_be_granted_again_in_its_period(stores: BillingStores) {
    let ada = stores.registered("ada").await;
    let upgrade = |id: &str| period(&ada, id, (1, 30), "500", "380");
    let basic = period(&ada, "in_1", (0, 30), "120", "120");
    stores.apply(paid("evt_1", basic)).await;
    stores.apply(paid("evt_2", upgrade("in_2"))).await;
    stores
        .apply(disputed("evt_3", "pi_in_2", Dispute::Open))
        .await;
    let early = stores.apply(paid("evt_4", upgrade("in_3"))).await;
    assert_eq!(early, EventOutcome::Unaccounted);
    stores.apply(refunded("evt_5", "pi_in_2", 900)).await;
    assert_eq!(stores.books(&ada).await, is("120.00", "0.00"));
    // Sent again, it finds that the first upgrade is gone for good.
    stores.apply(paid("evt_4", upgrade("in_3"))).await;
    assert_eq!(stores.books(&ada).await, is("500.00", "0.00"));
    stores
        .apply(disputed("evt_6", "pi_in_2", Dispute::Won))
        .await;
    assert_eq!(stores.books(&ada).await, is("500.00", "0.00"));
}
