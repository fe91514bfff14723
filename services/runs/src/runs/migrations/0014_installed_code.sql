-- target: tenant

-- What a version needs beside its workers: task queue, functions by step, graph and nodes.
ALTER TABLE pipelines ADD COLUMN code_needs JSONB;
