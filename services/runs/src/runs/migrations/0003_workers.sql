-- target: management

-- What is installed beside each worker, as it says once a minute.
CREATE TABLE runs_workers (
    worker_id  TEXT PRIMARY KEY,
    task_queue TEXT NOT NULL,
    tenants    TEXT[] NOT NULL,
    functions  TEXT[] NOT NULL,
    graphs     JSONB NOT NULL,
    seen_at    TIMESTAMPTZ NOT NULL
);

CREATE INDEX runs_workers_of_queue ON runs_workers (task_queue, seen_at);

COMMENT ON COLUMN runs_workers.task_queue IS 'the pipelines'' own; empty for the common one';
COMMENT ON COLUMN runs_workers.tenants IS 'the only ones whose runs it does; all when empty';
