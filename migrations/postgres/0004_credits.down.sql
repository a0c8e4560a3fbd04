-- Children first. Indexes and triggers go with their tables.
drop table auth.credit_entries;
drop table auth.credit_accounts;
drop function auth.forget_descriptions();
drop function auth.refuse_change_of_ledger();
drop domain auth.credit_entry_kind;
drop domain auth.credit_entry_number;
drop domain auth.credit_change;
drop domain auth.credits;
