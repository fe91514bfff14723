-- target: tenant
-- requires: runs 1
-- The ledger: every call under its key, every HTTP request to a provider as an attempt of it.

CREATE TABLE llm_calls (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id UUID NOT NULL CONSTRAINT llm_calls_run REFERENCES runs (id),
    step TEXT NOT NULL,
    item INTEGER NOT NULL CHECK (item >= 0),
    visit INTEGER NOT NULL CHECK (visit >= 1),
    call INTEGER NOT NULL CHECK (call >= 1),
    request_digest TEXT NOT NULL CHECK (request_digest ~ '^[0-9a-f]{64}$'),
    state TEXT NOT NULL CHECK (state IN ('reserved', 'dispatched', 'settled', 'failed', 'unknown')),
    -- Which piece of work of which process holds the call, until when, and where that process is
    -- reached. The process renews the lease for as long as it lives.
    lease_owner TEXT,
    lease_expires TIMESTAMPTZ,
    owner_endpoint TEXT,
    -- How the latest piece of work chose the model.
    provider_id TEXT NOT NULL,
    model_id TEXT NOT NULL,
    model_name TEXT NOT NULL,
    model_class TEXT NOT NULL,
    rule TEXT NOT NULL CHECK (rule IN ('request', 'run', 'tenant_override', 'step_default')),
    price_id TEXT NOT NULL,
    catalog_version BIGINT NOT NULL,
    -- All attempts together.
    input_tokens BIGINT NOT NULL DEFAULT 0,
    cache_read_tokens BIGINT NOT NULL DEFAULT 0,
    cache_write_tokens BIGINT NOT NULL DEFAULT 0,
    output_tokens BIGINT NOT NULL DEFAULT 0,
    reasoning_tokens BIGINT NOT NULL DEFAULT 0,
    cost_micro_usd BIGINT NOT NULL DEFAULT 0 CHECK (cost_micro_usd >= 0),
    finish_reason TEXT,
    output_path TEXT,
    output_digest TEXT CHECK (output_digest ~ '^[0-9a-f]{64}$'),
    summary TEXT CHECK (length(summary) <= 256),
    user_id TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    ended_at TIMESTAMPTZ,
    CONSTRAINT llm_calls_key UNIQUE (run_id, step, item, visit, call),
    CONSTRAINT llm_calls_settled CHECK (
        state <> 'settled'
        OR num_nulls(finish_reason, output_path, output_digest, summary, ended_at) = 0
    ),
    CONSTRAINT llm_calls_lease CHECK (
        (state IN ('reserved', 'dispatched')) = (lease_owner IS NOT NULL)
        AND num_nulls(lease_owner, lease_expires, owner_endpoint) IN (0, 3)
    )
);

CREATE INDEX llm_calls_run_order ON llm_calls (run_id, id);

CREATE TABLE llm_call_attempts (
    call_id BIGINT NOT NULL REFERENCES llm_calls (id),
    attempt INTEGER NOT NULL CHECK (attempt >= 1),
    state TEXT NOT NULL CHECK (state IN ('dispatched', 'settled', 'failed', 'unknown')),
    provider_id TEXT NOT NULL,
    model_id TEXT NOT NULL,
    price_id TEXT NOT NULL,
    provider_request_id TEXT NOT NULL DEFAULT '',
    http_status INTEGER NOT NULL DEFAULT 0,
    error TEXT NOT NULL DEFAULT '' CHECK (length(error) <= 500),
    input_tokens BIGINT NOT NULL DEFAULT 0,
    cache_read_tokens BIGINT NOT NULL DEFAULT 0,
    cache_write_tokens BIGINT NOT NULL DEFAULT 0,
    output_tokens BIGINT NOT NULL DEFAULT 0,
    reasoning_tokens BIGINT NOT NULL DEFAULT 0,
    cost_micro_usd BIGINT NOT NULL DEFAULT 0 CHECK (cost_micro_usd >= 0),
    estimated BOOLEAN NOT NULL,
    dispatched_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    ended_at TIMESTAMPTZ,
    PRIMARY KEY (call_id, attempt)
);

-- A tenant's own models by step; they go before the defaults of the management database.
CREATE TABLE step_overrides (
    step TEXT PRIMARY KEY,
    provider_id TEXT NOT NULL,
    model_class TEXT NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now()
);
