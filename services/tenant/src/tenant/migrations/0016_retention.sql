-- target: management
-- Operations that have ended leave after a while, and servers that are not needed any more.
CREATE INDEX operations_ended ON operations (ended_at) WHERE state IN ('done', 'cancelled');

-- The RPC that began them, which no command called, is gone.
DELETE FROM operations WHERE kind = 'verify_bundle';

DO $$
BEGIN
    EXECUTE format('GRANT DELETE ON db_servers TO %I', current_database() || '_tenant');
END
$$;
