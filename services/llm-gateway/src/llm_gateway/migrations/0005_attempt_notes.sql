-- target: tenant
-- What is to be known of an attempt: why its usage or its cost are estimates, and what was left out of
-- its request.

ALTER TABLE llm_call_attempts ADD COLUMN note TEXT NOT NULL DEFAULT '' CHECK (length(note) <= 500);
