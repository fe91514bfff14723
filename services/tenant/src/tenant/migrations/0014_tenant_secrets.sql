-- target: management
-- Secrets that services keep for tenants, such as those that sign webhooks; encrypted.
CREATE TABLE tenant_secrets (
    tenant_id  TEXT NOT NULL REFERENCES tenants (id),
    service    TEXT NOT NULL,
    name       TEXT NOT NULL,
    sealed     TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, service, name)
);

DO $$
BEGIN
    EXECUTE format(
        'GRANT SELECT, INSERT, UPDATE, DELETE ON tenant_secrets TO %1$I',
        current_database() || '_tenant'
    );
END
$$;
