/** Creates a run with an uploaded input, or takes one that there is, watches it, shows its result. */
import { RunState, StepState } from "@nagaya/client/nagaya/runs/v1/run_pb";
import { ApiError, connect, type WebClient } from "@nagaya/client/web";

const form = element("form", HTMLFormElement);
const events = element("events", HTMLOListElement);
const outcome = element("outcome", HTMLParagraphElement);
const result = element("result", HTMLPreElement);
const saving = element("file", HTMLParagraphElement);

form.addEventListener("submit", (submitted) => {
  submitted.preventDefault();
  events.replaceChildren();
  outcome.textContent = result.textContent = "";
  saving.replaceChildren();
  job().catch((error: unknown) => {
    const told = error instanceof ApiError ? `${error} ${error.hint}` : String(error);
    outcome.textContent = `refused: ${told.trimEnd()}`;
  });
});

async function job(): Promise<void> {
  const address = { runs: field("runs"), artifacts: field("artifacts") };
  const client = connect({ address, token: field("token") });
  const tenantId = field("tenant");
  const runId = field("run") || (await start(client, tenantId));
  const [state, path] = await watch(client, tenantId, runId);
  if (state !== RunState.COMPLETED) {
    outcome.textContent = `${RunState[state]} ${runId}`;
    return;
  }
  // Its sha256 has been compared with the record's when this returns.
  const file = await client.download({ tenantId, path });
  result.textContent = readable(await file.text());
  offer(file, path.replaceAll("/", "-"));
  outcome.textContent = `COMPLETED ${runId} ${path} ${file.size} bytes`;
}

async function start(client: WebClient, tenantId: string): Promise<string> {
  const input = { case: "hold" as const, value: true };
  const { run } = await client.runs.createRun({ tenantId, pipeline: field("pipeline"), input });
  const runId = run?.runId ?? "";
  await client.upload(tenantId, { runId, step: "input" }, new Blob([field("input")]));
  await client.runs.startRun({ tenantId, runId });
  return runId;
}

/** Show each event until the run has ended; return its state and the output that came last. */
async function watch(
  client: WebClient,
  tenantId: string,
  runId: string,
): Promise<[RunState, string]> {
  let state = RunState.UNSPECIFIED;
  let path = "";
  for await (const { sequence, event } of client.watchRun({ tenantId, runId })) {
    if (event.case === "run") {
      state = event.value.state;
      show(`${sequence} run ${RunState[state]}`);
    } else if (event.case === "step") {
      const { step, llmModel, output } = event.value;
      path = output?.outputPath || path;
      show(`${sequence} ${step} ${StepState[event.value.state]} ${llmModel}`.trimEnd());
    }
  }
  return [state, path];
}

/** Return a text without the quotes that make JSON of it; any other value as it is. */
function readable(json: string): string {
  const value: unknown = JSON.parse(json);
  return typeof value === "string" ? value : json;
}

function offer(file: Blob, name: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(file);
  link.download = name;
  link.textContent = "Save the result";
  saving.append(link);
}

function show(line: string): void {
  const item = document.createElement("li");
  item.textContent = line;
  events.append(item);
}

function field(name: string): string {
  return String(new FormData(form).get(name) ?? "").trim();
}

function element<T extends HTMLElement>(id: string, kind: new () => T): T {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) {
    throw new Error(`the page has no ${id}`);
  }
  return found;
}

// Where the services are, as the page's own server was started with.
const known: Record<string, string> = await (await fetch("config.json")).json();
for (const [name, value] of Object.entries(known)) {
  const input = form.elements.namedItem(name);
  if (input instanceof HTMLInputElement) {
    input.value = value;
  }
}
