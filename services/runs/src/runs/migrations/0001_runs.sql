-- target: tenant
-- requires: tenant 1

CREATE TABLE runs (
    id               UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    status           TEXT NOT NULL,
    current_step     TEXT,
    config           JSONB,
    created_at       TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at       TIMESTAMPTZ NOT NULL DEFAULT now(),
    pipeline         TEXT NOT NULL,
    pipeline_version INT NOT NULL,
    held             BOOL NOT NULL DEFAULT false,
    user_id          TEXT NOT NULL,
    request_id       TEXT NOT NULL,
    request_digest   TEXT NOT NULL,
    epoch            INT NOT NULL DEFAULT 1,
    last_seq         BIGINT NOT NULL DEFAULT 0,
    prompt_versions  JSONB NOT NULL DEFAULT '{}',
    input_path       TEXT,
    input_digest     TEXT,
    input_summary    TEXT,
    input_metrics    JSONB,
    error            JSONB,
    stuck_reason     TEXT,
    started_at       TIMESTAMPTZ,
    ended_at         TIMESTAMPTZ,
    checked_at       TIMESTAMPTZ,
    input_tokens     BIGINT NOT NULL DEFAULT 0,
    output_tokens    BIGINT NOT NULL DEFAULT 0,
    cost_micro_usd   BIGINT NOT NULL DEFAULT 0,
    completed_steps  INT NOT NULL DEFAULT 0,
    CONSTRAINT runs_request_id_key UNIQUE (request_id),
    CONSTRAINT runs_status_check CHECK (
        status IN ('pending', 'running', 'paused', 'completed', 'failed', 'cancelled')
    )
) WITH (fillfactor = 70);

-- A run's row changes with each of its events: no index may hold what changes then.
CREATE INDEX runs_newest ON runs (created_at, id);
CREATE INDEX runs_of_pipeline ON runs (pipeline, created_at, id);
CREATE INDEX runs_open ON runs (created_at, id) WHERE status IN ('pending', 'running', 'paused');

CREATE TABLE steps (
    id             BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id         UUID NOT NULL REFERENCES runs (id),
    step           TEXT NOT NULL,
    status         TEXT NOT NULL,
    llm_model      TEXT,
    token_usage    JSONB,
    error_message  TEXT,
    retry_count    INT NOT NULL DEFAULT 0,
    started_at     TIMESTAMPTZ,
    completed_at   TIMESTAMPTZ,
    item           INT NOT NULL DEFAULT 0,
    visit          INT NOT NULL DEFAULT 1,
    epoch          INT NOT NULL DEFAULT 1,
    attempt        INT NOT NULL DEFAULT 1,
    output_path    TEXT,
    output_digest  TEXT,
    summary        TEXT,
    metrics        JSONB,
    model_rule     TEXT,
    prompt_version INT,
    prompt_digest  TEXT,
    cost_micro_usd BIGINT NOT NULL DEFAULT 0,
    error          JSONB,
    CONSTRAINT steps_work_key UNIQUE (run_id, step, item, visit),
    CONSTRAINT steps_status_check CHECK (
        status IN ('running', 'completed', 'skipped', 'failed', 'cancelled')
    ),
    CONSTRAINT steps_item_check CHECK (item >= 0),
    CONSTRAINT steps_visit_check CHECK (visit >= 1),
    CONSTRAINT steps_summary_check CHECK (length(summary) <= 256)
) WITH (fillfactor = 70);

CREATE TABLE step_attempts (
    step_id      BIGINT NOT NULL REFERENCES steps (id),
    epoch        INT NOT NULL,
    attempt      INT NOT NULL,
    status       TEXT NOT NULL,
    reason       TEXT,
    error_path   TEXT,
    started_at   TIMESTAMPTZ NOT NULL DEFAULT now(),
    completed_at TIMESTAMPTZ,
    PRIMARY KEY (step_id, epoch, attempt),
    CONSTRAINT step_attempts_status_check CHECK (
        status IN ('running', 'completed', 'skipped', 'failed', 'cancelled')
    )
);

CREATE TABLE run_events (
    run_id     UUID NOT NULL REFERENCES runs (id),
    seq        BIGINT NOT NULL,
    kind       TEXT NOT NULL,
    payload    JSONB NOT NULL,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (run_id, seq),
    CONSTRAINT run_events_kind_check CHECK (kind IN ('run', 'step'))
);

-- What Temporal is still to be told. Written with the change that asks for it, deleted once told.
CREATE TABLE outbox (
    id         BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id     UUID NOT NULL REFERENCES runs (id),
    kind       TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    due_at     TIMESTAMPTZ NOT NULL DEFAULT now(),
    attempts   INT NOT NULL DEFAULT 0,
    CONSTRAINT outbox_run_id_kind_key UNIQUE (run_id, kind),
    CONSTRAINT outbox_kind_check CHECK (kind IN ('start', 'cancel'))
);

-- Their tables refer to runs.
SELECT nagaya_grant('artifacts', 'REFERENCES, SELECT', 'runs');
SELECT nagaya_grant('llm_gateway', 'REFERENCES, SELECT', 'runs');
