-- target: tenant
-- How often and how soon requests are sent under one key, whoever asks for it again: a caller, or a
-- proxy that repeats a refusal.

-- Before this moment nothing more is sent under the key; NULL where nothing has to be waited for.
ALTER TABLE llm_call_attempts ADD COLUMN retry_at TIMESTAMPTZ;

-- What the caller was told when no more attempts followed, which ends a round of attempts: reason,
-- message, metadata and the id of the request. NULL while the round goes on.
ALTER TABLE llm_call_attempts ADD COLUMN refusal JSONB;
