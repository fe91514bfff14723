-- target: management
-- A function is executable by everybody until that is taken back; 0001 did so for what there was.
REVOKE ALL ON FUNCTION tenants_changed FROM PUBLIC;
ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
