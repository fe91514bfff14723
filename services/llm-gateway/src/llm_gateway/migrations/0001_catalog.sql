-- target: management
-- What there is to call, what it costs, and which step uses which.

-- One row: counts up with every change of the tables below, in the change's own transaction.
-- Processes of the gateway compare it to know whether what they hold is still true.
CREATE TABLE llm_catalog (
    only_row BOOLEAN PRIMARY KEY DEFAULT true CHECK (only_row),
    version BIGINT NOT NULL
);

CREATE TABLE llm_providers (
    id TEXT PRIMARY KEY,
    display_name TEXT NOT NULL,
    api_base_url TEXT,
    is_active BOOLEAN NOT NULL DEFAULT true,
    wire_format TEXT NOT NULL CONSTRAINT llm_providers_wire_format CHECK (
        wire_format IN ('claude_messages', 'openai_responses', 'openai_chat', 'gemini_generate_content')
    )
);

CREATE TABLE llm_models (
    id TEXT PRIMARY KEY,
    provider_id TEXT NOT NULL CONSTRAINT llm_models_provider REFERENCES llm_providers (id),
    model_name TEXT NOT NULL,
    model_class TEXT NOT NULL,
    is_active BOOLEAN NOT NULL DEFAULT true,
    max_output_tokens INTEGER NOT NULL CHECK (max_output_tokens > 0),
    max_input_tokens INTEGER NOT NULL CHECK (max_input_tokens > 0),
    json_schema BOOLEAN NOT NULL,
    temperature BOOLEAN NOT NULL,
    reasoning_headroom_tokens INTEGER NOT NULL CHECK (reasoning_headroom_tokens >= 0),
    set_in_version BIGINT NOT NULL
);

CREATE INDEX llm_models_provider_class ON llm_models (provider_id, model_class);

-- Micro-USD for a million tokens. Rows are added, never changed.
CREATE TABLE llm_prices (
    id TEXT PRIMARY KEY,
    model_id TEXT NOT NULL CONSTRAINT llm_prices_model REFERENCES llm_models (id),
    effective_at TIMESTAMPTZ NOT NULL,
    min_input_tokens BIGINT NOT NULL DEFAULT 0 CHECK (min_input_tokens >= 0),
    input_micro_usd BIGINT NOT NULL CHECK (input_micro_usd >= 0),
    cache_read_micro_usd BIGINT NOT NULL CHECK (cache_read_micro_usd >= 0),
    cache_write_micro_usd BIGINT NOT NULL CHECK (cache_write_micro_usd >= 0),
    output_micro_usd BIGINT NOT NULL CHECK (output_micro_usd >= 0),
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    CONSTRAINT llm_prices_moment UNIQUE (model_id, effective_at, min_input_tokens)
);

CREATE TABLE step_llm_defaults (
    step TEXT PRIMARY KEY,
    provider_id TEXT NOT NULL CONSTRAINT step_llm_defaults_provider REFERENCES llm_providers (id),
    model_class TEXT NOT NULL
);

INSERT INTO llm_catalog (version) VALUES (1);

INSERT INTO llm_providers (id, display_name, wire_format) VALUES
    ('claude', 'Anthropic Claude', 'claude_messages'),
    ('gemini', 'Google Gemini', 'gemini_generate_content'),
    ('openai', 'OpenAI', 'openai_responses');

-- Limits as the providers' model pages gave them on 2026-11-23, and the smaller of two where they
-- disagreed. Claude and the GPT-6 models take no temperature; all of these reason before they reply.
INSERT INTO llm_models (
    id, provider_id, model_name, model_class, max_output_tokens, max_input_tokens,
    json_schema, temperature, reasoning_headroom_tokens, set_in_version
) VALUES
    ('claude-opus-5-5', 'claude', 'claude-opus-5-5', 'pro', 128000, 1000000, true, false, 16384, 1),
    ('claude-sonnet-5-5', 'claude', 'claude-sonnet-5-5', 'standard', 64000, 1000000, true, false, 8192, 1),
    ('gpt-6.2-astra', 'openai', 'gpt-6.2-astra', 'pro', 128000, 400000, true, false, 16384, 1),
    ('gpt-6.2-sol', 'openai', 'gpt-6.2-sol', 'standard', 128000, 400000, true, false, 8192, 1),
    ('gemini-4-argon', 'gemini', 'gemini-4-argon', 'pro', 65536, 1000000, true, true, 16384, 1),
    ('gemini-3.8-flash', 'gemini', 'gemini-3.8-flash', 'standard', 65536, 1000000, true, true, 8192, 1);

-- Prices, short context, standard tier. Sources: the data of genai-prices 0.2.3 (2026-11-10) and
-- litellm 1.109.1 (2026-11-12), platform.claude.com's model pages (2026-10 and 2026-11), and
-- OpenAI's figures as read on 2026-11-05. A row counts from the model's release, or from the date
-- of the source where the release is not known.
INSERT INTO llm_prices (
    id, model_id, effective_at, min_input_tokens,
    input_micro_usd, cache_read_micro_usd, cache_write_micro_usd, output_micro_usd
)
SELECT
    format('%s@%s+%s', model, to_char(since AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), length),
    model, since, length, input, cache_read, cache_write, output
FROM (VALUES
    -- 4 USD in, 20 out; cache writes for 5 minutes.
    ('claude-opus-5-5', TIMESTAMPTZ '2026-09-22 00:00Z', 0, 4000000, 200000, 5000000, 20000000),
    -- Reading from the cache fell from 0.20 to 0.10 USD on 2026-10-07.
    ('claude-sonnet-5-5', '2026-09-22 00:00Z', 0, 2000000, 200000, 2500000, 10000000),
    ('claude-sonnet-5-5', '2026-10-07 00:00Z', 0, 2000000, 100000, 2500000, 10000000),
    -- One source. Its cache read is derived ("60% cheaper" than 1.00), its cache write is the family's 1.25 times the input.
    ('gpt-6.2-astra', '2026-11-17 00:00Z', 0, 8000000, 400000, 10000000, 40000000),
    -- One source, which says: as gpt-6.1-sol.
    ('gpt-6.2-sol', '2026-11-17 00:00Z', 0, 2000000, 100000, 2500000, 10000000),
    -- All of gpt-6 above 272,000 input tokens: input and cache twice, output one and a half times, for the whole request.
    ('gpt-6.2-astra', '2026-11-17 00:00Z', 272001, 16000000, 800000, 20000000, 60000000),
    ('gpt-6.2-sol', '2026-11-17 00:00Z', 272001, 4000000, 200000, 5000000, 15000000),
    -- Promotional until 2026-11-30. Gemini writes its cache by itself and does not charge for it.
    ('gemini-4-argon', '2026-11-10 00:00Z', 0, 2000000, 100000, 0, 10000000),
    ('gemini-4-argon', '2026-12-01 00:00Z', 0, 4000000, 200000, 0, 20000000),
    -- Promotional until 2026-12-31; one source.
    ('gemini-3.8-flash', '2026-11-10 00:00Z', 0, 750000, 75000, 0, 3750000),
    ('gemini-3.8-flash', '2027-01-01 00:00Z', 0, 1500000, 150000, 0, 7500000)
) AS seeds (model, since, length, input, cache_read, cache_write, output);

-- The steps of an article. Whoever writes is not who reviews.
INSERT INTO step_llm_defaults (step, provider_id, model_class) VALUES
    ('outline', 'claude', 'pro'),
    ('research', 'gemini', 'standard'),
    ('draft', 'claude', 'standard'),
    ('review', 'openai', 'pro'),
    ('polish', 'openai', 'standard');
