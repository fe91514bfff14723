-- target: tenant
-- Runs that wait for their turn, since their tenant has as many under way as it may.

ALTER TABLE runs
    ADD COLUMN queued     BOOL NOT NULL DEFAULT false,
    -- The pipeline's own task queue; empty for the common one, and for runs of earlier builds.
    ADD COLUMN task_queue TEXT NOT NULL DEFAULT '';

CREATE INDEX runs_queued ON runs (created_at, id) WHERE queued;
