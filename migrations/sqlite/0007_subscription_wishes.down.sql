alter table auth_payment_accounts drop column wish;
