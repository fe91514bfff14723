-- target: management
-- Who reads a database as a whole, as its owner, goes on reading the audit log when that has
-- another owner; see `store/audit_owner.py`.
GRANT SELECT ON audit_logs, audit_unchained, audit_head TO pg_database_owner;
GRANT SELECT ON SEQUENCE audit_logs_id_seq TO pg_database_owner;
GRANT USAGE ON SCHEMA public TO pg_database_owner;

-- The anchors of a tenant's audit log are entries of this database's log.
CREATE INDEX audit_logs_anchors ON audit_logs (
    resource_id, (details ->> 'database'), ((details ->> 'sequence')::bigint)
) WHERE action = 'audit.anchor';
