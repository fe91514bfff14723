-- target: management
-- Rollouts: published migrations that reach the tenants' databases in waves. Each is an operation,
-- whose state is the rollout's: one that is paused has failed.
CREATE TABLE rollouts (
    id             UUID PRIMARY KEY REFERENCES operations (id),
    targets        JSONB NOT NULL, -- {service: the number of its last file}
    failure_budget INT NOT NULL CHECK (failure_budget >= 0),
    concurrency    INT NOT NULL CHECK (concurrency > 0)
);

-- How far each tenant is. What was applied stands in the tenant's own database: this tells people,
-- and who comes next.
CREATE TABLE rollout_tenants (
    rollout_id UUID NOT NULL REFERENCES rollouts (id),
    tenant_id  TEXT NOT NULL, -- the row may outlive the tenant
    wave       INT NOT NULL CHECK (wave > 0),
    place      INT NOT NULL, -- in the order of migration
    state      TEXT NOT NULL DEFAULT 'pending'
               CHECK (state IN ('pending', 'running', 'done', 'failed', 'skipped')),
    failure    TEXT NOT NULL DEFAULT '',
    begun_at   TIMESTAMPTZ,
    ended_at   TIMESTAMPTZ,
    PRIMARY KEY (rollout_id, tenant_id)
);

CREATE INDEX rollout_tenants_pending ON rollout_tenants (rollout_id, wave, place)
    WHERE state = 'pending';
CREATE INDEX rollout_tenants_failed ON rollout_tenants (rollout_id) WHERE state = 'failed';

DO $$
BEGIN
    EXECUTE format(
        'GRANT SELECT, INSERT, UPDATE ON rollouts, rollout_tenants TO %I',
        current_database() || '_tenant'
    );
END
$$;
