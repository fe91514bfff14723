-- target: management
-- A purge deletes the backups of its tenant: none is kept longer.
ALTER TABLE backups DROP COLUMN purged;
