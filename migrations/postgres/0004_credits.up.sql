-- Amounts are hundredths of a credit.

-- Rules of single values are those of their types. Postgres reads a table's checks anew for every statement that writes to it, which would cost a quarter
-- of the time of an entry, and a type's once for a session.
create domain auth.credits as bigint check (value >= 0);
create domain auth.credit_change as bigint check (value <> 0);
create domain auth.credit_entry_number as bigint check (value >= 1);
create domain auth.credit_entry_kind as text collate "C" check (value in (
    'adjustment', 'credit_added', 'credit_used', 'one_time_purchase', 'plan_purchase', 'plan_renewal', 'plan_upgrade', 'refund'
));

-- One row per user who ever had credits: the balance that the entries of the user sum up to. Nobody deletes rows: when the account goes, its foreign key
-- empties "owner", and what is not owned does not move.
create table auth.credit_accounts (
    user_id    uuid primary key,
    owner      uuid constraint credit_accounts_owner_fkey references auth.users (id) on delete set null,
    balance    auth.credits not null,
    entries    auth.credit_entry_number not null, -- how many there are, and the number of the last one
    updated_at timestamptz not null,
    check (owner = user_id)
) with (fillfactor = 50); -- room for new versions beside the old ones: a busy balance never touches an index

create index credit_accounts_owner on auth.credit_accounts (owner);

-- Every change of a balance, for ever, with who asked for it. Nobody changes or deletes rows; only the description, which may name a person, is emptied
-- when the account goes. No foreign key: the statement that writes an entry has just moved the balance, and a check of each would only cost.
create table auth.credit_entries (
    user_id         uuid not null,
    number          auth.credit_entry_number not null,
    id              uuid not null, -- the program's; nothing is looked up by it
    kind            auth.credit_entry_kind not null,
    change          auth.credit_change not null,
    new_balance     auth.credits not null,
    reference       text collate "C",
    description     text,
    caller          text collate "C" not null,
    idempotency_key text collate "C",
    request_id      text,
    created_at      timestamptz not null,
    primary key (user_id, number)
);

create unique index credit_entries_key on auth.credit_entries (caller, idempotency_key) where idempotency_key is not null;
create unique index credit_entries_reference on auth.credit_entries (user_id, kind, reference) where reference is not null;
-- Nearly all entries are uses: the primary key finds those, past whatever else there is, and in an index of theirs each would have to be written.
create index credit_entries_kind on auth.credit_entries (user_id, kind, number) where kind <> 'credit_used';

create function auth.refuse_change_of_ledger() returns trigger language plpgsql as $$
begin
    raise exception 'the ledger is append-only';
end
$$;

create trigger credit_entries_append_only before delete or truncate on auth.credit_entries
    for each statement execute function auth.refuse_change_of_ledger();

create trigger credit_entries_unchanged before update on auth.credit_entries for each row
    when (
        new.description is not null
        or (new.user_id, new.number, new.id, new.kind, new.change, new.new_balance, new.reference, new.caller, new.idempotency_key, new.request_id, new.created_at)
            is distinct from
            (old.user_id, old.number, old.id, old.kind, old.change, old.new_balance, old.reference, old.caller, old.idempotency_key, old.request_id, old.created_at)
    )
    execute function auth.refuse_change_of_ledger();

create trigger credit_accounts_kept before delete or truncate on auth.credit_accounts
    for each statement execute function auth.refuse_change_of_ledger();

create function auth.forget_descriptions() returns trigger language plpgsql as $$
begin
    update auth.credit_entries set description = null where user_id = new.user_id and description is not null;
    return null;
end
$$;

create trigger credit_accounts_orphaned after update of owner on auth.credit_accounts for each row
    when (old.owner is not null and new.owner is null) execute function auth.forget_descriptions();
