-- target: tenant
-- How a run is stopped, and how it goes on.

-- What a running run is told to stop for; nothing of it begins while it is set. `resume` is a pause
-- that was withdrawn before it was reached.
ALTER TABLE runs
    ADD COLUMN stop             TEXT,
    -- Of the last retry: its request, and the piece of work that it was for.
    ADD COLUMN retry_request_id TEXT,
    ADD COLUMN retry_step       TEXT,
    ADD COLUMN retry_item       INT,
    -- Every row has NULL there now; to look at them all would hold up everybody.
    ADD CONSTRAINT runs_stop_check CHECK (stop IN ('pause', 'resume', 'cancel')) NOT VALID;

-- The number of the step's model call in its key. A retry may ask for another call.
ALTER TABLE steps ADD COLUMN call INT NOT NULL DEFAULT 1;
