-- target: tenant
-- Steps that wait for a person, and what they ask.

ALTER TABLE steps
    DROP CONSTRAINT steps_status_check,
    ADD CONSTRAINT steps_status_check CHECK (
        status IN ('running', 'waiting', 'completed', 'skipped', 'failed', 'cancelled')
    ) NOT VALID;

ALTER TABLE outbox
    DROP CONSTRAINT outbox_kind_check,
    ADD CONSTRAINT outbox_kind_check CHECK (kind IN ('start', 'cancel', 'decision'));

CREATE TABLE approvals (
    id               BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    approval_id      TEXT NOT NULL,
    run_id           UUID NOT NULL REFERENCES runs (id),
    step             TEXT NOT NULL,
    visit            INT NOT NULL,
    attempt          INT NOT NULL,
    state            TEXT NOT NULL DEFAULT 'open',
    question         TEXT NOT NULL,
    subjects         JSONB NOT NULL,
    user_ids         TEXT[] NOT NULL,
    permissions      TEXT[] NOT NULL,
    excludes_creator BOOL NOT NULL,
    comment_required BOOL NOT NULL,
    created_at       TIMESTAMPTZ NOT NULL DEFAULT now(),
    due_at           TIMESTAMPTZ,
    ended_at         TIMESTAMPTZ,
    user_id          TEXT,
    comment          TEXT,
    request_id       TEXT,
    CONSTRAINT approvals_approval_id_key UNIQUE (approval_id),
    CONSTRAINT approvals_question_key UNIQUE (run_id, step, visit, attempt),
    CONSTRAINT approvals_state_check CHECK (
        state IN ('open', 'approved', 'rejected', 'expired', 'closed')
    )
);

CREATE INDEX approvals_open ON approvals (id) WHERE state = 'open';
