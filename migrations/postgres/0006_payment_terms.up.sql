-- What the statements of the payment provider are weighed by. (Events take turns by an advisory lock by now, not by one on their table.)

-- The price of a purchase, of which its payments are parts, and the period of a subscription that it paid, which grants no more in all than its dearest
-- plan does.
alter table auth.purchases
    add column total        bigint not null default 0 check (total >= 0), -- of money, in the least unit of its currency; 0 when nobody told
    add column subscription text collate "C",
    add column term_start   timestamptz,
    add column term_end     timestamptz,
    add column worth        bigint check (worth > 0), -- what the plan grants for a whole period, in hundredths of a credit
    add constraint purchases_term check (num_nulls(subscription, term_start, term_end, worth) in (0, 4));

create index purchases_term_end on auth.purchases (subscription, term_end) where subscription is not null;

-- Disputes, of which a payment may have several.
create table auth.disputes (
    id      text collate "C" primary key,
    payment text collate "C" not null,
    state   smallint not null
);

create index disputes_payment on auth.disputes (payment);

-- Which dispute it was is not known any more. One that is lost tells nothing again; the others do.
insert into auth.disputes (id, payment, state) select id, id, dispute from auth.payments where dispute = 3;

alter table auth.payments drop column dispute;

-- What a refund or a dispute is about: the event has had its effect once the purchase of that payment is known.
alter table auth.payment_events add column payment text collate "C";

create index payment_events_waiting on auth.payment_events (payment) where outcome = 'unknown_payment';

-- For operators.
create index payment_accounts_debt on auth.payment_accounts (debt) where debt > 0;
