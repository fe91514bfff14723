-- target: tenant

-- What is due is looked for by endpoint, so that those of a disabled one are not read.
DROP INDEX webhook_deliveries_pending;
CREATE INDEX webhook_deliveries_pending ON webhook_deliveries (endpoint_id, due_at)
 WHERE state = 'pending';
