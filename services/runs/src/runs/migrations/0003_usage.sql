-- target: tenant
-- What a run has cost is what the ledger of its calls says: it is read once more when the run has
-- ended, and again for as long as a call is in flight.

ALTER TABLE runs ADD COLUMN calls_open BOOL NOT NULL DEFAULT false;

-- The runs whose ledger is still to be read, and when.
CREATE TABLE usage_checks (
    run_id   UUID PRIMARY KEY REFERENCES runs (id),
    due_at   TIMESTAMPTZ NOT NULL,
    attempts INT NOT NULL DEFAULT 0
);

CREATE INDEX usage_checks_due ON usage_checks (due_at);
