-- target: tenant
-- Runs that wait for their turn, since their tenant has as many under way as it may.

ALTER TABLE runs
    ADD COLUMN queued     BOOL NOT NULL DEFAULT false,
    -- The pipeline's own task queue; empty for the common one.
    ADD COLUMN task_queue TEXT NOT NULL DEFAULT '';

-- Those that have ended get it when they are retried.
UPDATE runs SET task_queue = code_needs ->> 'task_queue'
  FROM pipelines
 WHERE pipelines.pipeline = runs.pipeline AND version = pipeline_version
   AND status IN ('pending', 'running', 'paused') AND code_needs ->> 'task_queue' <> '';
