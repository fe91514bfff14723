-- target: tenant
-- transaction: none
-- behind: served

-- Whose turn it is, by task queue. An earlier build leaves `queued` of a run that it ends.
CREATE INDEX CONCURRENTLY runs_queued ON runs (task_queue, created_at, id)
    WHERE queued AND status IN ('pending', 'running');

-- What is under way: a long queue, held and paused runs are not read for it.
CREATE INDEX CONCURRENTLY runs_under_way ON runs (task_queue)
    WHERE status IN ('pending', 'running') AND NOT held AND NOT queued;
