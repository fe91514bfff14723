-- target: tenant
-- One row: the tenant that the database belongs to. Services look at it before they trust an address.
CREATE TABLE tenant_identity (
    tenant_id TEXT NOT NULL,
    only_row  BOOLEAN PRIMARY KEY DEFAULT true CHECK (only_row)
);

DO $$
BEGIN
    EXECUTE format('GRANT SELECT ON tenant_identity TO %I', current_database());
    EXECUTE format('GRANT INSERT ON tenant_identity TO %I', current_database() || '_tenant');
END
$$;
