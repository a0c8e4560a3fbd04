drop table auth.spent_secrets;
drop table auth.identities;
