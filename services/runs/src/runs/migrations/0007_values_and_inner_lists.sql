-- target: tenant

-- What conditions compare beside metrics: texts of at most 256 characters and booleans, by name.
ALTER TABLE steps ADD COLUMN values JSONB;

-- How long the lists are that a mapped step goes through, where that has to be known: of lists
-- within the outputs of another mapped step, one number for each of its elements. Not in events.
ALTER TABLE steps ADD COLUMN list_sizes INT[];
