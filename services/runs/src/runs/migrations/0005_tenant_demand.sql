-- target: management

-- Which tenants have runs to do now, so that each has so many under way as the others leave it.
CREATE TABLE runs_tenant_demand (
    tenant_id  TEXT NOT NULL,
    task_queue TEXT NOT NULL,
    runs       INT NOT NULL,
    seen_at    TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, task_queue)
);

COMMENT ON COLUMN runs_tenant_demand.task_queue IS 'the pipelines'' own; empty for the common one';
COMMENT ON COLUMN runs_tenant_demand.runs IS 'under way or waiting for their turn';
