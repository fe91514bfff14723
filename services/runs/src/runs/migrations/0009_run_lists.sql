-- target: tenant
-- transaction: none
-- behind: served

-- Runs that went wrong, newest first: few, and the ones that are looked for. A run's status changes
-- three times, and `runs_open` holds it already.
CREATE INDEX CONCURRENTLY runs_wrong ON runs (status, created_at, id) WHERE status IN ('failed', 'cancelled');

-- Dear runs. Of a column that only a BRIN index holds, PostgreSQL updates rows as if it had none.
CREATE INDEX CONCURRENTLY runs_cost ON runs USING brin (cost_micro_usd int8_minmax_multi_ops) WITH (pages_per_range = 16, autosummarize = on);
