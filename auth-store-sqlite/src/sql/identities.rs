use auth_core::{
    ports::{Ended, Linked, Unlinked},
    types::{
        Adoption, CredentialsVersion, Digest, IdentityLink, NewIdentity, ProviderName, Record,
        SessionId, UserId,
    },
};
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};
use time::OffsetDateTime;

use super::{append, micros, sessions, tokens, users};

/// Gives an identity to an account. What another account has is an error, which takes everything back.
pub(crate) async fn link(
    connection: &mut SqliteConnection,
    link: &IdentityLink,
    record: &Record,
) -> sqlx::Result<Linked> {
    let (user, identity) = (link.user, &link.identity);
    match standing(connection, link).await? {
        Standing::Linked => {
            let user = users::by_id(connection, user).await?;
            return Ok(Linked::Already(Box::new(user)));
        }
        Standing::Stale => return Ok(Linked::Stale),
        Standing::Fit => {}
    }
    if link.adoption == Adoption::Claim {
        users::claim(connection, user).await?;
        delete_all(connection, user).await?;
        tokens::kill_all(connection, user).await?;
        sessions::delete(connection, user, Ended::All, identity.linked_at).await?;
    }
    insert(connection, user, identity).await?;
    append(connection, record).await?;
    let user = users::move_on(connection, user, identity.linked_at).await?;
    Ok(Linked::Done(Box::new(user)))
}

/// Takes an identity from an account, unless it is the last way in.
pub(crate) async fn unlink(
    connection: &mut SqliteConnection,
    user: UserId,
    seen: CredentialsVersion,
    session: SessionId,
    provider: &ProviderName,
    now: OffsetDateTime,
    record: &Record,
) -> sqlx::Result<Unlinked> {
    let row = sqlx::query(
        "select exists (select 1 from auth_identities where user_id = ?1 and provider = ?2) as is_linked,
                password_hash is null
                    and not exists (select 1 from auth_identities where user_id = ?1 and provider <> ?2) as is_last,
                credentials_version <> ?3
                    or not exists (select 1 from auth_sessions where id = ?4 and user_id = ?1 and expires_at > ?5) as is_stale
         from auth_users where id = ?1",
    )
    .bind(user.as_uuid())
    .bind(provider.as_str())
    .bind(seen.as_i64())
    .bind(session.as_uuid())
    .bind(micros(now))
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
    tokens::kill_all(connection, user).await?;
    sessions::delete(connection, user, Ended::AllBut(session), now).await?;
    append(connection, record).await?;
    let user = users::move_on(connection, user, now).await?;
    Ok(Unlinked::Done(Box::new(user)))
}

/// `false` when it was spent before.
pub(crate) async fn spend(
    connection: &mut SqliteConnection,
    digest: &Digest,
    expires_at: OffsetDateTime,
) -> sqlx::Result<bool> {
    let done = sqlx::query(
        "insert into auth_spent_secrets (digest, expires_at) values (?1, ?2) on conflict do nothing",
    )
    .bind(digest.as_bytes().as_slice())
    .bind(micros(expires_at))
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

async fn standing(
    connection: &mut SqliteConnection,
    link: &IdentityLink,
) -> sqlx::Result<Standing> {
    let key = &link.identity.key;
    let row = sqlx::query(
        "select exists (select 1 from auth_identities where user_id = ?1 and issuer = ?2 and subject = ?3) as is_linked,
                credentials_version = ?4 and is_disabled = 0 and is_verified = ?5
                    and (?6 is null or exists (select 1 from auth_sessions where id = ?6 and user_id = ?1 and expires_at > ?7)) as is_fit
         from auth_users where id = ?1",
    )
    .bind(link.user.as_uuid())
    .bind(key.issuer())
    .bind(key.subject())
    .bind(link.seen.as_i64())
    .bind(link.adoption == Adoption::Join)
    .bind(link.session.map(|id| id.as_uuid()))
    .bind(micros(link.identity.linked_at))
    .fetch_optional(connection)
    .await?;
    Ok(match row {
        Some(row) if row.try_get("is_linked")? => Standing::Linked,
        Some(row) if row.try_get("is_fit")? => Standing::Fit,
        _ => Standing::Stale,
    })
}

pub(super) async fn insert(
    connection: &mut SqliteConnection,
    user: UserId,
    identity: &NewIdentity,
) -> sqlx::Result<()> {
    sqlx::query(
        "insert into auth_identities (user_id, provider, issuer, subject, linked_at) values (?1, ?2, ?3, ?4, ?5)",
    )
    .bind(user.as_uuid())
    .bind(identity.provider.as_str())
    .bind(identity.key.issuer())
    .bind(identity.key.subject())
    .bind(micros(identity.linked_at))
    .execute(connection)
    .await?;
    Ok(())
}

async fn delete(
    connection: &mut SqliteConnection,
    user: UserId,
    provider: &ProviderName,
) -> sqlx::Result<()> {
    sqlx::query("delete from auth_identities where user_id = ?1 and provider = ?2")
        .bind(user.as_uuid())
        .bind(provider.as_str())
        .execute(connection)
        .await?;
    Ok(())
}

async fn delete_all(connection: &mut SqliteConnection, user: UserId) -> sqlx::Result<()> {
    sqlx::query("delete from auth_identities where user_id = ?1")
        .bind(user.as_uuid())
        .execute(connection)
        .await?;
    Ok(())
}

/// Those of an account whose address was never proven.
pub(super) async fn delete_unproven(
    connection: &mut SqliteConnection,
    user: UserId,
) -> sqlx::Result<()> {
    sqlx::query(
        "delete from auth_identities where user_id = (select id from auth_users where id = ?1 and is_verified = 0)",
    )
    .bind(user.as_uuid())
    .execute(connection)
    .await?;
    Ok(())
}

/// At most `limit` of them.
pub(crate) async fn delete_expired(
    connection: &mut SqliteConnection,
    now: OffsetDateTime,
    limit: u32,
) -> sqlx::Result<u64> {
    let done = sqlx::query(
        "delete from auth_spent_secrets
         where digest in (select digest from auth_spent_secrets where expires_at <= ?1 limit ?2)",
    )
    .bind(micros(now))
    .bind(limit)
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

/// The names of a row's `providers`, which SQLite has no arrays for: names have no comma.
pub(super) fn providers(row: &SqliteRow) -> sqlx::Result<Vec<ProviderName>> {
    let joined: Option<String> = row.try_get("providers")?;
    let mut providers = joined
        .iter()
        .flat_map(|names| names.split(','))
        .map(ProviderName::from_stored)
        .collect::<Vec<_>>();
    providers.sort();
    Ok(providers)
}
