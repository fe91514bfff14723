-- target: tenant
-- Who reads a database as a whole, as its owner, goes on reading the audit log when that has
-- another owner; see `store/audit_owner.py`.
GRANT SELECT ON audit_logs, audit_unchained, audit_head TO pg_database_owner;
GRANT SELECT ON SEQUENCE audit_logs_id_seq TO pg_database_owner;
GRANT USAGE ON SCHEMA public TO pg_database_owner;
