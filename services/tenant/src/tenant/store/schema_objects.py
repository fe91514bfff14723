"""The objects of a database, read from its system catalogues; any role that connects may.

One row for each object: its kind, its name, and its definition as text. Objects of schema `public`
are named without it. Not read: what belongs to an extension, and schema `nagaya_audit`, which only
a superuser enters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataplane.pools import Connection

_COMMON = """
    -- schemas of the services and of tenants
    ns AS (
        SELECT oid, nspname, nspowner, nspacl,
               CASE nspname WHEN 'public' THEN '' ELSE nspname || '.' END AS prefix
          FROM pg_namespace
         WHERE nspname !~ '^pg_' AND nspname NOT IN ('information_schema', 'nagaya_audit')
    ),
    -- what belongs to an extension
    member AS (SELECT classid, objid FROM pg_depend WHERE deptype = 'e'),
    -- tables, views, sequences and row types
    rel AS (
        SELECT c.*, prefix || relname AS name,
               CASE relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view'
                            WHEN 'S' THEN 'sequence' WHEN 'f' THEN 'foreign table'
                            WHEN 'c' THEN 'type' ELSE 'table' END AS kind
          FROM pg_class AS c JOIN ns ON ns.oid = relnamespace
         WHERE relkind IN ('r', 'p', 'v', 'm', 'S', 'f', 'c')
           AND NOT EXISTS (SELECT FROM member
                            WHERE objid = c.oid AND classid = 'pg_class'::regclass)
    ),
    -- functions
    func AS (
        SELECT p.*, format('%s%s(%s)', prefix, proname, pg_get_function_identity_arguments(p.oid))
               AS name
          FROM pg_proc AS p JOIN ns ON ns.oid = pronamespace
         WHERE NOT EXISTS (SELECT FROM member WHERE objid = p.oid AND classid = 'pg_proc'::regclass)
    ),
    -- enumerations, domains and ranges
    typ AS (
        SELECT t.*, prefix || typname AS name
          FROM pg_type AS t JOIN ns ON ns.oid = typnamespace
         WHERE typtype IN ('e', 'd', 'r')
           AND NOT EXISTS (SELECT FROM member WHERE objid = t.oid AND classid = 'pg_type'::regclass)
    ),
    -- default privileges
    new AS (
        SELECT defaclacl, defaclrole,
               format('new %s of %s',
                   CASE defaclobjtype WHEN 'r' THEN 'tables' WHEN 'S' THEN 'sequences'
                        WHEN 'f' THEN 'functions' WHEN 'T' THEN 'types' ELSE 'schemas' END,
                   pg_get_userbyid(defaclrole)) AS new
          FROM pg_default_acl
    )
"""
_TABLES = """
    SELECT kind, name,
           concat_ws(' ',
               CASE relpersistence WHEN 'u' THEN 'unlogged' END,
               CASE WHEN relrowsecurity THEN 'row level security' END,
               CASE WHEN relforcerowsecurity THEN 'forced' END,
               CASE WHEN relreplident <> 'd' AND relkind = 'r'
                    THEN 'replica identity ' || relreplident::text END,
               'with ' || reloptions::text,
               'partition by ' || pg_get_partkeydef(oid),
               pg_get_expr(relpartbound, oid),
               'inherits ' || (SELECT string_agg(inhparent::regclass::text, ', ' ORDER BY inhseqno)
                                 FROM pg_inherits WHERE inhrelid = rel.oid),
               CASE WHEN relkind IN ('v', 'm') THEN pg_get_viewdef(oid) END,
               (SELECT format('%s start %s by %s from %s to %s cache %s%s', seqtypid::regtype,
                              seqstart, seqincrement, seqmin, seqmax, seqcache,
                              CASE WHEN seqcycle THEN ' cycle' END)
                  FROM pg_sequence WHERE seqrelid = rel.oid))
      FROM rel
     UNION ALL
    SELECT 'column', name || '.' || attname,
           concat_ws(' ', format_type(atttypid, atttypmod),
               CASE WHEN attcollation <> typcollation THEN attcollation::regcollation::text END,
               CASE WHEN attnotnull THEN 'NOT NULL' END,
               CASE attidentity WHEN 'a' THEN 'always identity'
                                WHEN 'd' THEN 'default identity' END,
               attoptions::text)
      FROM rel JOIN pg_attribute ON attrelid = rel.oid JOIN pg_type AS t ON t.oid = atttypid
     WHERE attnum > 0 AND NOT attisdropped AND relkind <> 'S'
     UNION ALL
    SELECT 'default', name || '.' || attname,
           concat_ws(' ', CASE WHEN attgenerated <> '' THEN 'generated ' || attgenerated::text END,
               pg_get_expr(adbin, adrelid))
      FROM rel JOIN pg_attrdef ON adrelid = rel.oid
      JOIN pg_attribute ON attrelid = adrelid AND attnum = adnum
     UNION ALL
    SELECT 'constraint', rel.name || '.' || conname,
           concat_ws(' ', pg_get_constraintdef(k.oid),
               CASE WHEN EXISTS (SELECT FROM pg_trigger WHERE tgconstraint = k.oid
                                    AND tgenabled <> 'O') THEN 'not enforced' END,
               CASE WHEN EXISTS (SELECT FROM pg_index WHERE indexrelid = conindid
                                    AND NOT indisvalid) THEN 'index not valid' END)
      FROM rel JOIN pg_constraint AS k ON conrelid = rel.oid
     WHERE contype NOT IN ('n', 't')
     UNION ALL
    SELECT 'index', ns.prefix || i.relname,
           concat_ws(' ', pg_get_indexdef(indexrelid),
               CASE WHEN NOT (indisvalid AND indisready AND indislive) THEN 'not valid' END)
      FROM pg_index JOIN pg_class AS i ON i.oid = indexrelid JOIN ns ON ns.oid = i.relnamespace
      JOIN rel ON rel.oid = indrelid
     WHERE NOT EXISTS (SELECT FROM pg_constraint
                        WHERE conindid = indexrelid AND contype IN ('p', 'u', 'x'))
     UNION ALL
    SELECT 'trigger', name || '.' || tgname,
           concat_ws(' ', pg_get_triggerdef(t.oid),
               CASE WHEN tgenabled <> 'O' THEN 'mode ' || tgenabled::text END)
      FROM rel JOIN pg_trigger AS t ON tgrelid = rel.oid
     WHERE NOT tgisinternal
     UNION ALL
    SELECT 'rule', name || '.' || rulename,
           concat_ws(' ', pg_get_ruledef(w.oid),
               CASE WHEN ev_enabled <> 'O' THEN 'mode ' || ev_enabled::text END)
      FROM rel JOIN pg_rewrite AS w ON ev_class = rel.oid
     WHERE rulename <> '_RETURN'
     UNION ALL
    SELECT 'policy', name || '.' || polname,
           concat_ws(' ', CASE WHEN polpermissive THEN 'permissive' ELSE 'restrictive' END,
               'for ' || polcmd::text,
               'to ' || (SELECT string_agg(coalesce(rolname, 'PUBLIC'), ', ' ORDER BY rolname)
                           FROM unnest(polroles) AS r (id) LEFT JOIN pg_roles ON pg_roles.oid = id),
               'using ' || pg_get_expr(polqual, polrelid),
               'check ' || pg_get_expr(polwithcheck, polrelid))
      FROM rel JOIN pg_policy ON polrelid = rel.oid
     UNION ALL
    SELECT 'statistics', ns.prefix || stxname, pg_get_statisticsobjdef(s.oid)
      FROM pg_statistic_ext AS s JOIN ns ON ns.oid = stxnamespace
"""
_OTHERS = """
    SELECT 'function', name,
           CASE prokind WHEN 'a'
                THEN (SELECT format('aggregate %s %s %s', aggtransfn, aggfinalfn, agginitval)
                        FROM pg_aggregate WHERE aggfnoid = func.oid)
                ELSE pg_get_functiondef(oid) END
      FROM func
     UNION ALL
    SELECT 'type', name,
           concat_ws(' ', CASE typtype WHEN 'd' THEN format_type(typbasetype, typtypmod) END,
               CASE WHEN typnotnull THEN 'NOT NULL' END, typdefault,
               (SELECT string_agg(quote_literal(enumlabel), ', ' ORDER BY enumsortorder)
                  FROM pg_enum WHERE enumtypid = typ.oid),
               (SELECT rngsubtype::regtype::text FROM pg_range WHERE rngtypid = typ.oid))
      FROM typ
     UNION ALL
    SELECT 'constraint', name || '.' || conname, pg_get_constraintdef(k.oid)
      FROM typ JOIN pg_constraint AS k ON contypid = typ.oid AND contype <> 'n'
     UNION ALL
    SELECT 'schema', nspname, '' FROM ns
     UNION ALL
    SELECT 'extension', extname, extversion FROM pg_extension WHERE extname <> 'plpgsql'
     UNION ALL
    SELECT 'event trigger', evtname,
           format('%s %s %s %s', evtevent, evttags, evtfoid::regproc, evtenabled)
      FROM pg_event_trigger
     UNION ALL
    SELECT 'setting', coalesce('of ' || rolname, 'of the database'), setconfig::text
      FROM pg_db_role_setting LEFT JOIN pg_roles ON pg_roles.oid = setrole
     WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
# Who may do what: an object's kind, name, owner and privileges.
_SECURED = """
    SELECT kind, name, relowner AS owner,
           coalesce(relacl,
               acldefault(CASE relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", relowner)) AS acl
      FROM rel WHERE relkind <> 'c'
     UNION ALL
    SELECT 'column', name || '.' || attname, relowner, attacl
      FROM rel JOIN pg_attribute ON attrelid = rel.oid AND attacl IS NOT NULL
     UNION ALL
    SELECT 'function', name, proowner, coalesce(proacl, acldefault('f', proowner)) FROM func
     UNION ALL
    SELECT 'type', name, typowner, coalesce(typacl, acldefault('T', typowner)) FROM typ
     UNION ALL
    SELECT 'schema', nspname, nspowner, coalesce(nspacl, acldefault('n', nspowner)) FROM ns
"""
_DEFAULTS = """
    SELECT 'default privileges', 'on ' || new, '' FROM new
     UNION ALL
    SELECT 'default privilege',
           format('%s on %s to %s', privilege_type, new, coalesce(rolname, 'PUBLIC')),
           CASE WHEN is_grantable THEN 'with grant option' ELSE '' END
      FROM new, aclexplode(defaclacl) LEFT JOIN pg_roles ON pg_roles.oid = grantee
     WHERE grantee <> defaclrole
"""
_ALL = f"""
WITH {_COMMON}, secured AS ({_SECURED}), object AS ({_TABLES} UNION ALL {_OTHERS})
SELECT kind, name, coalesce(definition, '') AS definition FROM (
    SELECT * FROM object
     UNION ALL
    SELECT 'owner', 'of ' || kind || ' ' || name, pg_get_userbyid(owner)
      FROM secured WHERE kind <> 'column'
     UNION ALL
    SELECT 'grant',
           format('%s on %s %s to %s', privilege_type, kind, name, coalesce(rolname, 'PUBLIC')),
           CASE WHEN is_grantable THEN 'with grant option' ELSE '' END
      FROM secured, aclexplode(acl) LEFT JOIN pg_roles ON pg_roles.oid = grantee
     WHERE grantee <> owner
     UNION ALL
    {_DEFAULTS}
) AS found (kind, name, definition)
"""


async def read(connection: Connection) -> list[tuple[str, str, str]]:
    """Return kind, name and definition of each object, in a transaction of the caller's."""
    # Names outside of it are written with their schema, whatever the role's own path is.
    await connection.execute("SET LOCAL search_path = pg_catalog")
    rows = await connection.fetch(_ALL)
    return [(row["kind"], row["name"], row["definition"]) for row in rows]


async def migrations(connection: Connection) -> list[tuple[str, int, str]]:
    """Return service, number and digest of each migration that the database has recorded.

    None are returned of one that has lost the table.
    """
    if await connection.fetchval("SELECT to_regclass('public.schema_migrations')") is None:
        return []
    rows = await connection.fetch("SELECT service, number, digest FROM public.schema_migrations")
    return [(row["service"], row["number"], row["digest"]) for row in rows]


async def access(connection: Connection) -> list[tuple[str, str, str]]:
    """Return the privileges on the database itself, and what its roles are and belong to.

    In the same form as `read`; another database's roles have other names and memberships.
    """
    rows = await connection.fetch(
        """
        WITH own AS (
            SELECT * FROM pg_roles
             WHERE rolname = current_database()
                OR rolname ~ ('^' || current_database() ||
                              '_(tenant|runs|artifacts|llm_gateway)(_mig)?$')
        )
        SELECT 'owner' AS kind, 'of database D' AS name, pg_get_userbyid(datdba) AS definition
          FROM pg_database WHERE datname = current_database()
         UNION ALL
        SELECT 'grant',
               format('%s on database D to %s', privilege_type, coalesce(rolname, 'PUBLIC')),
               CASE WHEN is_grantable THEN 'with grant option' ELSE '' END
          FROM pg_database, aclexplode(coalesce(datacl, acldefault('d', datdba)))
          LEFT JOIN pg_roles ON pg_roles.oid = grantee
         WHERE datname = current_database() AND grantee <> datdba
         UNION ALL
        SELECT 'role', rolname,
               concat_ws(' ', CASE WHEN rolsuper THEN 'SUPERUSER' END,
                   CASE WHEN rolcreatedb THEN 'CREATEDB' END,
                   CASE WHEN rolcreaterole THEN 'CREATEROLE' END,
                   CASE WHEN rolreplication THEN 'REPLICATION' END,
                   CASE WHEN rolbypassrls THEN 'BYPASSRLS' END, rolconfig::text)
          FROM own
         UNION ALL
        SELECT 'membership', format('of %s in %s', own.rolname, g.rolname),
               CASE WHEN admin_option THEN 'with admin option' ELSE '' END
          FROM own JOIN pg_auth_members AS m ON m.member = own.oid
          JOIN pg_roles AS g ON g.oid = m.roleid
        """
    )
    return [(row["kind"], row["name"], row["definition"]) for row in rows]
