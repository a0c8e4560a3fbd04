drop index auth.outbox_dead;
drop trigger outbox_queued on auth.outbox;
drop function auth.tell_of_queued_mail();
