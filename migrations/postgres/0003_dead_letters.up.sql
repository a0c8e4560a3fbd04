-- Workers of all processes are told of a mail when it is committed, whoever committed it. Listeners name the channel; what is said has no content.
-- Postgres lets transactions that tell something commit one after the other: these are the ones that queue a mail, and no others.
create function auth.tell_of_queued_mail() returns trigger language plpgsql as $$
begin
    perform pg_notify('auth_outbox', '');
    return null;
end
$$;

-- A dead letter that is queued anew gets another queued_at, which nothing else changes.
create trigger outbox_queued after insert or update of queued_at on auth.outbox
    for each row execute function auth.tell_of_queued_mail();

create index outbox_dead on auth.outbox (created_at, id) where due_at is null;
