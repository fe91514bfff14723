/**
 * The whole main job: a tenant with prompts and a pipeline, a run of an uploaded input, watched to
 * its end, its result fetched and verified, its cost; and one refusal.
 *
 *   NAGAYA_TENANT_ADDRESS=… NAGAYA_RUNS_ADDRESS=… NAGAYA_ARTIFACTS_ADDRESS=… \
 *   NAGAYA_TOKEN_FILE=var/dev/tokens/operator.jwt node dist/examples/article.js TENANT article.json
 */
import { fromJson } from "@bufbuild/protobuf";
import { PipelineSpecSchema } from "@nagaya/client/nagaya/runs/v1/pipeline_pb";
import { RunState, StepState } from "@nagaya/client/nagaya/runs/v1/run_pb";
import { ApiError, connect, type NodeClient, settingsFromEnvironment } from "@nagaya/client/node";

const PROMPTS = {
  outline: "Plan an article on {{topic}} for {{audience}}: a title, and three sections.",
  polish: "Write this article in Markdown: {{outline}}",
};
// The JSON form of a pipeline has the names that its YAML has.
const PIPELINE = fromJson(PipelineSpecSchema, {
  steps: [
    {
      step: "outline",
      needs: ["input"],
      llm: {
        bindings: [
          { variable: "topic", output: { step: "input", jsonPointer: "/topic" } },
          { variable: "audience", output: { step: "input", jsonPointer: "/audience" } },
        ],
        maxOutputTokens: 1200,
      },
    },
    {
      step: "polish",
      needs: ["outline"],
      llm: {
        bindings: [{ variable: "outline", output: { step: "outline" } }],
        maxOutputTokens: 2000,
      },
    },
  ],
});
const INPUT = { topic: "heat pumps in old buildings", audience: "architects" };

async function main(tenantId: string, file: string): Promise<void> {
  const client = connect(settingsFromEnvironment());
  try {
    await prepare(client, tenantId);
    const runId = await start(client, tenantId);
    console.log(`run ${runId}`);

    const outputs = await watch(client, tenantId, runId);
    const path = outputs.get("polish") ?? "";
    const artifact = await client.download({ tenantId, path }, file);
    console.log(`file ${artifact.path} ${artifact.sizeBytes} bytes, sha256 ${artifact.digest}`);

    const { run } = await client.runs.getRun({ tenantId, runId });
    const { inputTokens = 0n, outputTokens = 0n, costMicroUsd = 0n } = run?.totals ?? {};
    console.log(`cost $${Number(costMicroUsd) / 1e6}, ${inputTokens + outputTokens} tokens`);

    await refused(client, tenantId);
  } finally {
    client.close();
  }
}

/** Create the tenant, which is a database of its own, with prompts and a pipeline. */
async function prepare(client: NodeClient, tenantId: string): Promise<void> {
  const { tenant } = await client.tenants.createTenant({ tenantId, name: tenantId });
  console.log(`tenant ${tenantId} database ${tenant?.database}`);
  for (const [step, content] of Object.entries(PROMPTS)) {
    const created = await client.prompts.createPromptVersion({ tenantId, step, content });
    const version = created.promptVersion?.version ?? 0;
    await client.prompts.activatePromptVersion({ tenantId, step, version });
  }
  await client.pipelines.createPipelineVersion({ tenantId, pipeline: "article", spec: PIPELINE });
}

/** Create a run that waits for its input, upload that, and start the run. */
async function start(client: NodeClient, tenantId: string): Promise<string> {
  const { run } = await client.runs.createRun({
    tenantId,
    pipeline: "article",
    input: { case: "hold", value: true },
  });
  const runId = run?.runId ?? "";
  const input = new TextEncoder().encode(JSON.stringify(INPUT));
  await client.upload(tenantId, { runId, step: "input" }, input);
  await client.runs.startRun({ tenantId, runId });
  return runId;
}

/** Print each event of a run until it has completed; return the outputs by step. */
async function watch(
  client: NodeClient,
  tenantId: string,
  runId: string,
): Promise<Map<string, string>> {
  const outputs = new Map<string, string>();
  let state = RunState.UNSPECIFIED;
  for await (const { sequence, event } of client.watchRun({ tenantId, runId })) {
    if (event.case === "run") {
      state = event.value.state;
      console.log(`${sequence} run ${RunState[state]}`);
    } else if (event.case === "step") {
      const { step, llmModel, output } = event.value;
      console.log(`${sequence} ${step} ${StepState[event.value.state]} ${llmModel}`.trimEnd());
      outputs.set(step, output?.outputPath ?? "");
    }
  }
  if (state !== RunState.COMPLETED) {
    throw new Error(`the run ended as ${RunState[state]}`);
  }
  return outputs;
}

/** A refusal has a reason, which programs compare, and a message with its hint for people. */
async function refused(client: NodeClient, tenantId: string): Promise<void> {
  const input = { case: "inlineJson" as const, value: "{}" };
  try {
    await client.runs.createRun({ tenantId, pipeline: "nosuch", input });
  } catch (error) {
    if (!(error instanceof ApiError && error.reason === "ERROR_REASON_PIPELINE_NOT_FOUND")) {
      throw error;
    }
    console.log(`refused ${error.reason}: ${error.message} (request ${error.requestId})`);
  }
}

const [tenantId = "acme", file = "article.json"] = process.argv.slice(2);
await main(tenantId, file);
