-- Ids are UUIDs of 16 bytes, times microseconds since 1970 in UTC, digests SHA-256.
-- The prefix auth_ keeps these tables apart from those of a host in the same file.

-- One row per account. Deleted by its owner, or by the sweep when its address was never proven.
create table auth_users (
    id                  blob not null primary key check (length(id) = 16),
    username            text not null,
    username_key        text not null, -- folded by the program: `collate nocase` knows ASCII only
    email               text not null,
    email_key           text not null,
    is_verified         integer not null check (is_verified in (0, 1)),
    is_admin            integer not null check (is_admin in (0, 1)),
    is_disabled         integer not null check (is_disabled in (0, 1)),
    password_hash       text,
    credentials_version integer not null check (credentials_version >= 1),
    locale              text not null,
    created_at          integer not null,
    updated_at          integer not null
) strict, without rowid;

create unique index auth_users_username on auth_users (username_key);
create unique index auth_users_email on auth_users (email_key);
create index auth_users_unverified on auth_users (created_at) where is_verified = 0;

-- One row per live session: ending one deletes it. The sweep deletes expired rows; the rest go with the account.
create table auth_sessions (
    id           blob not null primary key check (length(id) = 16),
    user_id      blob not null references auth_users (id) on delete cascade,
    created_at   integer not null,
    last_used_at integer not null,
    expires_at   integer not null,
    ends_at      integer not null,
    ip           text,
    user_agent   text,
    check (expires_at <= ends_at)
) strict, without rowid;

create index auth_sessions_user on auth_sessions (user_id, created_at);
create index auth_sessions_expiry on auth_sessions (expires_at);

-- Every refresh token that a session ever had, so that a replay of an old one is seen. Rows go with the session.
create table auth_refresh_tokens (
    digest        blob not null primary key check (length(digest) = 32),
    session_id    blob not null references auth_sessions (id) on delete cascade,
    parent        blob check (length(parent) = 32), -- the digest that this one replaced, in the same session
    first_used_at integer,                          -- when the first replacement was issued for it
    is_retired    integer not null default 0 check (is_retired in (0, 1)),
    check (is_retired = 0 or first_used_at is not null)
) strict, without rowid;

create index auth_refresh_tokens_session on auth_refresh_tokens (session_id);

-- Tokens that were sent by mail. Used and killed ones stay for the throttle; the sweep deletes expired ones of more than an hour, the rest go with
-- the account.
create table auth_mailed_tokens (
    digest     blob not null primary key check (length(digest) = 32),
    user_id    blob not null references auth_users (id) on delete cascade,
    purpose    text not null,
    email      text not null,
    email_key  text not null,
    state      text not null default 'open' check (state in ('open', 'used', 'killed')),
    created_at integer not null,
    expires_at integer not null
) strict, without rowid;

create index auth_mailed_tokens_user on auth_mailed_tokens (user_id, purpose, created_at);
create index auth_mailed_tokens_expiry on auth_mailed_tokens (expires_at);

-- Mails to send. A sent one is deleted by the worker; a dead letter (no due_at) stays until somebody looks. Mails of an account go with it.
create table auth_outbox (
    id           blob not null primary key check (length(id) = 16),
    user_id      blob references auth_users (id) on delete cascade,
    recipient    text not null,
    locale       text not null,
    letter       text not null check (json_valid(letter)),
    attempts     integer not null default 0 check (attempts >= 0),
    first_try_at integer,
    due_at       integer, -- while a worker holds the mail: when it is due if that one dies
    lease        integer, -- until when a worker holds the mail
    last_error   text,
    created_at   integer not null, -- the date of the cause, which mails tell
    queued_at    integer not null,
    check (lease is null or due_at is not null)
) strict, without rowid;

create index auth_outbox_user on auth_outbox (user_id);
create index auth_outbox_due on auth_outbox (due_at, id, queued_at);

-- What happened, for ever: entries outlive their accounts, so nothing is referenced. Nobody deletes rows; retention is the operator's decision,
-- who drops the trigger first.
create table auth_audit_log (
    id         blob not null primary key check (length(id) = 16),
    at         integer not null,
    event      text not null,
    user_id    blob check (length(user_id) = 16),
    session_id blob check (length(session_id) = 16),
    ip         text,
    user_agent text,
    request_id text
) strict, without rowid;

create index auth_audit_log_user on auth_audit_log (user_id, at);

create trigger auth_audit_log_no_update before update on auth_audit_log
begin
    select raise(abort, 'the audit log is append-only');
end;

create trigger auth_audit_log_no_delete before delete on auth_audit_log
begin
    select raise(abort, 'the audit log is append-only');
end;
