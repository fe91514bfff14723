-- target: tenant
-- A bad reply may be chance, and the same request is tried again; the same bad reply of the same model a
-- second time is none. Only its sha256 is kept; empty for every other attempt.

ALTER TABLE llm_call_attempts
    ADD COLUMN reply_digest TEXT NOT NULL DEFAULT '' CHECK (reply_digest ~ '^([0-9a-f]{64})?$');
