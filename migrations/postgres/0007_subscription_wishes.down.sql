alter table auth.payment_accounts drop column wish;
