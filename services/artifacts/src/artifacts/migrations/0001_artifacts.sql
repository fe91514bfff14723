-- target: tenant
-- requires: tenant 1
-- requires: runs 1

-- The committed files. Paths sort by bytes, so that a folder is a range of the unique index.
CREATE TABLE artifacts (
    id         BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id     UUID NOT NULL REFERENCES runs (id),
    step       TEXT NOT NULL,
    file_type  TEXT NOT NULL,
    file_path  TEXT COLLATE "C" NOT NULL,
    digest     TEXT NOT NULL,
    metadata   JSONB,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    item       INT NOT NULL DEFAULT 0,
    visit      INT NOT NULL DEFAULT 1,
    name       TEXT NOT NULL,
    size_bytes BIGINT NOT NULL,
    summary    TEXT NOT NULL,
    metrics    JSONB NOT NULL,
    upload_id  UUID, -- of the upload that it came by, so that a repeated one finds it
    CONSTRAINT artifacts_file_path_key UNIQUE (file_path),
    CONSTRAINT artifacts_digest_check CHECK (digest ~ '^[0-9a-f]{64}$'),
    CONSTRAINT artifacts_item_check CHECK (item >= 0),
    CONSTRAINT artifacts_visit_check CHECK (visit >= 1),
    CONSTRAINT artifacts_size_bytes_check CHECK (size_bytes >= 0),
    CONSTRAINT artifacts_summary_check CHECK (length(summary) <= 256)
);

CREATE UNIQUE INDEX artifacts_upload_id_key ON artifacts (upload_id) WHERE upload_id IS NOT NULL;

-- 32 bytes of sha256 for each MiB of a file that is larger than one: what a read is verified by.
CREATE TABLE artifact_chunks (
    artifact_id BIGINT PRIMARY KEY REFERENCES artifacts (id) ON DELETE CASCADE,
    digests     BYTEA NOT NULL CHECK (octet_length(digests) % 32 = 0)
);

ALTER TABLE artifact_chunks ALTER COLUMN digests SET STORAGE EXTERNAL; -- ranges are read by offset

-- Which file another was copied from. The parent may be gone when somebody asks.
CREATE TABLE lineage (
    child_path    TEXT COLLATE "C" NOT NULL REFERENCES artifacts (file_path) ON DELETE CASCADE,
    parent_path   TEXT COLLATE "C" NOT NULL,
    parent_digest TEXT NOT NULL,
    json_pointer  TEXT NOT NULL,
    PRIMARY KEY (child_path, parent_path, json_pointer)
);

CREATE INDEX lineage_parent ON lineage (parent_path);

-- Files that are announced and have not come.
CREATE TABLE uploads (
    upload_id  UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    run_id     UUID NOT NULL REFERENCES runs (id),
    step       TEXT NOT NULL,
    name       TEXT NOT NULL,
    file_path  TEXT COLLATE "C" NOT NULL,
    item       INT NOT NULL,
    visit      INT NOT NULL,
    file_type  TEXT NOT NULL,
    digest     TEXT NOT NULL,
    size_bytes BIGINT NOT NULL,
    summary    TEXT NOT NULL,
    metrics    JSONB NOT NULL,
    metadata   JSONB NOT NULL,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    expires_at TIMESTAMPTZ NOT NULL,
    CONSTRAINT uploads_announcement_key UNIQUE (file_path, digest)
);

CREATE INDEX uploads_expiry ON uploads (expires_at);

-- Who writes a path at the moment: one at a time. The row stands from before the first byte until
-- the file's own row stands, so whatever may lie in the store has a row in this table or that one.
CREATE TABLE artifact_writes (
    file_path  TEXT COLLATE "C" PRIMARY KEY,
    run_id     UUID REFERENCES runs (id),
    digest     TEXT,             -- of the bytes on their way; null for the collector, who deletes
    writer     UUID NOT NULL,
    renewed_at TIMESTAMPTZ NOT NULL,
    in_flight  BOOLEAN NOT NULL, -- nobody has seen the end of the writer's request to the store
    doubtful   BOOLEAN NOT NULL  -- the same of an earlier writer's, who had other bytes
) WITH (fillfactor = 70);
