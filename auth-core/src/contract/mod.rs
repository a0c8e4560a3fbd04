//! What any store must do, as suites that a host runs over its own.
//!
//! Each behaviour is a function over two handles on one fresh, empty set of data. [`store_contract!`](crate::store_contract) makes a test of each:
//!
//! ```
//! use std::sync::Arc;
//! use auth_core::{adapters::MemoryStore, contract::Stores};
//!
//! async fn stores() -> Stores {
//!     let store = MemoryStore::default();
//!     Stores { first: Arc::new(store.clone()), second: Arc::new(store) }
//! }
//!
//! auth_core::store_contract!(stores);
//! # fn main() {}
//! ```
//!
//! The macro belongs into a module or file of its own in the tests of a crate that has `tokio` with its features `macros` and `rt-multi-thread`.
//!
//! # Panics
//! Every function here panics when the store does not behave: that is the failed test.
#![allow(
    clippy::expect_used,
    clippy::missing_panics_doc,
    clippy::panic,
    clippy::unwrap_used
)] // test code: an assertion is what it is for

pub mod audit;
pub mod billing;
pub mod credits;
pub mod fixtures;
pub mod identities;
pub mod outbox;
pub mod sessions;
pub mod store;
pub mod tokens;
pub mod users;

use std::{fmt, sync::Arc};

pub use self::{billing::BillingStores, credits::CreditStores};
use crate::ports::Store;

/// Two handles on one fresh, empty set of data: two pools on one database, or clones of a store in memory.
#[derive(Clone)]
pub struct Stores {
    /// A handle.
    pub first: Arc<dyn Store>,
    /// Another one, as a second replica has it.
    pub second: Arc<dyn Store>,
}

impl Stores {
    /// Over both handles.
    pub fn of(first: impl Store, second: impl Store) -> Self {
        Self {
            first: Arc::new(first),
            second: Arc::new(second),
        }
    }
}

impl fmt::Debug for Stores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stores").finish_non_exhaustive()
    }
}

/// As [`store_contract!`](crate::store_contract), for a [`BillingStore`](crate::ports::BillingStore); the argument returns
/// [`BillingStores`](crate::contract::BillingStores).
#[macro_export]
macro_rules! billing_contract {
    ($make:expr) => {
        $crate::store_contract!(@suite $make, billing:
            a_purchase_is_granted_once_whatever_tells_of_it
            an_event_is_kept_with_what_became_of_it
            an_event_that_came_to_nothing_is_applied_when_it_comes_again
            a_purchase_of_nobody_grants_nothing
            a_customer_of_another_user_pays_for_nobody
            a_refund_takes_back_its_share_in_any_order
            refunds_never_take_more_than_was_granted
            a_dispute_takes_the_rest_and_a_won_one_gives_it_again
            what_the_balance_cannot_give_is_debt_that_the_next_purchase_settles
            a_won_dispute_settles_debt_before_it_gives
            a_late_link_finds_its_refund
            a_part_of_a_price_takes_back_its_part
            disputes_of_one_payment_stand_apart
            a_period_grants_no_more_than_its_dearest_plan
            a_period_that_a_change_began_counts_with_the_one_it_cut_short
            what_was_refunded_may_be_granted_again_in_its_period
            what_an_event_moves_is_told_in_the_ledger
            a_reference_of_the_host_stops_no_event
            every_order_of_events_leads_to_one_state
            of_deliveries_at_once_one_has_its_effect
            an_end_that_answer_and_event_tell_at_once_is_mailed_once
            of_a_purchase_and_its_refund_at_once_both_count
            uses_at_once_with_a_refund_never_overdraw
            a_subscription_is_as_its_newest_event_says
            an_end_of_a_subscription_is_told_once
            an_end_that_an_answer_tells_is_told_once
            an_end_names_the_plan_that_it_is_of
            a_subscription_of_a_deleted_user_is_abandoned
            a_failed_payment_is_told
            a_customer_is_kept_once
            a_checkout_of_a_subscription_links_it
            a_customer_that_is_gone_is_replaced_once
            a_wish_for_a_subscription_is_passed_once
            purchases_are_read_in_order
            what_has_come_to_an_end_is_found
            what_is_tried_leaves_nothing);
    };
}

/// As [`store_contract!`](crate::store_contract), for a [`CreditStore`](crate::ports::CreditStore); the argument returns
/// [`CreditStores`](crate::contract::CreditStores).
#[macro_export]
macro_rules! credit_contract {
    ($make:expr) => {
        $crate::store_contract!(@suite $make, credits:
            an_account_without_entries_has_nothing
            every_field_of_a_booked_entry_survives
            what_is_not_there_is_not_used
            a_balance_does_not_overflow
            a_repeated_key_is_replayed
            a_repeated_reference_is_replayed
            other_content_under_a_key_or_a_reference_is_a_conflict
            keys_belong_to_callers_and_references_to_users_and_kinds
            without_an_account_there_are_no_credits
            a_deleted_account_leaves_its_ledger
            a_history_is_paged_from_the_newest
            the_ledger_is_read_in_order
            uses_at_once_never_overdraw
            first_entries_at_once_are_all_booked
            of_duplicates_at_once_one_is_booked
            of_one_key_for_two_users_at_once_one_is_booked
            a_deletion_races_entries);
    };
}

/// Makes a `#[tokio::test]` of each behaviour; the argument is an async function or closure without parameters that returns
/// [`Stores`](crate::contract::Stores) on fresh, empty data.
#[macro_export]
macro_rules! store_contract {
    ($make:expr) => {
        $crate::store_contract!(@suite $make, audit:
            every_field_of_an_entry_survives
            the_newest_entries_come_first
            entries_are_shown_with_their_user);
        $crate::store_contract!(@suite $make, identities:
            an_account_is_found_by_its_identity
            a_taken_identity_writes_nothing
            of_registrations_of_one_identity_at_once_one_wins
            a_joined_account_keeps_what_it_has
            an_identity_is_linked_once
            an_account_has_one_identity_of_a_provider
            an_account_that_changed_meanwhile_gets_no_identity
            a_claimed_account_keeps_no_other_way_in
            of_a_claim_and_a_verification_at_once_nothing_is_half_done
            of_links_at_once_one_is_made
            of_accounts_that_link_one_identity_at_once_one_gets_it
            an_unlinked_identity_opens_nothing
            the_last_sign_in_method_stays
            of_the_last_two_sign_in_methods_one_stays
            an_identity_comes_and_goes_in_a_live_session_only
            an_identity_goes_with_its_account
            a_secret_is_spent_once
            marks_of_spent_secrets_are_swept
            unlinking_ends_every_other_session
            a_reset_drops_identities_of_an_account_that_was_never_verified);
        $crate::store_contract!(@suite $make, outbox:
            the_oldest_mails_are_claimed_first
            every_letter_survives
            a_claimed_mail_is_held_until_its_lease_ends
            a_lost_claim_marks_nothing
            an_unclaimed_mail_cannot_be_marked
            a_lease_finer_than_a_microsecond_names_its_claim
            a_sent_mail_is_deleted
            a_failed_mail_is_due_again_at_its_time
            a_lost_claim_is_counted_and_its_mail_waits_for_longer
            a_mail_whose_claims_are_lost_for_a_day_is_given_up
            a_mail_that_waits_gets_its_try_however_late
            a_dead_letter_is_counted_and_never_claimed
            the_oldest_queued_mail_is_told
            dead_letters_are_listed_oldest_first
            a_dead_letter_is_queued_anew
            a_dead_letter_is_dropped
            parallel_claims_never_overlap);
        $crate::store_contract!(@suite $make, sessions:
            an_opened_session_is_live_everywhere
            every_field_of_a_session_survives
            a_stale_version_opens_no_session
            a_rehash_leaves_the_version
            an_idle_session_expires
            an_unused_token_gets_its_replacement
            a_session_never_outlives_its_absolute_end
            a_touched_session_moves_on
            a_session_that_is_over_is_not_touched
            a_used_token_gets_another_replacement_within_its_grace
            a_later_token_has_its_own_grace
            parallel_rotations_of_one_token_are_all_issued
            a_replay_after_the_grace_ends_the_session
            the_grace_counts_from_the_first_use
            a_retired_token_is_a_replay_at_once
            any_replacement_retires_its_predecessor
            an_older_ancestor_ends_the_session
            a_replay_leaves_the_other_sessions
            parallel_replays_are_recorded_once
            an_unknown_refresh_token_is_unknown
            a_session_is_found_by_any_of_its_refresh_tokens
            sessions_end_as_they_were_chosen
            only_live_sessions_are_counted_when_they_end
            sessions_are_listed_newest_first
            a_login_that_races_a_password_change_leaves_no_session);
        $crate::store_contract!(@suite $make, store:
            a_ping_is_answered
            expired_sessions_are_swept
            mailed_tokens_are_swept_once_the_throttle_is_done_with_them
            accounts_that_were_never_verified_are_swept
            a_sweep_takes_no_more_than_it_is_told
            unproven_accounts_are_walked_in_order
            a_dropped_call_is_made_whole_or_not_at_all);
        $crate::store_contract!(@suite $make, tokens:
            an_issued_token_is_pending_and_mailed
            the_gap_between_two_mails_is_kept
            the_hourly_cap_is_kept
            a_throttle_concerns_one_purpose_of_one_user
            used_and_killed_tokens_count_for_the_throttle
            the_token_of_a_registration_counts_for_the_throttle
            of_tokens_asked_for_at_once_one_is_issued
            a_user_who_is_gone_gets_no_token
            a_change_of_address_begins_with_two_tokens
            a_newer_change_of_address_replaces_the_older
            a_refused_change_of_address_writes_nothing
            changes_of_address_are_throttled
            of_changes_of_address_begun_at_once_one_is_done
            a_look_at_a_token_does_not_use_it
            a_token_does_one_thing_for_one_user
            an_expired_token_changes_nothing
            a_verification_counts_the_address_as_verified
            a_redeemed_token_is_recorded_once
            a_used_verification_already_holds
            a_reset_replaces_everything_that_opens_the_account
            a_reset_sets_a_first_password
            a_reclaimed_account_is_reset
            a_used_reset_token_is_refused
            a_changed_address_replaces_the_old_one
            an_address_may_change_in_case_only
            a_token_for_an_address_taken_meanwhile_stays_unused
            a_cancelled_change_of_address_is_dropped
            an_older_cancel_token_stops_a_newer_change
            a_killed_token_is_refused
            a_token_about_a_former_address_is_refused
            of_redemptions_at_once_one_is_done
            of_changes_to_one_address_at_once_one_is_done);
        $crate::store_contract!(@suite $make, users:
            a_registration_writes_all_of_its_rows
            an_account_needs_no_password_session_or_token
            every_field_of_an_account_survives
            a_taken_username_writes_nothing
            a_taken_address_writes_nothing
            an_unverified_address_is_taken_too
            of_registrations_of_one_username_at_once_one_wins
            of_registrations_of_one_address_at_once_one_wins
            an_account_is_found_by_id_username_and_address
            an_appended_record_is_written
            a_changed_password_ends_what_the_old_one_opened
            a_stale_version_changes_no_password
            a_password_is_not_changed_from_a_session_that_is_gone
            of_password_changes_at_once_one_is_made
            a_deleted_account_takes_everything_but_the_audit_log
            a_stale_version_deletes_nothing
            an_account_is_not_deleted_from_a_session_that_is_gone
            a_disabled_account_opens_nothing
            an_account_can_be_enabled_again
            a_status_is_set_once
            administrator_rights_are_given_and_taken
            the_language_of_mails_is_changed);
    };
    (@suite $make:expr, $suite:ident: $($behaviour:ident)*) => {
        mod $suite {
            #[allow(unused_imports)] // a closure may need nothing
            use super::*;

            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $behaviour() {
                    $crate::contract::$suite::$behaviour(($make)().await).await;
                }
            )*
        }
    };
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_behaviour_has_its_test() {
        let (list, _) = include_str!("mod.rs")
            .split_once("@suite $make:expr")
            .unwrap();
        for suite in [
            include_str!("audit.rs"),
            include_str!("billing/mod.rs"),
            include_str!("billing/reconcile.rs"),
            include_str!("credits.rs"),
            include_str!("identities.rs"),
            include_str!("outbox.rs"),
            include_str!("sessions.rs"),
            include_str!("store.rs"),
            include_str!("tokens.rs"),
            include_str!("users.rs"),
        ] {
            for rest in suite.split("\npub async fn ").skip(1) {
                let (name, arguments) = rest.split_once('(').unwrap();
                if !arguments.starts_with("stores: ") {
                    continue;
                }
                assert!(
                    list.split_whitespace()
                        .any(|word| word.trim_end_matches(");") == name),
                    "{name} is missing in store_contract!"
                );
            }
        }
    }
}
