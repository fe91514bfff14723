-- target: management
-- Work that takes longer than a call. A row is written in the transaction that begins the work; any
-- process runs it, and another takes it up when that one dies.
CREATE TABLE operations (
    id               UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    kind             TEXT NOT NULL CHECK (kind <> ''),
    tenant_id        TEXT NOT NULL, -- empty where it concerns no single tenant; the row may outlive it
    request_id       TEXT NOT NULL CONSTRAINT operations_request_id_key UNIQUE,
    arguments        JSONB NOT NULL, -- never a secret
    user_id          TEXT NOT NULL,
    state            TEXT NOT NULL DEFAULT 'running'
                     CHECK (state IN ('running', 'failed', 'done', 'cancelled')),
    step             TEXT NOT NULL DEFAULT '', -- the last completed one
    notes            JSONB NOT NULL DEFAULT '{}', -- never a secret
    progress_done    BIGINT,
    progress_total   BIGINT,
    progress_unit    TEXT,
    reason           TEXT NOT NULL DEFAULT '',
    message          TEXT NOT NULL DEFAULT '',
    stuck_reason     TEXT NOT NULL DEFAULT '',
    cancel_requested BOOLEAN NOT NULL DEFAULT false,
    attempts         INT NOT NULL DEFAULT 0, -- how often it was taken up since it last moved
    pause_seconds    INT NOT NULL DEFAULT 0, -- how long it waited after the last refusal
    due_at           TIMESTAMPTZ NOT NULL DEFAULT now(),
    created_at       TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at       TIMESTAMPTZ NOT NULL DEFAULT now(),
    ended_at         TIMESTAMPTZ
);

CREATE INDEX operations_running ON operations (due_at) WHERE state = 'running';
CREATE INDEX operations_newest ON operations (created_at, id);
CREATE INDEX operations_of_tenant ON operations (tenant_id, created_at, id);

DO $$
BEGIN
    EXECUTE format(
        'GRANT SELECT, INSERT, UPDATE, DELETE ON operations TO %I', current_database() || '_tenant'
    );
END
$$;
