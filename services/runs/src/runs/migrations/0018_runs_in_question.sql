-- target: tenant

-- Whether a run that is under way was found to wait for people alone, and has not moved since.
ALTER TABLE runs ADD COLUMN in_question BOOL NOT NULL DEFAULT false;
