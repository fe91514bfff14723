-- target: tenant
-- requires: runs 1

-- Whether a run waits for its input; null if there is no such run. It is all that the service reads
-- of the table of runs.
CREATE FUNCTION run_is_held(run_id UUID) RETURNS BOOL
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT held FROM public.runs WHERE id = run_id
$$;

REVOKE ALL ON FUNCTION run_is_held FROM PUBLIC;

DO $$
BEGIN
    EXECUTE format(
        'GRANT EXECUTE ON FUNCTION run_is_held TO %I', current_database() || '_artifacts'
    );
END
$$;
