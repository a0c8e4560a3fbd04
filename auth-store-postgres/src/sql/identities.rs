use auth_core::{
    ports::{Linked, Unlinked},
    types::{
        Adoption, CredentialsVersion, Digest, IdentityLink, NewIdentity, ProviderName, Record,
        SessionId, UserId,
    },
};
use sqlx::{PgConnection, Row, postgres::PgRow};
use time::OffsetDateTime;

use super::{
    append_about, bytes, sessions,
    users::{self, Claimed},
};

/// Gives an identity to an account. What another account has is an error, which takes everything back.
pub(crate) async fn link(
    connection: &mut PgConnection,
    link: &IdentityLink,
    record: &Record,
) -> sqlx::Result<Linked> {
    let (user, identity) = (link.user, &link.identity);
    users::lock(connection, user).await?;
    if let Some(session) = link.session {
        sessions::lock(connection, session).await?;
    }
    match standing(connection, link).await? {
        Standing::Linked => {
            let user = users::by_id(connection, user).await?;
            return Ok(Linked::Already(Box::new(user)));
        }
        Standing::Stale => return Ok(Linked::Stale),
        Standing::Fit => {}
    }
    let claimed = match link.adoption {
        Adoption::Claim => {
            delete_all(connection, user).await?;
            sessions::shut(connection, user, None, None, record).await?;
            Claimed::Yes
        }
        Adoption::Join => {
            append_about(connection, Some(user), record).await?;
            Claimed::No
        }
    };
    insert(connection, user, identity).await?;
    let user = users::move_on(connection, user, claimed, identity.linked_at).await?;
    Ok(Linked::Done(Box::new(user)))
}

/// Takes an identity from an account, unless it is the last way in.
pub(crate) async fn unlink(
    connection: &mut PgConnection,
    user: UserId,
    seen: CredentialsVersion,
    session: SessionId,
    provider: &ProviderName,
    now: OffsetDateTime,
    record: &Record,
) -> sqlx::Result<Unlinked> {
    // Then what is left, asked by a statement of its own, is what others left before they let go of the user.
    users::lock(connection, user).await?;
    sessions::lock(connection, session).await?;
    let row = sqlx::query(
        "select exists (select from auth.identities i where i.user_id = u.id and i.provider = $2) as is_linked,
                u.password_hash is null
                    and not exists (select from auth.identities i where i.user_id = u.id and i.provider <> $2) as is_last,
                u.credentials_version <> $3
                    or not exists (select from auth.sessions s where s.id = $4 and s.user_id = u.id and s.expires_at > $5) as is_stale
         from auth.users u where u.id = $1",
    )
    .bind(user.as_uuid())
    .bind(provider.as_str())
    .bind(seen.as_i64())
    .bind(session.as_uuid())
    .bind(now)
    .fetch_optional(&mut *connection)
    .await?;
    let Some(row) = row else {
        return Ok(Unlinked::Stale);
    };
    if !row.try_get::<bool, _>("is_linked")? {
        return Ok(Unlinked::NotLinked);
    }
    if row.try_get("is_last")? {
        return Ok(Unlinked::LastMethod);
    }
    if row.try_get("is_stale")? {
        return Ok(Unlinked::Stale);
    }
    delete(connection, user, provider).await?;
    sessions::shut(connection, user, None, Some(session), record).await?;
    let user = users::move_on(connection, user, Claimed::No, now).await?;
    Ok(Unlinked::Done(Box::new(user)))
}

/// `false` when it was spent before.
pub(crate) async fn spend(
    connection: &mut PgConnection,
    digest: &Digest,
    expires_at: OffsetDateTime,
) -> sqlx::Result<bool> {
    let done = sqlx::query(
        "insert into auth.spent_secrets (digest, expires_at) values ($1, $2) on conflict do nothing",
    )
    .bind(bytes(digest))
    .bind(expires_at)
    .execute(connection)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// How an account stands to an identity that it may get.
enum Standing {
    Fit,
    Linked,
    Stale,
}

async fn standing(connection: &mut PgConnection, link: &IdentityLink) -> sqlx::Result<Standing> {
    let key = &link.identity.key;
    let row = sqlx::query(
        "select exists (
                    select from auth.identities i where i.user_id = u.id and i.issuer = $2 and i.subject = $3
                ) as is_linked,
                u.credentials_version = $4 and not u.is_disabled and u.is_verified = $5
                    and ($6 is null or exists (select from auth.sessions s where s.id = $6 and s.user_id = u.id and s.expires_at > $7)) as is_fit
         from auth.users u where u.id = $1",
    )
    .bind(link.user.as_uuid())
    .bind(key.issuer())
    .bind(key.subject())
    .bind(link.seen.as_i64())
    .bind(link.adoption == Adoption::Join)
    .bind(link.session.map(|id| id.as_uuid()))
    .bind(link.identity.linked_at)
    .fetch_optional(connection)
    .await?;
    Ok(match row {
        Some(row) if row.try_get("is_linked")? => Standing::Linked,
        Some(row) if row.try_get("is_fit")? => Standing::Fit,
        _ => Standing::Stale,
    })
}

async fn insert(
    connection: &mut PgConnection,
    user: UserId,
    identity: &NewIdentity,
) -> sqlx::Result<()> {
    sqlx::query(
        "insert into auth.identities (user_id, provider, issuer, subject, linked_at) values ($1, $2, $3, $4, $5)",
    )
    .bind(user.as_uuid())
    .bind(identity.provider.as_str())
    .bind(identity.key.issuer())
    .bind(identity.key.subject())
    .bind(identity.linked_at)
    .execute(connection)
    .await?;
    Ok(())
}

async fn delete(
    connection: &mut PgConnection,
    user: UserId,
    provider: &ProviderName,
) -> sqlx::Result<()> {
    sqlx::query("delete from auth.identities where user_id = $1 and provider = $2")
        .bind(user.as_uuid())
        .bind(provider.as_str())
        .execute(connection)
        .await?;
    Ok(())
}

pub(super) async fn delete_all(connection: &mut PgConnection, user: UserId) -> sqlx::Result<()> {
    sqlx::query("delete from auth.identities where user_id = $1")
        .bind(user.as_uuid())
        .execute(connection)
        .await?;
    Ok(())
}

/// At most `limit` of them. What somebody works on just now is left to the next sweep, so that sweeps wait for nobody.
pub(crate) async fn delete_expired(
    connection: &mut PgConnection,
    now: OffsetDateTime,
    limit: u32,
) -> sqlx::Result<u64> {
    let done = sqlx::query(
        "delete from auth.spent_secrets
         where digest in (select digest from auth.spent_secrets where expires_at <= $1 order by expires_at limit $2 for update skip locked)",
    )
    .bind(now)
    .bind(i64::from(limit))
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

/// The names of a row's `providers`.
pub(super) fn providers(row: &PgRow) -> sqlx::Result<Vec<ProviderName>> {
    let names: Vec<String> = row.try_get("providers")?;
    Ok(names.into_iter().map(ProviderName::from_stored).collect())
}
