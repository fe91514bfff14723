-- target: management

-- How many llm steps and long functions the worker does at once; workers of earlier builds do not
-- say it, and have the usual setting.
ALTER TABLE runs_workers ADD COLUMN steps_at_once INT NOT NULL DEFAULT 100;

-- The most runs under way at once on a task queue; as many as its workers do steps when 0.
ALTER TABLE runs_tenant_limits ADD COLUMN max_runs INT NOT NULL DEFAULT 0;
