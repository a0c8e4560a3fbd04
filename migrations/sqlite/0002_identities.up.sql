-- What opens an account from outside: one row per identity at a provider, linked by its owner or made with the account. Rows go when they are unlinked,
-- or with the account. The key is issuer and subject; addresses of providers are not kept.
create table auth_identities (
    user_id   blob not null references auth_users (id) on delete cascade,
    provider  text not null, -- its name in paths
    issuer    text not null,
    subject   text not null,
    linked_at integer not null,
    primary key (user_id, provider)
) strict, without rowid;

create unique index auth_identities_issuer_subject on auth_identities (issuer, subject);

-- Secrets that work once and were used: the states and codes of sign-ins, ID tokens. The sweep deletes rows whose secret has expired.
create table auth_spent_secrets (
    digest     blob not null primary key check (length(digest) = 32),
    expires_at integer not null
) strict, without rowid;

create index auth_spent_secrets_expiry on auth_spent_secrets (expires_at);
