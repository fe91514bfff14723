-- target: management

-- The tenants that the collector visits, and when. Noted before a call of theirs is recorded, so that
-- none can be left behind where nobody looks; once a day where nothing has been noted.
CREATE TABLE llm_gateway_pending_work (
    tenant_id TEXT PRIMARY KEY,
    due_at    TIMESTAMPTZ NOT NULL,
    noted_at  TIMESTAMPTZ NOT NULL DEFAULT now()
);

CREATE INDEX llm_gateway_pending_work_due ON llm_gateway_pending_work (due_at);
