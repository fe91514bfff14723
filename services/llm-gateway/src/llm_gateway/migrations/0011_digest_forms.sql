-- target: tenant
-- behind: served
-- What a digest looks like, checked for less. For ^[0-9a-f]{64}$ PostgreSQL builds a state for each of
-- the 64 characters, anew for each row that is written. What is allowed is the same, so that all rows
-- that there are fulfil it.

ALTER TABLE llm_calls
    DROP CONSTRAINT llm_calls_request_digest_check,
    ADD CONSTRAINT llm_calls_request_digest_check CHECK (
        length(request_digest) = 64 AND request_digest !~ '[^0-9a-f]'
    ) NOT VALID,
    DROP CONSTRAINT llm_calls_output_digest_check,
    ADD CONSTRAINT llm_calls_output_digest_check CHECK (
        length(output_digest) = 64 AND output_digest !~ '[^0-9a-f]'
    ) NOT VALID;

ALTER TABLE llm_call_attempts
    DROP CONSTRAINT llm_call_attempts_reply_digest_check,
    ADD CONSTRAINT llm_call_attempts_reply_digest_check CHECK (
        reply_digest = '' OR (length(reply_digest) = 64 AND reply_digest !~ '[^0-9a-f]')
    ) NOT VALID;
