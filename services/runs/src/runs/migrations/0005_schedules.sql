-- target: tenant

-- The definitions of schedules. Temporal follows them: `applied_generation` is what it has.
CREATE TABLE schedules (
    schedule_id        UUID PRIMARY KEY,
    tenant_id          TEXT NOT NULL, -- of another one it is a copy, which does not begin by itself
    name               TEXT NOT NULL,
    pipeline           TEXT NOT NULL,
    pipeline_version   INT NOT NULL,
    cron               TEXT NOT NULL,
    every_seconds      BIGINT NOT NULL,
    time_zone          TEXT NOT NULL,
    time_member        TEXT NOT NULL,
    overlap            TEXT NOT NULL,
    catch_up_seconds   BIGINT NOT NULL,
    config             JSONB NOT NULL,
    digest             TEXT NOT NULL,
    paused             BOOL NOT NULL,
    pause_reason       TEXT NOT NULL DEFAULT '',
    deleted            BOOL NOT NULL DEFAULT false, -- until Temporal has deleted it too
    generation         INT NOT NULL DEFAULT 1,
    applied_generation INT NOT NULL DEFAULT 0,
    applied_at         TIMESTAMPTZ,
    last_time          TIMESTAMPTZ,
    last_run_id        UUID,
    error              JSONB,
    user_id            TEXT NOT NULL,
    request_id         TEXT NOT NULL,
    request_digest     TEXT NOT NULL,
    created_at         TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at         TIMESTAMPTZ NOT NULL DEFAULT now(),
    CONSTRAINT schedules_request_id_key UNIQUE (request_id),
    CONSTRAINT schedules_overlap_check CHECK (
        overlap IN ('skip', 'buffer_one', 'buffer_all', 'cancel_other', 'allow_all')
    )
);

CREATE UNIQUE INDEX schedules_name_key ON schedules (name) WHERE NOT deleted;

-- Backfills that Temporal is still to be told of.
CREATE TABLE schedule_backfills (
    backfill_id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    schedule_id UUID NOT NULL REFERENCES schedules (schedule_id) ON DELETE CASCADE,
    start_time  TIMESTAMPTZ NOT NULL,
    end_time    TIMESTAMPTZ NOT NULL,
    request_id  TEXT NOT NULL,
    delivered   BOOL NOT NULL DEFAULT false,
    created_at  TIMESTAMPTZ NOT NULL DEFAULT now(),
    CONSTRAINT schedule_backfills_request_id_key UNIQUE (request_id)
);

-- Which schedule created a run, and for which of its times.
ALTER TABLE runs ADD COLUMN schedule TEXT, ADD COLUMN schedule_time TIMESTAMPTZ;
