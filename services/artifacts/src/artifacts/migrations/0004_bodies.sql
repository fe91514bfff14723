-- target: tenant
-- The bytes of small files that are committed, until it is known that the object store has them. The
-- statement that commits such a file inserts its bytes here, so a process may die at any instant.

CREATE TABLE artifact_bodies (
    file_path  TEXT COLLATE "C" PRIMARY KEY,
    body       BYTEA NOT NULL,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now()
);

ALTER TABLE artifact_bodies ALTER COLUMN body SET STORAGE EXTERNAL; -- they stay for a second
