-- target: management
-- target: tenant
-- An entry is only inserted in the transaction of its change, so that writers do not wait for each
-- other. `audit_chain` moves entries into the chain afterwards, many at a time.

-- Committed entries that are not in the chain yet, each with the id that it has in `audit_logs`
-- afterwards. Everything that `audit_logs` refuses is refused here: in the transaction of the change.
CREATE TABLE audit_unchained (
    id            BIGINT PRIMARY KEY DEFAULT nextval('audit_logs_id_seq'),
    user_id       TEXT NOT NULL CHECK (user_id <> ''),
    action        TEXT NOT NULL CHECK (action <> ''),
    resource_type TEXT NOT NULL,
    resource_id   TEXT NOT NULL,
    details       JSONB CHECK (octet_length(details::text) <= 16384), -- never a body
    created_at    TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    database_role TEXT NOT NULL DEFAULT session_user
) WITH (
    -- Rows live for a fraction of a second: vacuum by their number, not by the table's size.
    autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_insert_threshold = -1
);

-- Adds an entry and returns its id. It takes no lock that another writer waits for, so it may stand
-- anywhere in a transaction.
CREATE OR REPLACE FUNCTION audit_append(
    user_id TEXT, action TEXT, resource_type TEXT, resource_id TEXT, details JSONB
) RETURNS BIGINT
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    entry_id BIGINT;
BEGIN
    INSERT INTO public.audit_unchained (user_id, action, resource_type, resource_id, details)
    VALUES ($1, $2, $3, $4, $5)
    RETURNING id INTO entry_id;
    RETURN entry_id;
END
$$;

-- Moves up to `most` entries into the chain, in the order of their ids. Two at once take turns at
-- the head. Returns how many were moved, how many are left (counted only when `most` were moved),
-- and when the oldest of the moved ones was made.
CREATE FUNCTION audit_chain(most INT, OUT chained INT, OUT remaining BIGINT, OUT oldest TIMESTAMPTZ)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
-- The table is mostly dead rows, which only the index skips.
SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE
    head  public.audit_head;
    found public.audit_unchained;
    entry public.audit_logs;
    ids   BIGINT[] := '{}';
BEGIN
    chained := 0;
    remaining := 0;
    IF NOT EXISTS (SELECT FROM public.audit_unchained WHERE id > 0) THEN
        RETURN;
    END IF;
    SELECT * INTO STRICT head FROM public.audit_head FOR UPDATE;
    entry.sequence := head.sequence;
    entry.digest := head.digest;
    FOR found IN SELECT * FROM public.audit_unchained ORDER BY id LIMIT most LOOP
        entry.id := found.id;
        entry.sequence := entry.sequence + 1;
        entry.user_id := found.user_id;
        entry.action := found.action;
        entry.resource_type := found.resource_type;
        entry.resource_id := found.resource_id;
        entry.details := found.details;
        entry.created_at := found.created_at;
        entry.database_role := found.database_role;
        entry.digest := public.audit_digest(entry.digest, entry);
        INSERT INTO public.audit_logs (
            id, sequence, user_id, action, resource_type, resource_id, details, created_at,
            database_role, digest
        ) OVERRIDING SYSTEM VALUE VALUES (
            entry.id, entry.sequence, entry.user_id, entry.action, entry.resource_type,
            entry.resource_id, entry.details, entry.created_at, entry.database_role, entry.digest
        );
        ids := ids || found.id;
        oldest := least(oldest, found.created_at);
    END LOOP;
    chained := cardinality(ids);
    IF chained = 0 THEN
        RETURN; -- another call was faster
    END IF;
    DELETE FROM public.audit_unchained WHERE id = ANY(ids);
    UPDATE public.audit_head SET sequence = entry.sequence, digest = entry.digest;
    IF chained = most THEN
        SELECT count(*) INTO remaining FROM public.audit_unchained;
    END IF;
END
$$;

-- An entry leaves only for the log: whatever else deletes it is refused, whoever asks.
CREATE FUNCTION audit_refuse_loss() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF EXISTS (
        SELECT FROM gone LEFT JOIN public.audit_logs AS kept USING (id)
         WHERE (gone.user_id, gone.action, gone.resource_type, gone.resource_id, gone.details,
                gone.created_at, gone.database_role)
               IS DISTINCT FROM
               (kept.user_id, kept.action, kept.resource_type, kept.resource_id, kept.details,
                kept.created_at, kept.database_role)
    ) THEN
        RAISE EXCEPTION 'the audit log can only be added to' USING ERRCODE = '42501';
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER audit_unchained_kept
    AFTER DELETE ON audit_unchained
    REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse_loss();

CREATE TRIGGER audit_unchained_append_only
    BEFORE UPDATE OR TRUNCATE ON audit_unchained
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();

DO $$
DECLARE
    everybody TEXT := current_database();
    reader    TEXT := current_database() || '_tenant';
BEGIN
    REVOKE ALL ON FUNCTION audit_chain, audit_refuse_loss FROM PUBLIC;
    EXECUTE format('GRANT EXECUTE ON FUNCTION audit_chain TO %I', everybody);
    EXECUTE format('GRANT SELECT ON audit_unchained TO %I', reader);
END
$$;

-- In a database that was copied from a template the function belongs to the template's role, which
-- has no privileges on what this file has made.
ALTER FUNCTION audit_append OWNER TO CURRENT_USER;
