-- target: management
-- The tenants, where their databases are, how services log in to them, and what is applied to them.

-- One row: what the databases that this registry has made are marked with.
CREATE TABLE installation (
    id       UUID NOT NULL DEFAULT gen_random_uuid(),
    only_row BOOLEAN PRIMARY KEY DEFAULT true CHECK (only_row)
);

INSERT INTO installation DEFAULT VALUES;

CREATE TABLE db_servers (
    id         TEXT PRIMARY KEY,
    host       TEXT NOT NULL,
    port       INT NOT NULL CHECK (port BETWEEN 1 AND 65535),
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now()
);

CREATE TABLE tenants (
    id           TEXT PRIMARY KEY CHECK (id ~ '^[a-z][a-z0-9-]{1,38}[a-z0-9]$'),
    name         TEXT NOT NULL,
    database_url TEXT NOT NULL, -- sealed; the login of the tenant service's own role
    created_at   TIMESTAMPTZ NOT NULL DEFAULT now(),
    is_active    BOOLEAN NOT NULL DEFAULT true,
    state        TEXT NOT NULL CHECK (state IN ('creating', 'active', 'suspended')),
    generation   BIGINT NOT NULL DEFAULT 0, -- 1 once created
    server_id    TEXT NOT NULL REFERENCES db_servers (id),
    db_name      TEXT NOT NULL,
    steward      TEXT NOT NULL, -- the role that manages the database and its roles
    request_id   TEXT NOT NULL CONSTRAINT tenants_request_id_key UNIQUE,
    updated_at   TIMESTAMPTZ NOT NULL DEFAULT now(),
    UNIQUE (server_id, db_name),
    CHECK (is_active = (state = 'active'))
);

-- Every process of the tenant service listens, and tells those who watch.
CREATE FUNCTION tenants_changed() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('tenants', coalesce(NEW.id, OLD.id));
    RETURN NULL;
END
$$;

CREATE TRIGGER tenants_changed
    AFTER INSERT OR UPDATE OR DELETE ON tenants
    FOR EACH ROW EXECUTE FUNCTION tenants_changed();

-- The password of each service's role on a tenant's database.
CREATE TABLE tenant_credentials (
    tenant_id        TEXT NOT NULL REFERENCES tenants (id),
    service          TEXT NOT NULL,
    generation       BIGINT NOT NULL,
    sealed           TEXT NOT NULL,
    connection_limit INT NOT NULL CHECK (connection_limit > 0),
    PRIMARY KEY (tenant_id, service)
);

-- The same for this database.
CREATE TABLE management_credentials (
    service          TEXT PRIMARY KEY,
    generation       BIGINT NOT NULL,
    sealed           TEXT NOT NULL,
    connection_limit INT NOT NULL CHECK (connection_limit > 0)
);

CREATE TABLE published_migrations (
    service      TEXT NOT NULL,
    target       TEXT NOT NULL CHECK (target IN ('management', 'tenant')),
    number       INT NOT NULL CHECK (number > 0),
    name         TEXT NOT NULL,
    requires     JSONB NOT NULL, -- [[service, number], ...]
    sql          TEXT NOT NULL,
    digest       TEXT NOT NULL CHECK (digest ~ '^[0-9a-f]{64}$'),
    published_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (service, target, number)
);

-- What each database's own ledger said last. The ledger is the truth: this tells, without entering
-- 1,000 databases, which of them have something to catch up with.
CREATE TABLE schema_states (
    tenant_id      TEXT NOT NULL, -- empty for this database
    service        TEXT NOT NULL,
    applied_number INT NOT NULL,
    applied_at     TIMESTAMPTZ,
    failure        TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (tenant_id, service)
);

-- Work of several steps, and the last of them that is done.
CREATE TABLE sagas (
    id         UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    kind       TEXT NOT NULL CHECK (kind IN ('create')),
    tenant_id  TEXT NOT NULL REFERENCES tenants (id),
    step       TEXT NOT NULL DEFAULT '',
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    UNIQUE (kind, tenant_id)
);

DO $$
DECLARE
    service TEXT := current_database() || '_tenant';
BEGIN
    EXECUTE format('GRANT SELECT ON installation, published_migrations TO %I', service);
    EXECUTE format('GRANT INSERT, UPDATE ON published_migrations TO %I', service);
    EXECUTE format(
        'GRANT SELECT, INSERT, UPDATE ON tenants, tenant_credentials, management_credentials,
            db_servers, schema_states, sagas TO %I',
        service
    );
END
$$;
