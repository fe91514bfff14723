-- target: management

-- The most of a worker's steps that one tenant holds, in percent of what the others leave; workers
-- of earlier builds do not say it, and have the usual setting.
ALTER TABLE runs_workers ADD COLUMN tenant_share INT NOT NULL DEFAULT 75;
