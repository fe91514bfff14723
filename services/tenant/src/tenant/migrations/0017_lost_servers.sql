-- target: management
-- A server that is lost for good: nobody waits for it any more.
ALTER TABLE db_servers
    DROP CONSTRAINT db_servers_state_check,
    ADD CONSTRAINT db_servers_state_check CHECK (state IN ('active', 'draining', 'lost'));
