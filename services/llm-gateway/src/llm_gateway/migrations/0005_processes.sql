-- target: management

-- The processes of the gateway that work now, and where they are reached: a lease's address, which
-- is a row of a tenant's database, is dialled only if it is one of these.
CREATE TABLE llm_gateway_processes (
    process  TEXT PRIMARY KEY,
    endpoint TEXT NOT NULL,
    seen_at  TIMESTAMPTZ NOT NULL
);
