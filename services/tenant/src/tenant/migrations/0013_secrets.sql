-- target: management
-- The keys that encrypt secrets, where a key management service keeps the key that encrypts them.
CREATE TABLE data_keys (
    key_id      TEXT PRIMARY KEY CHECK (key_id ~ '^[a-z0-9]+$'),
    service     TEXT NOT NULL, -- which key management service, and which key of it
    wrapped     TEXT NOT NULL, -- encrypted by it
    active_from TIMESTAMPTZ NOT NULL, -- later than its creation, so that every process has it by then
    created_at  TIMESTAMPTZ NOT NULL DEFAULT now()
);

-- The next passwords of a database's roles, while they are being changed: until the server has
-- them and the registry does, services are told both. The empty tenant is this database.
CREATE TABLE next_credentials (
    tenant_id    TEXT NOT NULL,
    server_id    TEXT NOT NULL,
    db_name      TEXT NOT NULL,
    service      TEXT NOT NULL,
    operation_id TEXT NOT NULL,
    sealed       TEXT NOT NULL,
    PRIMARY KEY (tenant_id, service)
);

-- Every process of the tenant service tells the others' processes to log in anew.
CREATE FUNCTION management_credentials_changed() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pg_notify('tenants', '');
    RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION management_credentials_changed FROM PUBLIC;

CREATE TRIGGER management_credentials_changed
    AFTER UPDATE OF generation ON management_credentials
    FOR EACH STATEMENT EXECUTE FUNCTION management_credentials_changed();

DO $$
BEGIN
    EXECUTE format(
        'GRANT SELECT, INSERT ON data_keys TO %1$I;
         GRANT SELECT, INSERT, UPDATE, DELETE ON next_credentials TO %1$I',
        current_database() || '_tenant'
    );
END
$$;
