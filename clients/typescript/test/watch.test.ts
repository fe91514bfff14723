/** A watch goes on where it broke: no event is lost and none comes twice. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { MessageInitShape } from "@bufbuild/protobuf";
import type { HandlerContext } from "@connectrpc/connect";
import { type RunEventSchema, RunState, StepState } from "../src/gen/nagaya/runs/v1/run_pb.js";
import {
  RunService,
  type WatchRunRequest,
  type WatchRunResponseSchema,
} from "../src/gen/nagaya/runs/v1/run_service_pb.js";
import { ApiError, type Client, Code, type WatchOptions } from "../src/index.js";
import { CUTS, cut, KINDS, type Kind, refusal, until, withClient } from "./server.js";

const RUN = { tenantId: "acme", runId: "3f0c0a52-7b5e-4f1c-9d55-0d7a3c1f4b6e" };
const LAST = 6n;

type Response = MessageInitShape<typeof WatchRunResponseSchema>;
type Watch = (
  request: WatchRunRequest,
  context: HandlerContext,
  arrived: readonly bigint[],
) => AsyncGenerator<Response>;

function event(sequence: bigint, state?: RunState): Response {
  const value: MessageInitShape<typeof RunEventSchema> = state
    ? { sequence, event: { case: "run", value: { ...RUN, state } } }
    : { sequence, event: { case: "step", value: { step: "draft" } } };
  return { part: { case: "event", value } };
}

function* rest(after: bigint): Generator<Response> {
  for (let sequence = after + 1n; sequence <= LAST; sequence += 1n) {
    yield event(sequence, sequence === LAST ? RunState.COMPLETED : undefined);
  }
}

/** Watch a run to its end; return the numbers of the events and where each stream began. */
async function watched(
  kind: Kind,
  watch: Watch,
  options: WatchOptions = {},
  from = 0n,
): Promise<{ numbers: bigint[]; began: bigint[] }> {
  const numbers: bigint[] = [];
  const began: bigint[] = [];
  await withClient(
    kind,
    (router) =>
      router.service(RunService, {
        async *watchRun(request, context) {
          began.push(request.afterSequence);
          yield* watch(request, context, numbers);
        },
        getRun: () => ({ run: { ...RUN, state: RunState.RUNNING, lastSequence: LAST } }),
      }),
    async (client: Client) => {
      for await (const { sequence } of client.watchRun({ ...RUN, afterSequence: from }, options)) {
        numbers.push(sequence);
      }
    },
  );
  return { numbers, began };
}

for (const kind of KINDS) {
  for (const way of CUTS) {
    test(`${kind}: a watch that breaks by ${way} goes on`, async () => {
      const cuts: ApiError[] = [];
      let resumed = 0;
      const options = {
        onCut: (error: ApiError) => void cuts.push(error),
        onResumed: () => void resumed++,
      };

      const { numbers, began } = await watched(
        kind,
        async function* (request, context, arrived) {
          if (request.afterSequence === 0n) {
            yield event(1n);
            yield event(2n);
            await until(() => arrived.length === 2);
            cut(context, way);
            return;
          }
          yield* rest(request.afterSequence);
        },
        options,
      );

      assert.deepEqual(numbers, [1n, 2n, 3n, 4n, 5n, 6n]);
      assert.deepEqual(began, [0n, 2n]);
      assert.deepEqual([cuts.length, resumed], way === "end" ? [0, 0] : [1, 1]);
    });
  }

  test(`${kind}: a number that is missing or comes twice is not passed on`, async () => {
    const { numbers, began } = await watched(kind, async function* ({ afterSequence: after }) {
      if (after === 0n) {
        yield event(1n);
        yield event(1n);
        yield event(3n);
        return;
      }
      yield { part: { case: "heartbeatSequence", value: after } };
      yield* rest(after - 1n);
    });

    assert.deepEqual(numbers, [1n, 2n, 3n, 4n, 5n, 6n]);
    assert.deepEqual(began, [0n, 1n]);
  });

  test(`${kind}: sequence numbers beyond 2^53 are counted exactly`, async () => {
    const before = 2n ** 53n;
    const { numbers, began } = await watched(
      kind,
      async function* ({ afterSequence }) {
        yield event(afterSequence + 1n, RunState.FAILED);
      },
      {},
      before,
    );

    assert.deepEqual(began, [9007199254740992n]);
    assert.deepEqual(numbers, [9007199254740993n]);
  });

  test(`${kind}: a run that was retried is watched over its first end`, async () => {
    const { numbers } = await watched(kind, async function* () {
      yield event(1n, RunState.FAILED);
      yield event(2n, RunState.RUNNING);
      yield event(3n, RunState.COMPLETED);
    });

    assert.deepEqual(numbers, [1n, 2n, 3n]);
  });

  test(`${kind}: a refusal ends a watch`, async () => {
    const watching = watched(kind, async function* () {
      yield event(1n);
      throw refusal(Code.NotFound, { reason: "ERROR_REASON_RUN_NOT_FOUND" });
    });

    await assert.rejects(
      watching,
      (error) => error instanceof ApiError && error.reason === "ERROR_REASON_RUN_NOT_FOUND",
    );
  });

  test(`${kind}: a defect of the server is no broken connection`, async () => {
    const watching = watched(kind, async function* () {
      yield event(1n);
      throw refusal(Code.Internal, { reason: "ERROR_REASON_INTERNAL" });
    });

    await assert.rejects(watching, /It is so/);
  });

  test(`${kind}: a watch gives up when no server is there for long`, async () => {
    let streams = 0;
    const watching = watched(
      kind,
      async function* () {
        streams += 1;
        if (streams === 1) {
          yield event(1n);
        }
        throw refusal(Code.Unavailable, { reason: "ERROR_REASON_DATABASE_UNAVAILABLE" });
      },
      { reconnectMs: 2_000 },
    );

    await assert.rejects(watching, (error) => error instanceof ApiError && error.transient);
    assert.ok(streams >= 3, `${streams} streams`);
  });

  test(`${kind}: a watch ends when its caller says so`, async () => {
    const stop = new AbortController();
    let ended: Promise<unknown> = Promise.resolve();
    const watching = watched(
      kind,
      async function* (_, context) {
        ended = new Promise((resolve) => context.signal.addEventListener("abort", resolve));
        yield event(1n);
        setTimeout(() => stop.abort(), 50);
        await ended;
      },
      { signal: stop.signal },
    );

    await assert.rejects(
      watching,
      (error) => error instanceof ApiError && error.code === Code.Canceled,
    );
    await ended;
  });

  test(`${kind}: leaving the loop ends the stream at the server`, async () => {
    let ended: Promise<unknown> = Promise.resolve();
    await withClient(
      kind,
      (router) =>
        router.service(RunService, {
          async *watchRun(_, context) {
            ended = new Promise((resolve) => context.signal.addEventListener("abort", resolve));
            yield event(1n);
            await ended;
          },
        }),
      async (client) => {
        for await (const { sequence } of client.watchRun(RUN)) {
          assert.equal(sequence, 1n);
          break;
        }
        await ended;
      },
    );
  });

  test(`${kind}: a step's text goes on behind its characters, not behind half of them`, async () => {
    const began: [number, bigint][] = [];
    const texts: string[] = [];
    await withClient(
      kind,
      (router) =>
        router.service(RunService, {
          async *watchStepText({ attempt, offset }, context) {
            began.push([attempt, offset]);
            if (offset === 0n) {
              yield { part: { case: "text", value: { attempt: 1, offset: 0n, text: "長屋🏠" } } };
              await until(() => texts.length === 1);
              cut(context, "reset");
              return;
            }
            yield { part: { case: "text", value: { attempt: 1, offset, text: "!" } } };
            yield { part: { case: "step", value: { step: "draft", state: StepState.COMPLETED } } };
          },
        }),
      async (client) => {
        for await (const piece of client.watchStepText({ ...RUN, step: "draft" })) {
          texts.push("text" in piece ? piece.text : piece.step);
        }
      },
    );
    assert.deepEqual(began, [
      [0, 0n],
      [1, 3n],
    ]);
    assert.deepEqual(texts, ["長屋🏠", "!", "draft"]);
  });
}

test("a connection that carries nothing is dead", async (t) => {
  const { watching } = await import("../src/watching.js");
  t.mock.timers.enable({ apis: ["setTimeout"] });
  let streams = 0;
  const seen = watching(
    async function* (signal) {
      streams += 1;
      yield streams;
      if (streams === 1) {
        await new Promise((resolve) => signal.addEventListener("abort", resolve));
      }
    },
    () => streams === 2,
    {},
  );

  assert.equal((await seen.next()).value, 1);
  const second = seen.next();
  await tickUntil(t.mock.timers, () => streams === 2);
  assert.equal((await second).value, 2);
  assert.equal((await seen.next()).done, true);
});

test("a watch goes on no earlier than the service has said", async (t) => {
  const { watching } = await import("../src/watching.js");
  t.mock.method(Math, "random", () => 0);
  const began: number[] = [];
  const busy = new ApiError({ code: Code.ResourceExhausted, message: "busy", retryAfterMs: 400 });
  const open = async function* () {
    began.push(performance.now());
    if (began.length === 1) {
      throw busy;
    }
    yield 1;
  };

  for await (const number of watching(open, () => true, {})) {
    assert.equal(number, 1);
  }
  const [first = 0, second = 0] = began;
  assert.ok(second - first >= 398, `after ${second - first} ms`); // a timer may be 1 ms early
});

async function tickUntil(timers: { tick(milliseconds: number): void }, done: () => boolean) {
  let waited = 0;
  while (!done()) {
    assert.ok(waited < 40_000, "the stream was never given up");
    await new Promise((resolve) => setImmediate(resolve));
    timers.tick(1000);
    waited += 1000;
  }
  assert.ok(waited >= 32_000, `given up after ${waited} ms`);
}
