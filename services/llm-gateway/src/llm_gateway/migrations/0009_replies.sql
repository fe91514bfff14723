-- target: tenant
-- Replies that were heard whole, and that the artifacts service could not take at once: they are paid
-- for, so they outlive their process. At most one of a call, and none of a settled one: the statement
-- that settles a call deletes its row, because the reply is in its file by then.

CREATE TABLE llm_replies (
    call_id BIGINT PRIMARY KEY,
    attempt INTEGER NOT NULL,
    -- The file as it will be stored, and what is told of it.
    body BYTEA NOT NULL,
    summary TEXT NOT NULL CHECK (length(summary) <= 256),
    metrics JSONB NOT NULL,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    FOREIGN KEY (call_id, attempt) REFERENCES llm_call_attempts (call_id, attempt)
);
