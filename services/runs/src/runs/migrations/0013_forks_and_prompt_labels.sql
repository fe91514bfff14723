-- target: tenant

-- The run that a run was forked from, whose steps it has taken over.
ALTER TABLE runs ADD COLUMN forked_from_run_id UUID;

-- Whether a step was taken over from there. Null where not, so that events do not tell of it.
ALTER TABLE steps ADD COLUMN reused BOOL;

COMMENT ON COLUMN prompts.step IS
    'the prompt''s name: what a step calls its prompt, or else the step''s own name';

COMMENT ON COLUMN pipelines.prompts IS
    'what the llm steps ask of prompts: {step: {"version": 0 for the active or the labelled one, '
    '"variables": [...], "prompt": where it is not the step''s name, "label": where one chooses}}';

-- Names for versions of prompts, such as canary, that pipelines refer to.
CREATE TABLE prompt_labels (
    prompt     TEXT NOT NULL,
    label      TEXT NOT NULL,
    version    INT NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (prompt, label),
    FOREIGN KEY (prompt, version) REFERENCES prompts (step, version)
);
