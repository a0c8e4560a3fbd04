-- What opens an account from outside: one row per identity at a provider, linked by its owner or made with the account. Rows go when they are unlinked,
-- or with the account. The key is issuer and subject; addresses of providers are not kept.
create table auth.identities (
    user_id   uuid not null references auth.users (id) on delete cascade,
    provider  text collate "C" not null, -- its name in paths
    issuer    text collate "C" not null,
    subject   text collate "C" not null,
    linked_at timestamptz not null,
    constraint identities_pkey primary key (user_id, provider),
    constraint identities_issuer_subject_key unique (issuer, subject)
);

-- Secrets that work once and were used: the states and codes of sign-ins, ID tokens. The sweep deletes rows whose secret has expired.
create table auth.spent_secrets (
    digest     bytea primary key check (length(digest) = 32),
    expires_at timestamptz not null
);

create index spent_secrets_expiry on auth.spent_secrets (expires_at);
