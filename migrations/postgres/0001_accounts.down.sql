-- Children first. Indexes and triggers go with their tables.
drop table auth.audit_log;
drop function auth.refuse_change_of_audit_log();
drop table auth.outbox;
drop table auth.mailed_tokens;
drop table auth.refresh_tokens;
drop table auth.sessions;
drop table auth.users;
