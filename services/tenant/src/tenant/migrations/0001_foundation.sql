-- target: management
-- target: tenant
-- What every database begins with: what has been applied to it, and its audit log.

-- Every migration that has been applied here, by service and number.
CREATE TABLE schema_migrations (
    service    TEXT NOT NULL,
    number     INT NOT NULL,
    name       TEXT NOT NULL,
    digest     TEXT NOT NULL CHECK (digest ~ '^[0-9a-f]{64}$'),
    applied_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (service, number)
);

-- Notes the migration of the transaction. Its service is that of the role which is logged in: no
-- service's file can pass for another's.
CREATE FUNCTION nagaya_note_migration(number INT, name TEXT, digest TEXT) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    service TEXT := substring(session_user::text FROM '^' || current_database() || '_(.+)_mig$');
BEGIN
    IF service IS NULL THEN
        RAISE EXCEPTION 'only a migration role notes migrations' USING ERRCODE = '42501';
    END IF;
    INSERT INTO public.schema_migrations (service, number, name, digest)
    VALUES (replace(service, '_', '-'), $1, $2, $3);
END
$$;

-- Lets the migrations of another service refer to a table of the caller's.
CREATE FUNCTION nagaya_grant(service TEXT, privileges TEXT, relation TEXT) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF privileges !~ '^[A-Za-z, ]+$' THEN
        RAISE EXCEPTION 'no privileges: %', privileges USING ERRCODE = '22023';
    END IF;
    EXECUTE format(
        'GRANT %s ON TABLE public.%I TO %I',
        privileges, relation, current_database() || '_' || replace(service, '-', '_') || '_mig'
    );
END
$$;

CREATE TABLE audit_logs (
    id            BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id       TEXT NOT NULL CHECK (user_id <> ''),
    action        TEXT NOT NULL CHECK (action <> ''),
    resource_type TEXT NOT NULL,
    resource_id   TEXT NOT NULL,
    details       JSONB CHECK (octet_length(details::text) <= 16384), -- never a body
    created_at    TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    sequence      BIGINT NOT NULL UNIQUE,
    database_role TEXT NOT NULL,
    digest        TEXT NOT NULL CHECK (digest ~ '^[0-9a-f]{64}$')
);

-- One row: where the log ends. Locking it makes the sequence free of gaps, and it knows of a tail
-- that somebody has cut off.
CREATE TABLE audit_head (
    only_row BOOLEAN PRIMARY KEY DEFAULT true CHECK (only_row),
    sequence BIGINT NOT NULL,
    digest   TEXT NOT NULL
) WITH (fillfactor = 10);

INSERT INTO audit_head (sequence, digest) VALUES (0, repeat('0', 64));

-- The sha256 of an entry, chained to the one before: over the text of a JSON array, so that anybody
-- can compute it from the columns without this database.
CREATE FUNCTION audit_digest(previous TEXT, entry audit_logs) RETURNS TEXT
LANGUAGE sql STABLE
RETURN encode(
    sha256(
        convert_to(
            jsonb_build_array(
                previous, (entry).sequence, (entry).user_id, (entry).action,
                (entry).resource_type, (entry).resource_id, (entry).details::text,
                (entry).database_role,
                to_char((entry).created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
            )::text,
            'UTF8'
        )
    ),
    'hex'
);

-- Adds an entry and returns its sequence. The last statement of the transaction that it records:
-- from here to its end nobody else can add one.
CREATE FUNCTION audit_append(
    user_id TEXT, action TEXT, resource_type TEXT, resource_id TEXT, details JSONB
) RETURNS BIGINT
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    head  public.audit_head;
    entry public.audit_logs;
BEGIN
    SELECT * INTO STRICT head FROM public.audit_head FOR UPDATE;
    entry.sequence := head.sequence + 1;
    entry.user_id := user_id;
    entry.action := action;
    entry.resource_type := resource_type;
    entry.resource_id := resource_id;
    entry.details := details;
    entry.created_at := clock_timestamp();
    entry.database_role := session_user;
    entry.digest := public.audit_digest(head.digest, entry);
    INSERT INTO public.audit_logs (
        sequence, user_id, action, resource_type, resource_id, details, created_at,
        database_role, digest
    ) VALUES (
        entry.sequence, entry.user_id, entry.action, entry.resource_type, entry.resource_id,
        entry.details, entry.created_at, entry.database_role, entry.digest
    );
    UPDATE public.audit_head SET sequence = entry.sequence, digest = entry.digest;
    RETURN entry.sequence;
END
$$;

CREATE FUNCTION audit_refuse() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit log can only be added to' USING ERRCODE = '42501';
END
$$;

CREATE TRIGGER audit_logs_append_only
    BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_logs
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();

-- The database's group role, named like it, is everybody who may enter.
DO $$
DECLARE
    everybody TEXT := current_database();
    reader    TEXT := current_database() || '_tenant';
    migrators TEXT;
BEGIN
    SELECT string_agg(format('%I', everybody || '_' || service || '_mig'), ', ')
      INTO migrators
      FROM unnest(ARRAY['tenant', 'runs', 'artifacts', 'llm_gateway']) AS service;
    REVOKE ALL ON SCHEMA public FROM PUBLIC;
    REVOKE ALL ON ALL FUNCTIONS IN SCHEMA public FROM PUBLIC;
    EXECUTE format('GRANT USAGE ON SCHEMA public TO %I', everybody);
    EXECUTE format('GRANT EXECUTE ON FUNCTION audit_append TO %I', everybody);
    EXECUTE format('GRANT SELECT ON audit_logs, audit_head, schema_migrations TO %I', reader);
    EXECUTE format('GRANT EXECUTE ON FUNCTION audit_digest TO %I', reader);
    EXECUTE format('GRANT CREATE ON SCHEMA public TO %s', migrators);
    EXECUTE format('GRANT SELECT ON schema_migrations TO %s', migrators);
    EXECUTE format(
        'GRANT EXECUTE ON FUNCTION nagaya_note_migration, nagaya_grant TO %s', migrators
    );
END
$$;
