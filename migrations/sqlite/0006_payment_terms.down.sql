drop index auth_payment_accounts_debt;

drop index auth_payment_events_waiting;
alter table auth_payment_events drop column payment;

alter table auth_payments add column dispute integer not null default 0;
update auth_payments set dispute = coalesce((select max(state) from auth_disputes d where d.payment = auth_payments.id), 0);
drop table auth_disputes;

drop index auth_purchases_term_end;
alter table auth_purchases drop column total;
alter table auth_purchases drop column subscription;
alter table auth_purchases drop column term_start;
alter table auth_purchases drop column term_end;
alter table auth_purchases drop column worth;
