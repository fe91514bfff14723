-- target: management
-- Two rows of 0001 that promise more than the models do. A model that has been set since stays as it
-- was set.
--   gemini-4-argon     takes a temperature and ignores it: dev.to/aihubmix, quoting Google's page.
--   claude-sonnet-5-5  its effort is high unless another is asked for (platform.claude.com, the
--                      model's page), so that it needs as much room to reason as the larger model.
-- Nobody has confirmed that gemini-3.8-flash still takes a temperature: it is called deprecated.

UPDATE llm_models SET temperature = false WHERE id = 'gemini-4-argon' AND set_in_version = 1;

UPDATE llm_models SET reasoning_headroom_tokens = 16384
 WHERE id = 'claude-sonnet-5-5' AND set_in_version = 1;

UPDATE llm_catalog SET version = version + 1;
