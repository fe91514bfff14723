-- target: tenant

-- Where events of runs are sent. The secrets are in the tenant service.
CREATE TABLE webhook_endpoints (
    endpoint_id       UUID PRIMARY KEY,
    tenant_id         TEXT NOT NULL, -- of another one it is a copy, which is told nothing
    name              TEXT NOT NULL,
    url               TEXT NOT NULL,
    event_types       TEXT[] NOT NULL,
    pipelines         TEXT[] NOT NULL,
    state             TEXT NOT NULL DEFAULT 'enabled',
    disabled_reason   TEXT NOT NULL DEFAULT '',
    secret            INT NOT NULL DEFAULT 1,
    secret_request_id TEXT,
    former_until      TIMESTAMPTZ,
    user_id           TEXT NOT NULL,
    request_id        TEXT NOT NULL,
    request_digest    TEXT NOT NULL,
    created_at        TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at        TIMESTAMPTZ NOT NULL DEFAULT now(),
    CONSTRAINT webhook_endpoints_name_key UNIQUE (name),
    CONSTRAINT webhook_endpoints_request_id_key UNIQUE (request_id),
    CONSTRAINT webhook_endpoints_state_check CHECK (state IN ('enabled', 'disabled'))
);

-- How far each of them has been told of a run: the number of the event that is next.
CREATE TABLE webhook_deliveries (
    endpoint_id   UUID NOT NULL REFERENCES webhook_endpoints (endpoint_id) ON DELETE CASCADE,
    run_id        UUID NOT NULL REFERENCES runs (id),
    state         TEXT NOT NULL DEFAULT 'pending',
    next_seq      BIGINT NOT NULL DEFAULT 1,
    generation    INT NOT NULL DEFAULT 1,
    due_at        TIMESTAMPTZ NOT NULL DEFAULT now(),
    attempts      INT NOT NULL DEFAULT 0,
    failing_since TIMESTAMPTZ,
    failure       TEXT NOT NULL DEFAULT '',
    delivered_at  TIMESTAMPTZ,
    PRIMARY KEY (endpoint_id, run_id),
    CONSTRAINT webhook_deliveries_state_check CHECK (state IN ('pending', 'delivered', 'dead'))
);

CREATE INDEX webhook_deliveries_pending ON webhook_deliveries (due_at) WHERE state = 'pending';
CREATE INDEX webhook_deliveries_of_run ON webhook_deliveries (run_id);
