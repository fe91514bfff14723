-- target: tenant
-- Calls that some process holds, or held when it died. They are few, however long the ledger is.

CREATE INDEX llm_calls_open ON llm_calls (id) WHERE lease_owner IS NOT NULL;
