/**
 * Watch a run to its end: each event on a line of its own, and broken connections on stderr.
 *
 *   NAGAYA_RUNS_ADDRESS=… NAGAYA_TOKEN_FILE=… node dist/examples/watch.js TENANT RUN
 */
import { RunState } from "@nagaya/client/nagaya/runs/v1/run_pb";
import { connect, settingsFromEnvironment } from "@nagaya/client/node";

const [tenantId = "", runId = ""] = process.argv.slice(2);
const client = connect(settingsFromEnvironment());
try {
  const options = {
    onCut: (error: Error) => console.error(`broken: ${error.message}`),
    onResumed: (milliseconds: number) =>
      console.error(`resumed after ${Math.round(milliseconds)} ms`),
  };
  for await (const { sequence, event } of client.watchRun({ tenantId, runId }, options)) {
    console.log(
      `${sequence} ${event.case === "run" ? RunState[event.value.state] : event.value?.step}`,
    );
  }
} finally {
  client.close();
}
