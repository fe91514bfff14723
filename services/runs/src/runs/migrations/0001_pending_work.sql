-- target: management

-- The tenants that a relay has to visit, and when. Noted before a tenant's transaction begins, so
-- that no run can exist whose tenant nobody visits; removed when nothing is left to do there.
CREATE TABLE runs_pending_work (
    tenant_id TEXT NOT NULL,
    kind      TEXT NOT NULL,
    due_at    TIMESTAMPTZ NOT NULL,
    noted_at  TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, kind)
);

CREATE INDEX runs_pending_work_due ON runs_pending_work (due_at);
