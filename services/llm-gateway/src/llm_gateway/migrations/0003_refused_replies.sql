-- target: tenant
-- A reply in which the model or the provider declined, so that it could not be used: the same request
-- is not sent to the same model again.

ALTER TABLE llm_call_attempts ADD COLUMN reply_refused BOOLEAN NOT NULL DEFAULT false;
