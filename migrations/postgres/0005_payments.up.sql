-- What the payment provider told us. Nobody deletes rows: like the ledger that they move, they outlive the accounts of their users, and name nobody but
-- by an id. No foreign keys for that reason.

-- Every event that was delivered, once, with what became of it. Its id is what makes a second delivery have no effect. Events take turns by a lock on
-- this table.
create table auth.payment_events (
    id          text collate "C" primary key,
    kind        text not null,
    outcome     text collate "C" not null,
    created_at  timestamptz not null, -- by the provider's clock
    received_at timestamptz not null
);

-- For operators: what had no effect and should have had one.
create index payment_events_alarming on auth.payment_events (received_at) where outcome not in ('applied', 'ignored');

-- Who is which customer, and what users owe out of payments that were given back after their credits were used, in hundredths of a credit.
create table auth.payment_accounts (
    user_id  uuid primary key,
    customer text collate "C",
    debt     bigint not null default 0 check (debt >= 0)
);

create unique index payment_accounts_customer on auth.payment_accounts (customer) where customer is not null;

-- What was paid and granted: a checkout session or an invoice. Hundredths of a credit.
create table auth.purchases (
    id         text collate "C" primary key,
    user_id    uuid not null,
    kind       text collate "C" not null,
    item       text not null, -- the name in the catalogue
    granted    bigint not null check (granted > 0),
    taken      bigint not null check (taken between 0 and granted), -- given back since, out of the balance or as debt
    created_at timestamptz not null
);

create index purchases_created_at on auth.purchases (created_at, id);

-- What refunds and disputes say of a payment, whether or not its purchase is known yet.
create table auth.payments (
    id       text collate "C" primary key,
    purchase text collate "C",
    amount   bigint not null check (amount >= 0), -- of money, in the least unit of its currency; 0 until a refund tells it
    refunded bigint not null check (refunded >= 0),
    dispute  smallint not null
);

create index payments_purchase on auth.payments (purchase) where purchase is not null;

-- Subscriptions as the newest event about each says.
create table auth.subscriptions (
    id         text collate "C" primary key,
    user_id    uuid not null,
    item       text,
    status     text collate "C" not null,
    period_end timestamptz,
    cancel_at  timestamptz,
    told_at    timestamptz not null, -- which event said so
    told_rank  smallint not null
);

create index subscriptions_living on auth.subscriptions (user_id) where status not in ('canceled', 'incomplete_expired');
