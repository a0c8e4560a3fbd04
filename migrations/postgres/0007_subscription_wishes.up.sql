-- Which of their subscriptions a user begins next: the number is part of the key that makes two calls at once one to the provider.
alter table auth.payment_accounts add column wish bigint not null default 0 check (wish >= 0);
