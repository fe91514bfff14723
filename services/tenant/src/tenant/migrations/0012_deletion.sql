-- target: management
-- The end of a tenant: deleted (closed, and kept until it is purged), purging, gone. What is left then
-- is its certificate.
ALTER TABLE tenants
    DROP CONSTRAINT tenants_state_check,
    ADD CONSTRAINT tenants_state_check CHECK (
        state IN ('creating', 'active', 'suspended', 'deleted', 'purging')
    ),
    ADD COLUMN deleted_at TIMESTAMPTZ,
    ADD COLUMN purge_at   TIMESTAMPTZ; -- from when on it is purged by itself

CREATE INDEX tenants_purge_at ON tenants (purge_at) WHERE state = 'deleted';

-- One for each purge: the id of a tenant may be used again.
CREATE TABLE deletion_certificates (
    id         UUID PRIMARY KEY, -- the operation's
    tenant_id  TEXT NOT NULL,
    document   BYTEA NOT NULL, -- signed
    created_at TIMESTAMPTZ NOT NULL DEFAULT now()
);

CREATE INDEX deletion_certificates_of_tenant ON deletion_certificates (tenant_id, created_at);

DO $$
DECLARE
    service TEXT := current_database() || '_tenant';
BEGIN
    EXECUTE format('GRANT SELECT, INSERT ON deletion_certificates TO %I', service);
    EXECUTE format('GRANT DELETE ON sagas TO %I', service);
END
$$;
