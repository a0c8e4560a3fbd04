use std::fmt;

use serde::Serialize;

use crate::values::{Amount, Moment, Money};

/// One mail, with all that its template may show.
///
/// Serialisable for checks only. `Debug` prints the name and nothing else, because a link holds a
/// one-time token.
#[derive(Clone, Serialize)]
#[serde(tag = "mail", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Mail {
    /// Greets a new user and asks to verify the address.
    Welcome {
        /// Name of the account.
        username: String,
        /// Page that verifies the address.
        link: String,
        /// Hours until the link expires.
        valid_hours: u32,
    },
    /// Asks once more to verify the address.
    VerifyEmail {
        /// Name of the account.
        username: String,
        /// Page that verifies the address.
        link: String,
        /// Hours until the link expires.
        valid_hours: u32,
    },
    /// Lets somebody who forgot the password choose another.
    PasswordReset {
        /// Name of the account.
        username: String,
        /// Page that takes the new password.
        link: String,
        /// Minutes until the link expires.
        valid_minutes: u32,
    },
    /// Tells that the password is another now.
    PasswordChanged {
        /// Name of the account.
        username: String,
        /// When.
        at: Moment,
    },
    /// Asks the new address for its consent to an address change.
    EmailChangeVerify {
        /// Name of the account.
        username: String,
        /// Page that confirms the new address.
        link: String,
        /// Hours until the link expires.
        valid_hours: u32,
    },
    /// Tells the old address of a requested address change.
    EmailChangeNotice {
        /// Name of the account.
        username: String,
        /// The address that was asked for.
        new_email: String,
        /// Page that cancels the change.
        link: String,
        /// Hours until the link expires.
        valid_hours: u32,
    },
    /// Tells that the account is gone.
    AccountDeleted {
        /// Name the account had.
        username: String,
        /// When.
        at: Moment,
    },
    /// Tells the owner of an address that somebody tried to register with it.
    AccountExists {
        /// Name of the account that has the address.
        username: String,
        /// Page that takes a new password.
        link: String,
        /// Minutes until the link expires.
        valid_minutes: u32,
    },
    /// Tells that somebody can sign in through another provider now.
    GoogleLinked {
        /// Name of the account.
        username: String,
        /// Name of the provider, such as `Google`.
        provider: String,
        /// Which account of the provider: its address there.
        identity: String,
        /// When.
        at: Moment,
    },
    /// Tells that nobody can sign in through that provider any more.
    GoogleUnlinked {
        /// Name of the account.
        username: String,
        /// Name of the provider, such as `Google`.
        provider: String,
        /// When.
        at: Moment,
    },
    /// Confirms that credits were bought.
    CreditPurchase {
        /// Name of the account.
        username: String,
        /// Name of what was bought.
        item: String,
        /// What was granted.
        credits: Amount,
        /// Of the account, the granted ones included.
        balance: Amount,
        /// What was paid.
        price: Money,
        /// When.
        at: Moment,
    },
    /// Confirms the first payment of a subscription.
    SubscriptionStarted {
        /// Name of the account.
        username: String,
        /// What was paid, and for what.
        #[serde(flatten)]
        paid: PaidPeriod,
    },
    /// Confirms a later payment of a subscription.
    SubscriptionRenewed {
        /// Name of the account.
        username: String,
        /// What was paid, and for what.
        #[serde(flatten)]
        paid: PaidPeriod,
    },
    /// Confirms that a subscription ends.
    SubscriptionCancelled {
        /// Name of the account.
        username: String,
        /// Name of the plan.
        plan: String,
        /// When it ends, or ended.
        ends_at: Moment,
    },
    /// Confirms that a subscription has a dearer plan.
    PlanUpgrade {
        /// Name of the account.
        username: String,
        /// Name of the plan before.
        old_plan: String,
        /// The plan now, and what the difference was.
        #[serde(flatten)]
        paid: PaidPeriod,
    },
    /// Tells that a payment of a subscription failed, and what comes next.
    PaymentFailed {
        /// Name of the account.
        username: String,
        /// Name of the plan.
        plan: String,
        /// What is owed.
        price: Money,
        /// When it is tried again; nothing when it is not.
        #[serde(skip_serializing_if = "Option::is_none")]
        retry_at: Option<Moment>,
        /// Page of the payment provider that takes the payment.
        #[serde(skip_serializing_if = "Option::is_none")]
        link: Option<String>,
    },
    /// Shows the operator that mails arrive.
    Test {
        /// When it was sent.
        at: Moment,
    },
}

/// A paid period of a subscription. Templates see its fields as those of the mail.
#[derive(Debug, Clone, Serialize)]
pub struct PaidPeriod {
    /// Name of the plan.
    pub plan: String,
    /// What was granted for the payment.
    pub credits: Amount,
    /// Of the account, the granted credits included.
    pub balance: Amount,
    /// What was paid.
    pub price: Money,
    /// End of the paid period.
    pub period_end: Moment,
}

impl Mail {
    /// The name of the kind of mail, in `snake_case`: that of its templates.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Welcome { .. } => "welcome",
            Self::VerifyEmail { .. } => "verify_email",
            Self::PasswordReset { .. } => "password_reset",
            Self::PasswordChanged { .. } => "password_changed",
            Self::EmailChangeVerify { .. } => "email_change_verify",
            Self::EmailChangeNotice { .. } => "email_change_notice",
            Self::AccountDeleted { .. } => "account_deleted",
            Self::AccountExists { .. } => "account_exists",
            Self::GoogleLinked { .. } => "google_linked",
            Self::GoogleUnlinked { .. } => "google_unlinked",
            Self::CreditPurchase { .. } => "credit_purchase",
            Self::SubscriptionStarted { .. } => "subscription_started",
            Self::SubscriptionRenewed { .. } => "subscription_renewed",
            Self::SubscriptionCancelled { .. } => "subscription_cancelled",
            Self::PlanUpgrade { .. } => "plan_upgrade",
            Self::PaymentFailed { .. } => "payment_failed",
            Self::Test { .. } => "test",
        }
    }

    /// One mail of each kind, with harmless values.
    pub fn samples() -> Vec<Self> {
        std::iter::successors(Some(Self::first_sample()), Self::next_sample).collect()
    }

    /// The same mail in the other shapes that its template may tell apart: its link lives for another time, or it lacks some of what it may lack.
    pub(crate) fn variants(&self) -> Vec<Self> {
        let lives_for = [0, 1, 2, 48, 60, 90].map(|time| {
            let mut mail = self.clone();
            *mail.lifetime()? = time;
            Some(mail)
        });
        let lacks = [(true, false), (false, true), (true, true)].map(|(no_retry, no_link)| {
            let mut mail = self.clone();
            let Self::PaymentFailed { retry_at, link, .. } = &mut mail else {
                return None;
            };
            retry_at.take_if(|_| no_retry);
            link.take_if(|_| no_link);
            Some(mail)
        });
        lives_for.into_iter().chain(lacks).flatten().collect()
    }

    /// Of its link, in the unit that it tells.
    fn lifetime(&mut self) -> Option<&mut u32> {
        match self {
            Self::AccountExists { valid_minutes, .. }
            | Self::PasswordReset { valid_minutes, .. } => Some(valid_minutes),
            Self::EmailChangeNotice { valid_hours, .. }
            | Self::EmailChangeVerify { valid_hours, .. }
            | Self::VerifyEmail { valid_hours, .. }
            | Self::Welcome { valid_hours, .. } => Some(valid_hours),
            _ => None,
        }
    }

    fn first_sample() -> Self {
        Self::Welcome {
            username: sample_username(),
            link: sample_link("verify-email"),
            valid_hours: 24,
        }
    }

    // A chain through a match without a wildcard: a new kind does not compile until it has its place here.
    fn next_sample(&self) -> Option<Self> {
        let username = sample_username();
        Some(match self {
            Self::Welcome { .. } => Self::VerifyEmail {
                username,
                link: sample_link("verify-email"),
                valid_hours: 24,
            },
            Self::VerifyEmail { .. } => Self::PasswordReset {
                username,
                link: sample_link("update-password"),
                valid_minutes: 30,
            },
            Self::PasswordReset { .. } => Self::PasswordChanged {
                username,
                at: sample_moment(),
            },
            Self::PasswordChanged { .. } => Self::EmailChangeVerify {
                username,
                link: sample_link("verify-email"),
                valid_hours: 24,
            },
            Self::EmailChangeVerify { .. } => Self::EmailChangeNotice {
                username,
                new_email: "new@example.com".to_owned(),
                link: sample_link("cancel-email-change"),
                valid_hours: 24,
            },
            Self::EmailChangeNotice { .. } => Self::AccountDeleted {
                username,
                at: sample_moment(),
            },
            Self::AccountDeleted { .. } => Self::AccountExists {
                username,
                link: sample_link("update-password"),
                valid_minutes: 30,
            },
            Self::AccountExists { .. } => Self::GoogleLinked {
                username,
                provider: "Google".to_owned(),
                identity: "username@example.com".to_owned(),
                at: sample_moment(),
            },
            Self::GoogleLinked { .. } => Self::GoogleUnlinked {
                username,
                provider: "Google".to_owned(),
                at: sample_moment(),
            },
            Self::GoogleUnlinked { .. } => Self::CreditPurchase {
                username,
                item: "Large".to_owned(),
                credits: Amount::new("1200.00"),
                balance: Amount::new("1234.50"),
                price: Money::new("49.00", "EUR"),
                at: sample_moment(),
            },
            Self::CreditPurchase { .. } => Self::SubscriptionStarted {
                username,
                paid: sample_period("120.00"),
            },
            Self::SubscriptionStarted { .. } => Self::SubscriptionRenewed {
                username,
                paid: sample_period("151.25"),
            },
            Self::SubscriptionRenewed { .. } => Self::SubscriptionCancelled {
                username,
                plan: "Basic".to_owned(),
                ends_at: sample_moment(),
            },
            Self::SubscriptionCancelled { .. } => Self::PlanUpgrade {
                username,
                old_plan: "Basic".to_owned(),
                paid: PaidPeriod {
                    plan: "Professional".to_owned(),
                    ..sample_period("531.25")
                },
            },
            Self::PlanUpgrade { .. } => Self::PaymentFailed {
                username,
                plan: "Professional".to_owned(),
                price: Money::new("29.00", "EUR"),
                retry_at: Some(sample_moment()),
                link: Some(sample_link("pay")),
            },
            Self::PaymentFailed { .. } => Self::Test {
                at: sample_moment(),
            },
            Self::Test { .. } => return None,
        })
    }
}

impl fmt::Debug for Mail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mail({})", self.name())
    }
}

fn sample_username() -> String {
    "username".to_owned()
}

fn sample_period(balance: &str) -> PaidPeriod {
    PaidPeriod {
        plan: "Basic".to_owned(),
        credits: Amount::new("120.00"),
        balance: Amount::new(balance),
        price: Money::new("9.00", "EUR"),
        period_end: sample_moment(),
    }
}

fn sample_moment() -> Moment {
    (time::OffsetDateTime::UNIX_EPOCH + time::Duration::days(20_423) + time::Duration::minutes(545))
        .into()
}

fn sample_link(page: &str) -> String {
    format!("https://example.com/{page}?token=sample")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::files;

    #[test]
    fn each_kind_of_mail_has_one_sample_and_two_templates() {
        let shared = ["mail/_row.html", "mail/layout.html", "mail/layout.txt"];
        let mut wanted: BTreeSet<String> = shared.map(str::to_owned).into();
        for mail in Mail::samples() {
            for part in ["html", "txt"] {
                let path = format!("mail/{}.{part}", mail.name());
                assert!(wanted.insert(path.clone()), "{path} twice");
            }
        }
        let present = files::builtin()
            .templates
            .into_iter()
            .map(|file| file.path)
            .collect();
        assert_eq!(wanted, present);
    }

    #[test]
    fn the_serialised_form_carries_the_same_name() {
        for mail in Mail::samples() {
            let json = serde_json::to_value(&mail).unwrap();
            assert_eq!(json["mail"], mail.name());
        }
    }

    #[test]
    fn debug_output_hides_the_link_and_the_user() {
        for mail in Mail::samples() {
            assert_eq!(format!("{mail:?}"), format!("Mail({})", mail.name()));
        }
    }
}
