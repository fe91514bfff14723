-- target: tenant

-- When the next run may start, where a tenant's runs start at a limited rate. One row at most.
CREATE TABLE start_rate (
    one        BOOL PRIMARY KEY DEFAULT true CHECK (one),
    next_start TIMESTAMPTZ NOT NULL
);
