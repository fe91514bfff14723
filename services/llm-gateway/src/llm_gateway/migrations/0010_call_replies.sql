-- target: tenant
-- The reply to a call lies beside it, written by the statement that settles the call. A reply that an
-- earlier version stored is a file of the artifacts service: its call has an output_path and no row here.

CREATE TABLE llm_call_replies (
    call_id BIGINT PRIMARY KEY,
    -- Whose reply it is.
    attempt INTEGER NOT NULL,
    -- One JSON object; its sha256 is the call's output_digest.
    body BYTEA NOT NULL,
    settled_at TIMESTAMPTZ NOT NULL DEFAULT now()
);

-- Compressing a reply costs more than all else that is done to store it.
ALTER TABLE llm_call_replies ALTER COLUMN body SET STORAGE EXTERNAL;

-- For the retention of replies. Rows are added in about this order, so that a small index will do.
CREATE INDEX llm_call_replies_settled_at ON llm_call_replies USING brin (settled_at);

-- What this allows less is true of all rows that there are.
ALTER TABLE llm_calls
    DROP CONSTRAINT llm_calls_settled,
    ADD CONSTRAINT llm_calls_settled CHECK (
        state <> 'settled' OR num_nulls(finish_reason, output_digest, summary, ended_at) = 0
    ) NOT VALID;

-- llm_replies holds no more than what processes of earlier versions kept, until their calls are settled.
