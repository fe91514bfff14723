-- target: management
-- What the paths of a tenant's files begin with, up to the run. Audit entries, events and the outputs of
-- mapped steps hold such paths under digests: so a tenant keeps its prefix in whatever bucket its files
-- lie. Empty for the tenants there are: the name of the bucket, `/` and the tenant's id.
ALTER TABLE tenants ADD COLUMN path_prefix TEXT NOT NULL DEFAULT '';
