#!/bin/sh
# Brings the schemas of Temporal's two databases to the version of these tools; again changes nothing.
set -eu
for name in temporal temporal_visibility; do
    folder=${name#temporal_}
    set -- --plugin postgres12 --ep postgres -p 5432 -u temporal --db "$name"
    temporal-sql-tool "$@" setup-schema -v 0.0
    temporal-sql-tool "$@" update-schema \
        -d "/etc/temporal/schema/postgresql/v12/$folder/versioned"
done
