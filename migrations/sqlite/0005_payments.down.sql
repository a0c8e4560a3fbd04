-- Indexes go with their tables.
drop table auth_subscriptions;
drop table auth_payments;
drop table auth_purchases;
drop table auth_payment_accounts;
drop table auth_payment_events;
