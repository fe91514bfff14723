-- target: tenant

CREATE TABLE pipelines (
    id              BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    pipeline        TEXT NOT NULL,
    version         INT NOT NULL,
    spec            JSONB NOT NULL,
    digest          TEXT NOT NULL,
    plan            JSONB NOT NULL,
    plan_size_bytes INT NOT NULL,
    prompts         JSONB NOT NULL,
    request_id      TEXT NOT NULL,
    created_at      TIMESTAMPTZ NOT NULL DEFAULT now(),
    CONSTRAINT pipelines_pipeline_version_key UNIQUE (pipeline, version),
    CONSTRAINT pipelines_request_id_key UNIQUE (request_id)
);

-- No foreign key of runs leads here: versions are never deleted, and every new run would lock its row.
COMMENT ON COLUMN pipelines.prompts IS
    'what the llm steps ask of prompts: {step: {"version": 0 for the active one, "variables": [...]}}';

CREATE TABLE prompts (
    id         BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    step       TEXT NOT NULL,
    version    INT NOT NULL,
    content    TEXT NOT NULL,
    variables  JSONB NOT NULL DEFAULT '[]',
    is_active  BOOL NOT NULL DEFAULT true,
    digest     TEXT NOT NULL,
    request_id TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    CONSTRAINT prompts_step_version_key UNIQUE (step, version),
    CONSTRAINT prompts_request_id_key UNIQUE (request_id)
);

CREATE UNIQUE INDEX prompts_active_key ON prompts (step) WHERE is_active;
