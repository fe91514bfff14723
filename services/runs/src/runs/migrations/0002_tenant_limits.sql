-- target: management

-- Tenants that get another part of the workers than others, or whose runs start at a limited rate.
CREATE TABLE runs_tenant_limits (
    tenant_id         TEXT PRIMARY KEY,
    weight            FLOAT8 NOT NULL CHECK (weight > 0),
    max_steps         INT NOT NULL,
    starts_per_minute INT NOT NULL
);
