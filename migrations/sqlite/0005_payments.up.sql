-- What the payment provider told us. Nobody deletes rows: like the ledger that they move, they outlive the accounts of their users, and name nobody but
-- by an id. No foreign keys for that reason.

-- Every event that was delivered, once, with what became of it. Its id is what makes a second delivery have no effect.
create table auth_payment_events (
    id          text not null primary key,
    kind        text not null,
    outcome     text not null,
    created_at  integer not null, -- by the provider's clock
    received_at integer not null
) strict, without rowid;

-- For operators: what had no effect and should have had one.
create index auth_payment_events_alarming on auth_payment_events (received_at) where outcome not in ('applied', 'ignored');

-- Who is which customer, and what users owe out of payments that were given back after their credits were used, in hundredths of a credit.
create table auth_payment_accounts (
    user_id  blob not null primary key check (length(user_id) = 16),
    customer text,
    debt     integer not null default 0 check (debt >= 0)
) strict, without rowid;

create unique index auth_payment_accounts_customer on auth_payment_accounts (customer) where customer is not null;

-- What was paid and granted: a checkout session or an invoice. Hundredths of a credit.
create table auth_purchases (
    id         text not null primary key,
    user_id    blob not null check (length(user_id) = 16),
    kind       text not null,
    item       text not null, -- the name in the catalogue
    granted    integer not null check (granted > 0),
    taken      integer not null check (taken between 0 and granted), -- given back since, out of the balance or as debt
    created_at integer not null
) strict, without rowid;

create index auth_purchases_created_at on auth_purchases (created_at, id);

-- What refunds and disputes say of a payment, whether or not its purchase is known yet.
create table auth_payments (
    id       text not null primary key,
    purchase text,
    amount   integer not null check (amount >= 0), -- of money, in the least unit of its currency; 0 until a refund tells it
    refunded integer not null check (refunded >= 0),
    dispute  integer not null
) strict, without rowid;

create index auth_payments_purchase on auth_payments (purchase) where purchase is not null;

-- Subscriptions as the newest event about each says.
create table auth_subscriptions (
    id         text not null primary key,
    user_id    blob not null check (length(user_id) = 16),
    item       text,
    status     text not null,
    period_end integer,
    cancel_at  integer,
    told_at    integer not null, -- which event said so
    told_rank  integer not null
) strict, without rowid;

create index auth_subscriptions_living on auth_subscriptions (user_id) where status not in ('canceled', 'incomplete_expired');
