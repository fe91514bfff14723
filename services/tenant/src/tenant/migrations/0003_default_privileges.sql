-- target: tenant
-- A function is executable by everybody until that is taken back; 0001 did so for what there was.
-- In a copy of a template this holds for the template's role: files after this one revoke it too.
ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
