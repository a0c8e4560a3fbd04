-- What the statements of the payment provider are weighed by.

-- The price of a purchase, of which its payments are parts, and the period of a subscription that it paid, which grants no more in all than its dearest
-- plan does: all of it, or nothing.
alter table auth_purchases add column total integer not null default 0 check (total >= 0); -- of money, in the least unit of its currency; 0 when nobody told
alter table auth_purchases add column subscription text;
alter table auth_purchases add column term_start integer;
alter table auth_purchases add column term_end integer;
alter table auth_purchases add column worth integer check (worth > 0); -- what the plan grants for a whole period, in hundredths of a credit

create index auth_purchases_term_end on auth_purchases (subscription, term_end) where subscription is not null;

-- Disputes, of which a payment may have several.
create table auth_disputes (
    id      text not null primary key,
    payment text not null,
    state   integer not null
) strict, without rowid;

create index auth_disputes_payment on auth_disputes (payment);

-- Which dispute it was is not known any more. One that is lost tells nothing again; the others do.
insert into auth_disputes (id, payment, state) select id, id, dispute from auth_payments where dispute = 3;

alter table auth_payments drop column dispute;

-- What a refund or a dispute is about: the event has had its effect once the purchase of that payment is known.
alter table auth_payment_events add column payment text;

create index auth_payment_events_waiting on auth_payment_events (payment) where outcome = 'unknown_payment';

-- For operators.
create index auth_payment_accounts_debt on auth_payment_accounts (debt) where debt > 0;
