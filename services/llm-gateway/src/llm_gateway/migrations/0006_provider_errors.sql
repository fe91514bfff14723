-- target: tenant
-- What a provider said of an error or of an unusual end, in its own words: identifiers, and an excerpt
-- of at most 300 characters that holds nothing of a key, a prompt or a reply. And why a reply was of no
-- use, where the same request to the same model would get such a one again.

ALTER TABLE llm_call_attempts
    ADD COLUMN provider_code TEXT NOT NULL DEFAULT '' CHECK (length(provider_code) <= 100),
    ADD COLUMN provider_type TEXT NOT NULL DEFAULT '' CHECK (length(provider_type) <= 100),
    ADD COLUMN provider_param TEXT NOT NULL DEFAULT '' CHECK (length(provider_param) <= 100),
    ADD COLUMN provider_message TEXT NOT NULL DEFAULT '' CHECK (length(provider_message) <= 300),
    ADD COLUMN reply_useless TEXT CHECK (reply_useless IN ('incomplete', 'empty'));
