-- target: management

-- The tenants that the collector has to visit, and when. Noted before a tenant's transaction begins,
-- so that nothing can be left behind where nobody looks; removed when nothing is left to do there.
CREATE TABLE artifacts_pending_work (
    tenant_id TEXT NOT NULL,
    kind      TEXT NOT NULL CHECK (kind IN ('collect', 'sweep')),
    due_at    TIMESTAMPTZ NOT NULL,
    noted_at  TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, kind)
);

CREATE INDEX artifacts_pending_work_due ON artifacts_pending_work (due_at);
