-- Children first. Indexes and triggers go with their tables.
drop table auth_audit_log;
drop table auth_outbox;
drop table auth_mailed_tokens;
drop table auth_refresh_tokens;
drop table auth_sessions;
drop table auth_users;
