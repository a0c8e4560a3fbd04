-- Children first. Indexes and triggers go with their tables.
drop table auth.credit_entries;
drop table auth.credit_accounts;
drop function auth.forget_descriptions();
drop function auth.refuse_change_of_ledger();
