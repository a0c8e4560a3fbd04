-- Indexes go with their tables.
drop table auth.subscriptions;
drop table auth.payments;
drop table auth.purchases;
drop table auth.payment_accounts;
drop table auth.payment_events;
