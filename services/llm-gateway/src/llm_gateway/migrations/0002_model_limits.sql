-- target: management
-- The limits of four models, which 0001 gave smaller than their providers do. A model that has been
-- set since stays as it was set.
--   claude-sonnet-5-5  128K out: platform.claude.com, the model's page.
--   gpt-6.2-sol        922,000 in: developers.openai.com, the model's page.
--   gpt-6.2-astra      922,000 in: the same, as apidog.com quotes the model's page on 2026-11-18.
--   gemini-3.8-flash   1,048,576 in: ai.google.dev, the model's page as docs.apiyi.com read it on 2026-09-03.
-- One limit was too large:
--   gemini-4-argon     1,048,576 in and out together, of which a streamed reply may have 65,536:
--                      docs.cloud.google.com, the developer's guide to Gemini 4 Argon.

UPDATE llm_models AS model
   SET max_input_tokens = told.max_input, max_output_tokens = told.max_output
  FROM (VALUES
      ('claude-sonnet-5-5', 1000000, 128000),
      ('gpt-6.2-sol', 922000, 128000),
      ('gpt-6.2-astra', 922000, 128000),
      ('gemini-3.8-flash', 1048576, 65536),
      ('gemini-4-argon', 983040, 65536)
  ) AS told (id, max_input, max_output)
 WHERE model.id = told.id AND model.set_in_version = 1;

UPDATE llm_catalog SET version = version + 1;
