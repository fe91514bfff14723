-- target: management
-- Servers beside the one of this database, and which of them a new tenant's database is made on.
ALTER TABLE db_servers
    ADD COLUMN state TEXT NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'draining')),
    -- How the provisioner logs in, sealed; empty for the server of this database.
    ADD COLUMN provisioner_url TEXT NOT NULL DEFAULT '',
    -- Counts up when provisioner_url changes.
    ADD COLUMN generation BIGINT NOT NULL DEFAULT 0,
    ADD COLUMN labels JSONB NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(labels) = 'object'),
    ADD COLUMN max_tenants INT NOT NULL DEFAULT 0 CHECK (max_tenants >= 0), -- 0: no limit
    -- Connections of all services together; 0: no limit but the processes' own.
    ADD COLUMN connection_budget INT NOT NULL DEFAULT 0 CHECK (connection_budget >= 0),
    ADD COLUMN version TEXT NOT NULL DEFAULT '', -- of PostgreSQL, when it was registered
    ADD COLUMN system_identifier TEXT NOT NULL DEFAULT '', -- which cluster it is
    ADD COLUMN checks JSONB NOT NULL DEFAULT '[]'; -- [[name, passed, consequence, remedy], ...]

-- The labels that the creation asked of the server.
ALTER TABLE tenants
    ADD COLUMN server_labels JSONB NOT NULL DEFAULT '{}' CHECK (
        jsonb_typeof(server_labels) = 'object'
    );

CREATE INDEX tenants_server_id ON tenants (server_id);
