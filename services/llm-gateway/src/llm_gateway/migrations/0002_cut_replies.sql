-- target: tenant
-- A reply that a limit on output tokens cut off, so that it could not be used: the same request to
-- the same model is not sent again while the limit is no larger.

-- The limit, reasoning included; NULL for every other attempt.
ALTER TABLE llm_call_attempts ADD COLUMN cut_at_tokens INTEGER CHECK (cut_at_tokens > 0);
