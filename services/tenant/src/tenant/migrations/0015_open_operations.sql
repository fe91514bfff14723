-- target: management
-- Each placement of a tenant reads the moves and restorations that have not ended for good.
CREATE INDEX operations_open ON operations (kind, tenant_id)
    WHERE state IN ('running', 'failed');
