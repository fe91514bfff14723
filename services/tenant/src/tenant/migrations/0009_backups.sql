-- target: management
-- Backups of tenants, and when they are made by themselves. The backups themselves lie in the storage
-- for backups; a row without its files is restored by nobody, files without a row are removed.

CREATE TABLE backups (
    id                   UUID PRIMARY KEY, -- that of the operation that makes it
    tenant_id            TEXT NOT NULL,    -- no reference: a backup may be kept longer than its tenant
    folder               TEXT NOT NULL,    -- of all backups of the tenant, below the storage's root
    state                TEXT NOT NULL CHECK (state IN ('creating', 'complete', 'deleting')),
    kind                 TEXT NOT NULL CHECK (kind IN ('manual', 'scheduled', 'clone')),
    created_at           TIMESTAMPTZ NOT NULL DEFAULT now(),
    snapshot_at          TIMESTAMPTZ,
    expires_at           TIMESTAMPTZ,
    row_count            BIGINT NOT NULL DEFAULT 0,
    dump_bytes           BIGINT NOT NULL DEFAULT 0,
    object_count         BIGINT NOT NULL DEFAULT 0,
    object_bytes         BIGINT NOT NULL DEFAULT 0,
    new_object_bytes     BIGINT NOT NULL DEFAULT 0,
    manifest_digest      TEXT NOT NULL DEFAULT '',
    verification         TEXT NOT NULL DEFAULT 'never'
        CHECK (verification IN ('never', 'passed', 'failed')),
    verified_at          TIMESTAMPTZ,
    verification_problem TEXT NOT NULL DEFAULT '',
    purged               BOOLEAN NOT NULL DEFAULT false, -- its tenant was purged: the id may be another's
    CHECK (state <> 'complete' OR snapshot_at IS NOT NULL)
);

CREATE INDEX backups_of_tenant ON backups (tenant_id, created_at, id);
CREATE INDEX backups_folder ON backups (folder);
CREATE INDEX backups_expiry ON backups (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE backup_schedules (
    tenant_id         TEXT PRIMARY KEY REFERENCES tenants (id) ON DELETE CASCADE,
    every             INTERVAL NOT NULL CHECK (every >= interval '1 minute'),
    keep_count        INT NOT NULL CHECK (keep_count >= 1),
    keep_for          INTERVAL NOT NULL CHECK (keep_for >= interval '0'),
    verify            BOOLEAN NOT NULL,
    user_id           TEXT NOT NULL, -- who set it, and so who has each backup made
    next_at           TIMESTAMPTZ NOT NULL,
    last_operation_id UUID
);

CREATE INDEX backup_schedules_due ON backup_schedules (next_at);

DO $$
BEGIN
    EXECUTE format(
        'GRANT SELECT, INSERT, UPDATE, DELETE ON backups, backup_schedules TO %I',
        current_database() || '_tenant'
    );
    -- A tenant that never became active is removed again.
    EXECUTE format(
        'GRANT DELETE ON tenants, tenant_credentials, schema_states TO %I',
        current_database() || '_tenant'
    );
END
$$;
