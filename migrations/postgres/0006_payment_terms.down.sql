drop index auth.payment_accounts_debt;

-- Its index goes with it.
alter table auth.payment_events drop column payment;

alter table auth.payments add column dispute smallint not null default 0;
update auth.payments p set dispute = d.state from (select payment, max(state) as state from auth.disputes group by payment) d where d.payment = p.id;
alter table auth.payments alter column dispute drop default;
drop table auth.disputes;

-- So do its index and its constraint.
alter table auth.purchases
    drop column total,
    drop column subscription,
    drop column term_start,
    drop column term_end,
    drop column worth;
