#!/bin/sh
# Run once, when the cluster is made: the provisioner and the management database, and Temporal's.
set -eu
psql --no-psqlrc --set=ON_ERROR_STOP=1 --username="$POSTGRES_USER" --dbname=postgres \
    --set=nagaya="$NAGAYA_PG_PASSWORD" --set=temporal="$TEMPORAL_PG_PASSWORD" <<'SQL'
CREATE ROLE nagaya_provisioner LOGIN CREATEDB CREATEROLE REPLICATION PASSWORD :'nagaya';
CREATE ROLE temporal LOGIN PASSWORD :'temporal';
CREATE DATABASE nagaya OWNER nagaya_provisioner;
CREATE DATABASE temporal OWNER temporal;
CREATE DATABASE temporal_visibility OWNER temporal;
REVOKE CONNECT ON DATABASE postgres, template1, nagaya, temporal, temporal_visibility FROM PUBLIC;
GRANT pg_checkpoint, pg_create_subscription TO nagaya_provisioner;
\connect nagaya
GRANT EXECUTE ON FUNCTION pg_switch_wal(), pg_ls_waldir() TO nagaya_provisioner;
SQL
