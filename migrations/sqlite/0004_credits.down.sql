-- Children first. Indexes and triggers go with their tables.
drop table auth_credit_entries;
drop table auth_credit_accounts;
