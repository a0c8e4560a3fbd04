create index auth_outbox_dead on auth_outbox (created_at) where due_at is null;
