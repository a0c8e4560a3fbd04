drop table auth_spent_secrets;
drop table auth_identities;
