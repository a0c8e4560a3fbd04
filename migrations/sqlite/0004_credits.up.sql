-- Amounts are hundredths of a credit.

-- One row per user who ever had credits: the balance that the entries of the user sum up to. Nobody deletes rows: when the account goes, its foreign key
-- empties "owner", and what is not owned does not move.
create table auth_credit_accounts (
    user_id    blob not null primary key check (length(user_id) = 16),
    owner      blob references auth_users (id) on delete set null check (owner = user_id),
    balance    integer not null check (balance >= 0),
    entries    integer not null check (entries >= 1), -- how many there are, and the number of the last one
    updated_at integer not null
) strict, without rowid;

create index auth_credit_accounts_owner on auth_credit_accounts (owner);

-- Every change of a balance, for ever, with who asked for it. Nobody changes or deletes rows; only the description, which may name a person, is emptied
-- when the account goes. No foreign key: the statement that writes an entry has just moved the balance, and a check of each would only cost.
create table auth_credit_entries (
    user_id         blob not null check (length(user_id) = 16),
    number          integer not null check (number >= 1),
    id              blob not null check (length(id) = 16), -- the program's; nothing is looked up by it
    kind            text not null check (kind in (
        'adjustment', 'credit_added', 'credit_used', 'one_time_purchase', 'plan_purchase', 'plan_renewal', 'plan_upgrade', 'refund'
    )),
    change          integer not null check (change <> 0),
    new_balance     integer not null check (new_balance >= 0 and new_balance - change >= 0),
    reference       text,
    description     text,
    caller          text not null,
    idempotency_key text,
    request_id      text,
    created_at      integer not null,
    primary key (user_id, number)
) strict, without rowid;

create unique index auth_credit_entries_key on auth_credit_entries (caller, idempotency_key) where idempotency_key is not null;
create unique index auth_credit_entries_reference on auth_credit_entries (user_id, kind, reference) where reference is not null;
create index auth_credit_entries_kind on auth_credit_entries (user_id, kind, number);

create trigger auth_credit_entries_no_delete before delete on auth_credit_entries
begin
    select raise(abort, 'the ledger is append-only');
end;

-- "insert or replace" deletes what is in its way, and fires no trigger for that.
create trigger auth_credit_entries_no_replace before insert on auth_credit_entries
    when exists (select 1 from auth_credit_entries where user_id = new.user_id and number >= new.number)
        or exists (select 1 from auth_credit_entries where caller = new.caller and idempotency_key = new.idempotency_key)
        or exists (select 1 from auth_credit_entries where user_id = new.user_id and kind = new.kind and reference = new.reference)
begin
    select raise(abort, 'the ledger is append-only');
end;

create trigger auth_credit_entries_no_update before update on auth_credit_entries
    when new.description is not null
        or (new.user_id, new.number, new.id, new.kind, new.change, new.new_balance, new.reference, new.caller, new.idempotency_key, new.request_id, new.created_at)
            is not
            (old.user_id, old.number, old.id, old.kind, old.change, old.new_balance, old.reference, old.caller, old.idempotency_key, old.request_id, old.created_at)
begin
    select raise(abort, 'the ledger is append-only');
end;

create trigger auth_credit_accounts_no_delete before delete on auth_credit_accounts
begin
    select raise(abort, 'the ledger is append-only');
end;

create trigger auth_credit_accounts_orphaned after update of owner on auth_credit_accounts
    when old.owner is not null and new.owner is null
begin
    update auth_credit_entries set description = null where user_id = new.user_id and description is not null;
end;
