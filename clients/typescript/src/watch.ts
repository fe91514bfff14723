import type { MessageInitShape } from "@bufbuild/protobuf";
import type { Client } from "@connectrpc/connect";
import {
  type RunEvent,
  RunState,
  type RunStep,
  type StepText,
} from "./gen/nagaya/runs/v1/run_pb.js";
import type {
  RunService,
  WatchRunRequestSchema,
  WatchRunResponse,
  WatchStepTextRequestSchema,
  WatchStepTextResponse,
} from "./gen/nagaya/runs/v1/run_service_pb.js";
import { type Operation, OperationState } from "./gen/nagaya/tenant/v1/operation_pb.js";
import type {
  OperationService,
  WatchOperationRequestSchema,
} from "./gen/nagaya/tenant/v1/operation_service_pb.js";
import { interrupted, type WatchOptions, watching } from "./watching.js";

const FINAL: ReadonlySet<RunState> = new Set([
  RunState.COMPLETED,
  RunState.FAILED,
  RunState.CANCELLED,
]);

/** Whether a run has come to its end, for good unless somebody retries it. */
export function isFinal(state: RunState): boolean {
  return FINAL.has(state);
}

/** Yield a run's events after `afterSequence`, in order, without gap, up to its final state. */
export async function* watchRun(
  runs: Client<typeof RunService>,
  request: MessageInitShape<typeof WatchRunRequestSchema>,
  options: WatchOptions,
): AsyncGenerator<RunEvent, void, undefined> {
  let after = BigInt(request.afterSequence ?? 0);
  let final = false;

  async function* inOrder(signal: AbortSignal): AsyncGenerator<WatchRunResponse> {
    final = false;
    for await (const response of runs.watchRun({ ...request, afterSequence: after }, { signal })) {
      if (response.part.case === "event") {
        const { sequence } = response.part.value;
        if (sequence <= after) {
          continue;
        }
        if (sequence !== after + 1n) {
          throw interrupted(`event ${after + 1n} did not come`);
        }
        after = sequence;
      }
      yield response;
    }
  }

  async function ended(): Promise<boolean> {
    if (final) {
      return true;
    }
    // A stream that ended without an error need not have sent everything.
    const { tenantId = "", runId = "" } = request;
    const call = options.signal ? { signal: options.signal } : {};
    const { run } = await runs.getRun({ tenantId, runId }, call);
    return run !== undefined && isFinal(run.state) && run.lastSequence <= after;
  }

  for await (const { part } of watching(inOrder, ended, options)) {
    if (part.case === "event") {
      const { event } = part.value;
      // A run that was retried has reached a final state more than once: only the last one ends.
      final = event.case === "run" && isFinal(event.value.state);
      yield part.value;
    }
  }
}

/**
 * Yield the text with which a model answers a step, as it comes, and at last the step.
 *
 * When the attempt of a text is another than before, what came of the one before is void.
 */
export async function* watchStepText(
  runs: Client<typeof RunService>,
  request: MessageInitShape<typeof WatchStepTextRequestSchema>,
  options: WatchOptions,
): AsyncGenerator<StepText | RunStep, void, undefined> {
  let place = { attempt: request.attempt ?? 0, offset: BigInt(request.offset ?? 0) };
  let done = false;
  const open = (signal: AbortSignal): AsyncIterable<WatchStepTextResponse> =>
    runs.watchStepText({ ...request, ...place }, { signal });

  for await (const { part } of watching(open, () => done, options)) {
    if (part.case === "text") {
      const { attempt, offset, text } = part.value;
      // Offsets count code points; a string's length counts halves of surrogate pairs.
      place = { attempt, offset: offset + BigInt([...text].length) };
      yield part.value;
    } else if (part.case === "step") {
      done = true;
      yield part.value;
    }
  }
}

/** Yield an operation as it is, then whenever it has changed, up to its end. */
export async function* watchOperation(
  operations: Client<typeof OperationService>,
  request: MessageInitShape<typeof WatchOperationRequestSchema>,
  options: WatchOptions,
): AsyncGenerator<Operation, void, undefined> {
  let done = false;
  const open = (signal: AbortSignal) => operations.watchOperation(request, { signal });
  for await (const { operation } of watching(open, () => done, options)) {
    if (operation) {
      done = operation.state !== OperationState.RUNNING;
      yield operation;
    }
  }
}
