-- target: tenant
-- behind: served
-- What a digest looks like, checked for less. For ^[0-9a-f]{64}$ PostgreSQL builds a state for each of
-- the 64 characters, anew for each row that is written. What is allowed is the same, so that all rows
-- that there are fulfil it.

ALTER TABLE artifacts
    DROP CONSTRAINT artifacts_digest_check,
    ADD CONSTRAINT artifacts_digest_check CHECK (
        length(digest) = 64 AND digest !~ '[^0-9a-f]'
    ) NOT VALID;
