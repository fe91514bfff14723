-- target: tenant
-- transaction: none
-- behind: served

-- What counts as under way: runs that wait for people are not read for it, however many there are.
CREATE INDEX CONCURRENTLY runs_working ON runs (task_queue)
    WHERE status IN ('pending', 'running') AND NOT held AND NOT queued AND NOT in_question;
