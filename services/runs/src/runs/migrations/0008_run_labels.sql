-- target: tenant
-- What runs are found by. Labels never change, so an index of them costs a run's updates nothing.

ALTER TABLE runs ADD COLUMN labels JSONB NOT NULL DEFAULT '{}';

-- The runs that have a label, sorted as lists are. No index of `runs.labels` could be sorted so.
CREATE TABLE run_labels (
    name           TEXT NOT NULL,
    value          TEXT NOT NULL,
    run_created_at TIMESTAMPTZ NOT NULL,
    run_id         UUID NOT NULL REFERENCES runs (id),
    PRIMARY KEY (name, value, run_created_at, run_id)
);
