drop index auth_outbox_dead;
