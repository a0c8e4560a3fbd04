-- Ids are UUIDs, times are UTC, digests are SHA-256.
-- The schema "auth" keeps these tables apart from those of a host in the same database; whoever runs this creates it first.

-- One row per account. Deleted by its owner, or by the sweep when its address was never proven.
create table auth.users (
    id                  uuid primary key,
    username            text not null,
    username_key        text collate "C" not null, -- folded by the program: what lower() makes of a letter depends on the server
    email               text not null,
    email_key           text collate "C" not null,
    is_verified         boolean not null,
    is_admin            boolean not null,
    is_disabled         boolean not null,
    password_hash       text,
    credentials_version bigint not null check (credentials_version >= 1),
    locale              text not null,
    created_at          timestamptz not null,
    updated_at          timestamptz not null,
    constraint users_username_key unique (username_key),
    constraint users_email_key unique (email_key)
);

create index users_unverified on auth.users (created_at) where not is_verified;

-- One row per live session: ending one deletes it. The sweep deletes expired rows; the rest go with the account.
create table auth.sessions (
    id           uuid primary key,
    user_id      uuid not null references auth.users (id) on delete cascade,
    created_at   timestamptz not null,
    last_used_at timestamptz not null,
    expires_at   timestamptz not null,
    ends_at      timestamptz not null,
    ip           text,
    user_agent   text,
    check (expires_at <= ends_at)
);

create index sessions_user on auth.sessions (user_id, created_at);
create index sessions_expiry on auth.sessions (expires_at);

-- Every refresh token that a session ever had, so that a replay of an old one is seen. Rows go with the session.
create table auth.refresh_tokens (
    digest        bytea primary key check (length(digest) = 32),
    session_id    uuid not null references auth.sessions (id) on delete cascade,
    parent        bytea check (length(parent) = 32), -- the digest that this one replaced, in the same session
    first_used_at timestamptz,                       -- when the first replacement was issued for it
    is_retired    boolean not null default false,
    check (not is_retired or first_used_at is not null)
);

create index refresh_tokens_session on auth.refresh_tokens (session_id);

-- Tokens that were sent by mail. Used and killed ones stay for the throttle; the sweep deletes expired ones of more than an hour, the rest go with
-- the account.
create table auth.mailed_tokens (
    digest     bytea primary key check (length(digest) = 32),
    user_id    uuid not null references auth.users (id) on delete cascade,
    purpose    text not null,
    email      text not null,
    email_key  text collate "C" not null,
    state      text not null default 'open' check (state in ('open', 'used', 'killed')),
    created_at timestamptz not null,
    expires_at timestamptz not null
);

create index mailed_tokens_user on auth.mailed_tokens (user_id, purpose, created_at);
create index mailed_tokens_expiry on auth.mailed_tokens (expires_at);

-- Mails to send. A sent one is deleted by the worker; a dead letter (no due_at) stays until somebody looks. Mails of an account go with it.
create table auth.outbox (
    id           uuid primary key,
    user_id      uuid references auth.users (id) on delete cascade,
    recipient    text not null,
    locale       text not null,
    letter       jsonb not null,
    attempts     integer not null default 0 check (attempts >= 0),
    first_try_at timestamptz,
    due_at       timestamptz, -- while a worker holds the mail: when it is due if that one dies
    lease        timestamptz, -- until when a worker holds the mail, by the clock of the database
    last_error   text,
    created_at   timestamptz not null, -- the date of the cause, which mails tell
    queued_at    timestamptz not null,
    check (lease is null or due_at is not null)
);

create index outbox_user on auth.outbox (user_id);
create index outbox_due on auth.outbox (due_at, id) include (queued_at);

-- What happened, for ever: entries outlive their accounts, so nothing is referenced. Nobody deletes rows; retention is the operator's decision,
-- who disables the trigger first.
create table auth.audit_log (
    id         uuid primary key,
    at         timestamptz not null,
    event      text not null,
    user_id    uuid,
    session_id uuid,
    ip         text,
    user_agent text,
    request_id text
);

create index audit_log_user on auth.audit_log (user_id, at);

create function auth.refuse_change_of_audit_log() returns trigger language plpgsql as $$
begin
    raise exception 'the audit log is append-only';
end
$$;

create trigger audit_log_append_only before update or delete or truncate on auth.audit_log
    for each statement execute function auth.refuse_change_of_audit_log();
