//! The ports of the core: each method hands a unit of work to the statements.
//!
//! The store and the scope do the same work and differ in where it happens, so the methods stand here once, for both.

use std::sync::Arc;

use async_trait::async_trait;
use auth_core::{
    payments::{apply, end_subscription},
    ports::{
        AccountPlace, AuditLog, Authenticated, Balance, Begun, BillingStore, Booking, Claims,
        CreditStore, DeadMail, DeadMails, EmailChange, Ended, History, HistoryPage, IdentityStore,
        LOOKS, LedgerAccount, LedgerLine, Linked, MailCounts, Outbox, PasswordChange, Redeemed,
        Removal, Rotated, Rotation, SessionStore, Store, StoreError, Sweepable, Unique, Unlinked,
        UserStore,
    },
    types::{
        Account, AccountKey, AuditEntry, Change, CredentialsVersion, Credits, Digest, Direction,
        Entry, IdentityLink, KeptEvent, KeptPurchase, MailId, NewAccount, NewMailedToken,
        NewSession, PasswordHash, PaymentEvent, PaymentRef, Processed, ProviderName, Purpose,
        Record, Session, SessionId, Subscription, SubscriptionEnd, Throttle, User, UserId,
    },
};
use time::{Duration, OffsetDateTime};
use tokio::sync::OwnedMutexGuard;

use crate::{
    PgScope, PgStore,
    classify::{classify, is_held},
    sql::{self, audit, credits, identities, outbox, payments, sessions, tokens, users},
    together::Together,
    unit::{self, Bond, Unit},
};

impl PgStore {
    async fn run<A, T>(&self, bond: Bond, about: A, unit: Unit<A, T>) -> Result<T, StoreError>
    where
        A: Send + Sync + 'static,
        T: Send + 'static,
    {
        let bond = match bond {
            Bond::Writes => self.writes(),
            bond => bond,
        };
        unit::run(&self.lender, bond, about, unit)
            .await
            .map_err(classify)
    }

    /// How lone statements write: see [`from_pool`](Self::from_pool).
    pub(crate) fn writes(&self) -> Bond {
        if self.lender.owns_pool() {
            Bond::Writes
        } else {
            Bond::Transaction
        }
    }

    /// Books an entry in the company of others, or leaves it to go alone.
    async fn book_together(&self, entry: Entry) -> Result<Together, StoreError> {
        match entry.direction {
            Direction::Debit => self.uses.join(self, entry).await,
            Direction::Credit => Ok(Together::Alone(entry, None)),
        }
    }

    /// Events of payments wait for each other here, before any of them has a connection: in the database a few of them would have them all.
    async fn payment_turn(&self) -> Result<Option<OwnedMutexGuard<()>>, StoreError> {
        let turn = Arc::clone(&self.payments).lock_owned();
        match tokio::time::timeout(unit::LIMIT, turn).await {
            Ok(turn) => Ok(Some(turn)),
            Err(_) => Err(classify(sqlx::Error::PoolTimedOut)),
        }
    }
}

impl PgScope {
    /// The host's transaction is nobody else's company.
    #[allow(clippy::unused_async)]
    async fn book_together(&self, entry: Entry) -> Result<Together, StoreError> {
        Ok(Together::Alone(entry, None))
    }

    /// The host's transaction has its connection already.
    #[allow(clippy::unused_async)]
    async fn payment_turn(&self) -> Result<Option<OwnedMutexGuard<()>>, StoreError> {
        Ok(None)
    }
}

/// What was claimed before a look that failed: thrown away, it would wait for the end of its lease. The next call meets the error, if it lasts.
fn so_far(claims: Claims, error: StoreError) -> Result<Claims, StoreError> {
    if claims.mails.is_empty() && claims.given_up.is_empty() {
        return Err(error);
    }
    tracing::warn!(
        error = &error as &dyn std::error::Error,
        "a look for due mails failed after others had found some"
    );
    Ok(Claims {
        more: true,
        ..claims
    })
}

macro_rules! ports {
    ($store:ty) => {
        #[async_trait]
        impl UserStore for $store {
            async fn register(
                &self,
                account: NewAccount,
                record: Record,
            ) -> Result<(), StoreError> {
                self.run(Bond::Writes, (account, record), |c, (account, record)| {
                    Box::pin(users::register(c, account, record))
                })
                .await
            }

            async fn account(&self, key: &AccountKey) -> Result<Option<Account>, StoreError> {
                self.run(Bond::Reads, key.clone(), |c, key| {
                    Box::pin(users::account(c, key))
                })
                .await
            }

            async fn append(&self, record: Record) -> Result<(), StoreError> {
                self.run(Bond::Writes, record, |c, record| {
                    Box::pin(sql::append(c, record))
                })
                .await
            }

            async fn change_password(
                &self,
                change: PasswordChange,
                record: Record,
            ) -> Result<bool, StoreError> {
                self.run(
                    Bond::Transaction,
                    (change, record),
                    |c, (change, record)| Box::pin(users::change_password(c, change, record)),
                )
                .await
            }

            async fn delete_account(
                &self,
                user: UserId,
                seen: CredentialsVersion,
                session: SessionId,
                now: OffsetDateTime,
                record: Record,
            ) -> Result<bool, StoreError> {
                self.run(
                    Bond::LongTransaction,
                    (user, seen, session, now, record),
                    |c, (user, seen, session, now, record)| {
                        Box::pin(users::delete_account(
                            c, *user, *seen, *session, *now, record,
                        ))
                    },
                )
                .await
            }

            async fn set_disabled(
                &self,
                user: UserId,
                disabled: bool,
                now: OffsetDateTime,
                record: Record,
            ) -> Result<bool, StoreError> {
                self.run(
                    Bond::Transaction,
                    (user, disabled, now, record),
                    |c, (user, disabled, now, record)| {
                        Box::pin(users::set_disabled(c, *user, *disabled, *now, record))
                    },
                )
                .await
            }

            async fn set_admin(
                &self,
                user: UserId,
                admin: bool,
                now: OffsetDateTime,
                record: Record,
            ) -> Result<bool, StoreError> {
                self.run(
                    Bond::Writes,
                    (user, admin, now, record),
                    |c, (user, admin, now, record)| {
                        Box::pin(users::set_admin(c, *user, *admin, *now, record))
                    },
                )
                .await
            }

            async fn set_locale(
                &self,
                user: UserId,
                locale: &str,
                now: OffsetDateTime,
            ) -> Result<bool, StoreError> {
                self.run(
                    Bond::Writes,
                    (user, locale.to_owned(), now),
                    |c, (user, locale, now)| Box::pin(users::set_locale(c, *user, locale, *now)),
                )
                .await
            }

            async fn issue_token(
                &self,
                token: NewMailedToken,
                throttle: Throttle,
                record: Record,
            ) -> Result<bool, StoreError> {
                self.run(
                    Bond::Transaction,
                    (token, throttle, record),
                    |c, (token, throttle, record)| {
                        Box::pin(tokens::issue(c, token, *throttle, record))
                    },
                )
                .await
            }

            async fn begin_email_change(
                &self,
                change: EmailChange,
                record: Record,
            ) -> Result<Begun, StoreError> {
                let begun = self.run(
                    Bond::Transaction,
                    (change, record),
                    |c, (change, record)| Box::pin(tokens::begin_email_change(c, change, record)),
                );
                begun.await?.ok_or(StoreError::Taken(Unique::Email))
            }

            async fn pending_token(
                &self,
                digest: &Digest,
                purpose: Purpose,
                now: OffsetDateTime,
            ) -> Result<Option<User>, StoreError> {
                self.run(
                    Bond::Reads,
                    (*digest, purpose, now),
                    |c, (digest, purpose, now)| {
                        Box::pin(tokens::pending(c, digest, *purpose, *now))
                    },
                )
                .await
            }

            async fn redeem(
                &self,
                digest: &Digest,
                user: UserId,
                change: Change,
                now: OffsetDateTime,
                record: Record,
            ) -> Result<Redeemed, StoreError> {
                self.run(
                    Bond::Transaction,
                    (*digest, user, change, now, record),
                    |c, (digest, user, change, now, record)| {
                        Box::pin(tokens::redeem(c, digest, *user, change, *now, record))
                    },
                )
                .await
            }
        }

        #[async_trait]
        impl IdentityStore for $store {
            async fn link_identity(
                &self,
                link: IdentityLink,
                record: Record,
            ) -> Result<Linked, StoreError> {
                self.run(Bond::Transaction, (link, record), |c, (link, record)| {
                    Box::pin(identities::link(c, link, record))
                })
                .await
            }

            async fn unlink_identity(
                &self,
                user: UserId,
                seen: CredentialsVersion,
                session: SessionId,
                provider: &ProviderName,
                now: OffsetDateTime,
                record: Record,
            ) -> Result<Unlinked, StoreError> {
                self.run(
                    Bond::Transaction,
                    (user, seen, session, provider.clone(), now, record),
                    |c, (user, seen, session, provider, now, record)| {
                        Box::pin(identities::unlink(
                            c, *user, *seen, *session, provider, *now, record,
                        ))
                    },
                )
                .await
            }

            async fn spend_secret(
                &self,
                digest: &Digest,
                expires_at: OffsetDateTime,
            ) -> Result<bool, StoreError> {
                self.run(
                    Bond::Writes,
                    (*digest, expires_at),
                    |c, (digest, expires_at)| Box::pin(identities::spend(c, digest, *expires_at)),
                )
                .await
            }
        }

        #[async_trait]
        impl SessionStore for $store {
            async fn open_session(
                &self,
                session: NewSession,
                seen: CredentialsVersion,
                rehash: Option<PasswordHash>,
                record: Record,
            ) -> Result<bool, StoreError> {
                self.run(
                    Bond::Writes,
                    (session, seen, rehash, record),
                    |c, (session, seen, rehash, record)| {
                        Box::pin(sessions::open(c, session, *seen, rehash.as_ref(), record))
                    },
                )
                .await
            }

            async fn authenticate(
                &self,
                session: SessionId,
                now: OffsetDateTime,
            ) -> Result<Option<Authenticated>, StoreError> {
                self.run(Bond::Reads, (session, now), |c, (session, now)| {
                    Box::pin(sessions::authenticate(c, *session, *now))
                })
                .await
            }

            async fn touch(
                &self,
                session: SessionId,
                now: OffsetDateTime,
                idle: Duration,
            ) -> Result<Option<Authenticated>, StoreError> {
                self.run(
                    Bond::Writes,
                    (session, now, idle),
                    |c, (session, now, idle)| Box::pin(sessions::touch(c, *session, *now, *idle)),
                )
                .await
            }

            async fn rotate(&self, rotation: Rotation) -> Result<Rotated, StoreError> {
                self.run(Bond::Writes, rotation, |c, rotation| {
                    Box::pin(sessions::rotate(c, rotation))
                })
                .await
            }

            async fn session_of_refresh(
                &self,
                digest: &Digest,
            ) -> Result<Option<Session>, StoreError> {
                self.run(Bond::Reads, *digest, |c, digest| {
                    Box::pin(sessions::of_refresh(c, digest))
                })
                .await
            }

            async fn end_sessions(
                &self,
                user: UserId,
                which: Ended,
                now: OffsetDateTime,
                record: Record,
            ) -> Result<u64, StoreError> {
                self.run(
                    Bond::Writes,
                    (user, which, now, record),
                    |c, (user, which, now, record)| {
                        Box::pin(sessions::end(c, *user, *which, *now, record))
                    },
                )
                .await
            }

            async fn sessions(
                &self,
                user: UserId,
                now: OffsetDateTime,
            ) -> Result<Vec<Session>, StoreError> {
                self.run(Bond::Reads, (user, now), |c, (user, now)| {
                    Box::pin(sessions::live(c, *user, *now))
                })
                .await
            }
        }

        #[async_trait]
        impl Outbox for $store {
            async fn claim_mails(
                &self,
                now: OffsetDateTime,
                lease: Duration,
                limit: u32,
            ) -> Result<Claims, StoreError> {
                let mut claims = Claims::default();
                let mut wanted = limit;
                for _ in 0..LOOKS {
                    let look = (now, lease, wanted);
                    let found = self
                        .run(Bond::Writes, look, |c, (now, lease, wanted)| {
                            Box::pin(outbox::claim(c, *now, *lease, *wanted))
                        })
                        .await;
                    let found = match found {
                        Ok(found) => found,
                        Err(error) => return so_far(claims, error),
                    };
                    let is_all = found.rows < wanted;
                    wanted = wanted.saturating_sub(
                        u32::try_from(found.claims.mails.len()).unwrap_or(u32::MAX),
                    );
                    claims.mails.extend(found.claims.mails);
                    claims.given_up.extend(found.claims.given_up);
                    if !found.unreadable.is_empty() {
                        let over = self
                            .run(Bond::Writes, found.unreadable, |c, mails| {
                                Box::pin(outbox::give_back(c, mails))
                            })
                            .await;
                        match over {
                            Ok(over) => claims.given_up.extend(over),
                            Err(error) => return so_far(claims, error),
                        }
                    }
                    // Others may be due behind what was no mail for us.
                    if is_all || wanted == 0 {
                        return Ok(claims);
                    }
                }
                claims.more = true;
                Ok(claims)
            }

            async fn mail_sent(
                &self,
                mail: MailId,
                lease: OffsetDateTime,
            ) -> Result<bool, StoreError> {
                self.run(Bond::Writes, (mail, lease), |c, (mail, lease)| {
                    Box::pin(outbox::delete(c, *mail, *lease))
                })
                .await
            }

            async fn mail_failed(
                &self,
                mail: MailId,
                lease: OffsetDateTime,
                retry_at: Option<OffsetDateTime>,
                reason: &str,
            ) -> Result<bool, StoreError> {
                self.run(
                    Bond::Writes,
                    (mail, lease, retry_at, reason.to_owned()),
                    |c, (mail, lease, retry_at, reason)| {
                        Box::pin(outbox::fail(c, *mail, *lease, *retry_at, reason))
                    },
                )
                .await
            }

            async fn mail_counts(&self) -> Result<MailCounts, StoreError> {
                self.run(Bond::Reads, (), |c, ()| Box::pin(outbox::counts(c)))
                    .await
            }

            async fn dead_mails(&self, limit: u32) -> Result<Vec<DeadMail>, StoreError> {
                self.run(Bond::Reads, limit, |c, limit| {
                    Box::pin(outbox::dead(c, *limit))
                })
                .await
            }

            async fn retry_dead_mails(
                &self,
                which: DeadMails,
                now: OffsetDateTime,
            ) -> Result<u64, StoreError> {
                self.run(Bond::Writes, (which, now), |c, (which, now)| {
                    Box::pin(outbox::retry(c, *which, *now))
                })
                .await
            }

            async fn drop_dead_mails(&self, which: DeadMails) -> Result<u64, StoreError> {
                self.run(Bond::Writes, which, |c, which| {
                    Box::pin(outbox::drop_dead(c, *which))
                })
                .await
            }

            async fn watch_mails(&self, wake: &(dyn Fn() + Send + Sync)) -> Result<(), StoreError> {
                self.watch(wake).await
            }
        }

        #[async_trait]
        impl AuditLog for $store {
            async fn audit_entries(
                &self,
                user: UserId,
                limit: u32,
            ) -> Result<Vec<AuditEntry>, StoreError> {
                self.run(Bond::Reads, (user, limit), |c, (user, limit)| {
                    Box::pin(audit::entries(c, *user, *limit))
                })
                .await
            }
        }

        #[async_trait]
        impl CreditStore for $store {
            async fn book(&self, entry: Entry) -> Result<Booking, StoreError> {
                let (entry, _turn) = match self.book_together(entry).await? {
                    Together::Booked(entry) => return Ok(Booking::Done(entry)),
                    Together::Alone(entry, turn) => (entry, turn),
                };
                self.run(Bond::Writes, entry, |c, entry| {
                    Box::pin(credits::book(c, entry))
                })
                .await
            }

            async fn balance(&self, user: UserId) -> Result<Option<Balance>, StoreError> {
                self.run(Bond::Reads, user, |c, user| {
                    Box::pin(credits::balance(c, *user))
                })
                .await
            }

            async fn history(&self, history: History) -> Result<Option<HistoryPage>, StoreError> {
                self.run(Bond::Reads, history, |c, history| {
                    Box::pin(credits::history(c, history))
                })
                .await
            }

            async fn ledger_accounts(
                &self,
                after: Option<UserId>,
                limit: u32,
            ) -> Result<Vec<LedgerAccount>, StoreError> {
                self.run(Bond::Reads, (after, limit), |c, (after, limit)| {
                    Box::pin(credits::accounts(c, *after, *limit))
                })
                .await
            }

            async fn ledger_lines(
                &self,
                after: Option<(UserId, i64)>,
                limit: u32,
            ) -> Result<Vec<LedgerLine>, StoreError> {
                self.run(Bond::Reads, (after, limit), |c, (after, limit)| {
                    Box::pin(credits::lines(c, *after, *limit))
                })
                .await
            }
        }

        #[async_trait]
        impl BillingStore for $store {
            async fn apply_payment_event(
                &self,
                event: PaymentEvent,
            ) -> Result<Processed, StoreError> {
                let turn = self.payment_turn().await?;
                self.run(Bond::Transaction, (event, turn), |c, (event, _)| {
                    Box::pin(async move { apply(&mut payments::Rows(c), event).await })
                })
                .await
            }

            async fn try_payment_event(
                &self,
                event: PaymentEvent,
            ) -> Result<Processed, StoreError> {
                let turn = self.payment_turn().await?;
                self.run(Bond::Transaction, (event, turn), |c, (event, _)| {
                    Box::pin(payments::try_event(c, event))
                })
                .await
            }

            async fn settled_payments(
                &self,
                ids: &[PaymentRef],
            ) -> Result<Vec<PaymentRef>, StoreError> {
                let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
                self.run(Bond::Reads, ids, |c, ids| {
                    Box::pin(payments::settled(c, ids))
                })
                .await
            }

            async fn customer(&self, user: UserId) -> Result<Option<PaymentRef>, StoreError> {
                self.run(Bond::Reads, user, |c, user| {
                    Box::pin(payments::customer(c, *user))
                })
                .await
            }

            async fn keep_customer(
                &self,
                user: UserId,
                customer: PaymentRef,
            ) -> Result<Option<PaymentRef>, StoreError> {
                self.run(Bond::Writes, (user, customer), |c, (user, customer)| {
                    Box::pin(payments::keep_customer(c, *user, customer))
                })
                .await
            }

            async fn replace_customer(
                &self,
                user: UserId,
                gone: &PaymentRef,
                customer: PaymentRef,
            ) -> Result<Option<PaymentRef>, StoreError> {
                self.run(
                    Bond::Writes,
                    (user, gone.clone(), customer),
                    |c, (user, gone, customer)| {
                        Box::pin(payments::replace_customer(c, *user, gone, customer))
                    },
                )
                .await
            }

            async fn subscription_wish(&self, user: UserId) -> Result<u32, StoreError> {
                self.run(Bond::Reads, user, |c, user| {
                    Box::pin(payments::subscription_wish(c, *user))
                })
                .await
            }

            async fn pass_subscription_wish(
                &self,
                user: UserId,
                seen: u32,
            ) -> Result<(), StoreError> {
                self.run(Bond::Writes, (user, seen), |c, (user, seen)| {
                    Box::pin(payments::pass_subscription_wish(c, *user, *seen))
                })
                .await
            }

            async fn debt(&self, user: UserId) -> Result<Credits, StoreError> {
                self.run(Bond::Reads, user, |c, user| {
                    Box::pin(payments::debt(c, *user))
                })
                .await
            }

            async fn debts(&self, limit: u32) -> Result<Vec<(UserId, Credits)>, StoreError> {
                self.run(Bond::Reads, limit, |c, limit| {
                    Box::pin(payments::debts(c, *limit))
                })
                .await
            }

            async fn subscriptions(&self, user: UserId) -> Result<Vec<Subscription>, StoreError> {
                self.run(Bond::Reads, user, |c, user| {
                    Box::pin(payments::subscriptions(c, *user))
                })
                .await
            }

            async fn keep_subscription(
                &self,
                user: UserId,
                subscription: Subscription,
            ) -> Result<(), StoreError> {
                self.run(
                    Bond::Writes,
                    (user, subscription),
                    |c, (user, subscription)| {
                        Box::pin(payments::keep_subscription(c, *user, subscription))
                    },
                )
                .await
            }

            async fn end_subscription(&self, end: SubscriptionEnd) -> Result<(), StoreError> {
                let turn = self.payment_turn().await?;
                self.run(Bond::Transaction, (end, turn), |c, (end, _)| {
                    Box::pin(async move { end_subscription(&mut payments::Rows(c), end).await })
                })
                .await
            }

            async fn abandoned_subscriptions(
                &self,
                limit: u32,
            ) -> Result<Vec<PaymentRef>, StoreError> {
                self.run(Bond::Reads, limit, |c, limit| {
                    Box::pin(payments::abandoned_subscriptions(c, *limit))
                })
                .await
            }

            async fn alarming_events(
                &self,
                since: OffsetDateTime,
                limit: u32,
            ) -> Result<Vec<KeptEvent>, StoreError> {
                self.run(Bond::Reads, (since, limit), |c, (since, limit)| {
                    Box::pin(payments::alarming_events(c, *since, *limit))
                })
                .await
            }

            async fn purchases(
                &self,
                since: OffsetDateTime,
                after: Option<(OffsetDateTime, PaymentRef)>,
                limit: u32,
            ) -> Result<Vec<KeptPurchase>, StoreError> {
                self.run(
                    Bond::Reads,
                    (since, after, limit),
                    |c, (since, after, limit)| {
                        Box::pin(payments::purchases(c, *since, after.as_ref(), *limit))
                    },
                )
                .await
            }
        }

        #[async_trait]
        impl Store for $store {
            async fn ping(&self) -> Result<(), StoreError> {
                match self
                    .run(Bond::Reads, (), |c, ()| Box::pin(sql::ping(c)))
                    .await
                {
                    Err(StoreError::Backend(cause)) => Err(StoreError::Unavailable(cause)),
                    answer => answer,
                }
            }

            async fn sweep(
                &self,
                what: Sweepable,
                now: OffsetDateTime,
                limit: u32,
            ) -> Result<u64, StoreError> {
                let delete: Unit<(OffsetDateTime, u32), u64> = match what {
                    Sweepable::MailedTokens => {
                        |c, (now, limit)| Box::pin(tokens::delete_expired(c, *now, *limit))
                    }
                    Sweepable::Sessions => {
                        |c, (now, limit)| Box::pin(sessions::delete_expired(c, *now, *limit))
                    }
                    Sweepable::SpentSecrets => {
                        |c, (now, limit)| Box::pin(identities::delete_expired(c, *now, *limit))
                    }
                };
                self.run(Bond::Writes, (now, limit), delete).await
            }

            async fn unverified_accounts(
                &self,
                made_before: OffsetDateTime,
                after: Option<AccountPlace>,
                limit: u32,
            ) -> Result<Vec<AccountPlace>, StoreError> {
                self.run(
                    Bond::Reads,
                    (made_before, after, limit),
                    |c, (made_before, after, limit)| {
                        Box::pin(users::unverified(c, *made_before, *after, *limit))
                    },
                )
                .await
            }

            async fn delete_unverified(&self, accounts: &[UserId]) -> Result<Removal, StoreError> {
                // A batch that is refused is tried again one by one, and must have given its locks back by then.
                let bond = match accounts {
                    [_] => Bond::Writes,
                    _ => Bond::Transaction,
                };
                let gone = self
                    .run(bond, accounts.to_vec(), |c, accounts| {
                        Box::pin(users::delete_unverified(c, accounts))
                    })
                    .await;
                match gone {
                    Ok(gone) => Ok(Removal::Gone(gone)),
                    Err(error) if is_held(&error) => Ok(Removal::Held),
                    Err(error) => Err(error),
                }
            }
        }
    };
}

ports!(PgStore);
ports!(PgScope);
