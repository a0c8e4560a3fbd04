use time::Duration;

use crate::{
    auth::Auth,
    error::Error,
    ports::{Authenticated, Begun, EmailChange, Redeemed, StoreError},
    types::{
        AuditEvent, Change, Client, Digest, Email, Invalid, Letter, PasswordAttempt, Purpose,
        Secret, Throttle,
    },
};

/// Both mailboxes are written to, and the new one may be anybody's.
const THROTTLE: Throttle = Throttle {
    gap: Duration::MINUTE,
    hourly: 5,
};

/// Another address.
#[derive(Debug, Clone)]
pub struct ChangeEmail {
    /// Takes effect when the link that is sent to it is opened.
    pub new_email: Email,
    /// Proves the owner (ASVS 7.5.1).
    pub current: PasswordAttempt,
}

impl Auth {
    /// Mails a link to the new address, which completes the change ([`Auth::verify_email`]), and a notice with a cancel link to the old one:
    /// at most once within a minute and five times within an hour.
    ///
    /// # Errors
    /// [`Error::CurrentPasswordInvalid`]; [`Error::EmailTaken`]; [`Error::Invalid`] when it is the address already; [`Error::InvalidToken`] when the
    /// session has ended meanwhile; [`Error::Overloaded`]; [`Error::Throttled`]; [`Error::TooManyAttempts`].
    pub async fn request_email_change(
        &self,
        who: &Authenticated,
        cmd: ChangeEmail,
        client: &Client,
    ) -> Result<(), Error> {
        let account = self
            .prove_password(who.user.id, cmd.current, client)
            .await?;
        let user = account.user;
        if user.email == cmd.new_email {
            let reason = Invalid::new("unchanged", "This is the address of the account already.");
            return Err(Error::invalid("new_email", reason));
        }
        let now = self.now();
        let (change, change_token) =
            self.mailed_token(user.id, &cmd.new_email, Purpose::ChangeEmail, now);
        let (cancel, cancel_token) =
            self.mailed_token(user.id, &user.email, Purpose::CancelEmailChange, now);
        let username = user.username.to_string();
        let mut record = self.record(
            AuditEvent::EmailChangeRequested,
            Some(user.id),
            Some(who.session.id),
            client,
            now,
        );
        let mails = [
            self.mail(
                &user,
                &cmd.new_email,
                Letter::EmailChangeVerify {
                    username: username.clone(),
                    token: change_token,
                },
                now,
            ),
            self.mail(
                &user,
                &user.email,
                Letter::EmailChangeNotice {
                    username,
                    new_email: cmd.new_email.to_string(),
                    token: cancel_token,
                },
                now,
            ),
        ];
        record.mails.extend(mails.into_iter().flatten());
        let change = EmailChange {
            user: user.id,
            seen: account.version,
            session: who.session.id,
            change,
            cancel,
            throttle: THROTTLE,
        };
        match self.store.begin_email_change(change, record).await {
            Ok(Begun::Done) => {
                self.shared.mail_queued.notify_one();
                Ok(())
            }
            Ok(Begun::Gone) => Err(Error::InvalidToken),
            Ok(Begun::Throttled(until)) => Err(Error::Throttled(until - now)),
            Err(StoreError::Taken(_)) => Err(Error::EmailTaken),
            Err(error) => Err(error.into()),
        }
    }

    /// Drops the pending address by the token that the old one was sent, and ends every session: somebody else may be in.
    ///
    /// # Errors
    /// [`Error::InvalidToken`], also once the change is complete; [`Error::TokenExpired`].
    pub async fn cancel_email_change(
        &self,
        token: &Secret<String>,
        client: &Client,
    ) -> Result<(), Error> {
        let now = self.now();
        let mailed =
            self.shared
                .keys
                .verify_mailed(token.expose(), &[Purpose::CancelEmailChange], now)?;
        let record = self.record(
            AuditEvent::EmailChangeCancelled,
            Some(mailed.user_id),
            None,
            client,
            now,
        );
        let digest = Digest::of(mailed.jti.expose());
        match self
            .store
            .redeem(
                &digest,
                mailed.user_id,
                Change::CancelEmailChange,
                now,
                record,
            )
            .await?
        {
            Redeemed::Done(_) => Ok(()),
            Redeemed::Expired => Err(Error::TokenExpired),
            Redeemed::Already(_) | Redeemed::Refused => Err(Error::InvalidToken),
        }
    }
}
