-- target: tenant

-- Metrics that have a fraction or exceed 64 bits, as they are. `metrics` has them rounded, for
-- whoever knows nothing else.
ALTER TABLE steps ADD COLUMN fractional_metrics JSONB;
