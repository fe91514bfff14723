/** What every call carries, when it ends, when it is repeated, and what it throws. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { HandlerContext } from "@connectrpc/connect";
import { RunService } from "../src/gen/nagaya/runs/v1/run_service_pb.js";
import { TenantService } from "../src/gen/nagaya/tenant/v1/tenant_service_pb.js";
import { ApiError, Code } from "../src/index.js";
import { cut, KINDS, refusal, serve, withClient } from "./server.js";

const RUN = { tenantId: "acme", runId: "3f0c0a52-7b5e-4f1c-9d55-0d7a3c1f4b6e" };
const UNAVAILABLE = { reason: "ERROR_REASON_DATABASE_UNAVAILABLE", domain: "options.nagaya.dev" };

async function thrown(call: Promise<unknown>): Promise<ApiError> {
  const error = await call.then(
    () => assert.fail("the call was answered"),
    (reason: unknown) => reason,
  );
  assert.ok(error instanceof ApiError, String(error));
  return error;
}

function milliseconds(context: HandlerContext): number {
  return context.timeoutMs() ?? Number.POSITIVE_INFINITY;
}

for (const kind of KINDS) {
  test(`${kind}: a refusal tells its reason, fields, request and time`, async () => {
    const details = { reason: "ERROR_REASON_LIMIT_EXCEEDED", domain: "options.nagaya.dev" };
    const metadata = { retry_after_ms: "1500" };
    let calls = 0;
    await withClient(
      kind,
      (router) =>
        router.service(RunService, {
          getRun() {
            calls += 1;
            throw refusal(
              Code.ResourceExhausted,
              { ...details, metadata },
              { retryAfterMs: 1500, violations: [["run_id", "must be a UUID"]], pushback: "-1" },
            );
          },
        }),
      async (client) => {
        const error = await thrown(client.runs.getRun(RUN));

        assert.equal(error.code, Code.ResourceExhausted);
        assert.equal(error.reason, "ERROR_REASON_LIMIT_EXCEEDED");
        assert.equal(error.domain, "options.nagaya.dev");
        assert.deepEqual(error.metadata, metadata);
        assert.deepEqual(error.violations, [{ field: "run_id", description: "must be a UUID" }]);
        assert.equal(error.retryAfterMs, 1500);
        assert.equal(error.requestId, "of-the-server");
        assert.equal(error.message, "It is so. Do something.");
        assert.equal(
          String(error),
          "ResourceExhausted ERROR_REASON_LIMIT_EXCEEDED: It is so. Do something.",
        );
      },
    );
    assert.equal(calls, 1);
  });

  test(`${kind}: a read that finds no server is repeated, with a new token and the same id`, async () => {
    const seen: (string | null)[][] = [];
    let tokens = 0;
    await withClient(
      kind,
      (router) =>
        router.service(RunService, {
          getRun(_, context) {
            const { requestHeader } = context;
            seen.push([requestHeader.get("authorization"), requestHeader.get("x-request-id")]);
            if (seen.length < 3) {
              throw refusal(Code.Unavailable, UNAVAILABLE);
            }
            return { run: RUN };
          },
        }),
      async (client) => {
        const { run } = await client.runs.getRun(RUN);
        assert.equal(run?.runId, RUN.runId);
      },
      async () => `token-${++tokens}`,
    );
    assert.deepEqual(
      seen.map(([token]) => token),
      ["Bearer token-1", "Bearer token-2", "Bearer token-3"],
    );
    assert.match(
      seen[0]?.[1] ?? "",
      /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/,
    );
    assert.equal(new Set(seen.map(([, id]) => id)).size, 1);
  });

  test(`${kind}: a call is repeated four times at most`, async () => {
    let calls = 0;
    await withClient(
      kind,
      (router) =>
        router.service(RunService, {
          getRun() {
            calls += 1;
            throw refusal(Code.Unavailable, UNAVAILABLE);
          },
        }),
      async (client) => {
        const error = await thrown(client.runs.getRun(RUN));
        assert.equal(error.reason, UNAVAILABLE.reason);
      },
    );
    assert.equal(calls, 4);
  });

  test(`${kind}: a server that says so is not asked again`, async () => {
    let calls = 0;
    await withClient(
      kind,
      (router) =>
        router.service(RunService, {
          getRun() {
            calls += 1;
            throw refusal(Code.Unavailable, UNAVAILABLE, { pushback: "-1" });
          },
        }),
      async (client) => {
        assert.equal((await thrown(client.runs.getRun(RUN))).code, Code.Unavailable);
      },
    );
    assert.equal(calls, 1);
  });

  test(`${kind}: a server that names a time is asked again after it`, async () => {
    const times: number[] = [];
    let retryAfterMs = 400;
    await withClient(
      kind,
      (router) =>
        router.service(RunService, {
          getRun() {
            times.push(performance.now());
            if (times.length === 1) {
              throw refusal(Code.Unavailable, UNAVAILABLE, { retryAfterMs });
            }
            return { run: RUN };
          },
        }),
      async (client) => {
        await client.runs.getRun(RUN);
        const [first = 0, second = 0] = times;
        assert.ok(second - first >= 400, `${second - first} ms`);
        // A time that lies behind the deadline is the caller's to wait for.
        times.length = 0;
        retryAfterMs = 60_000;
        const error = await thrown(client.runs.getRun(RUN, { timeoutMs: 10_000 }));
        assert.equal(error.retryAfterMs, 60_000);
      },
    );
    assert.equal(times.length, 1);
  });

  test(`${kind}: a connection that breaks in the middle of a read is made again`, async () => {
    let calls = 0;
    await withClient(
      kind,
      (router) =>
        router.service(RunService, {
          async getRun(_, context) {
            calls += 1;
            if (calls === 1) {
              cut(context, "socket");
              await new Promise((resolve) => setTimeout(resolve, 50));
            }
            return { run: RUN };
          },
        }),
      async (client) => {
        assert.equal((await client.runs.getRun(RUN)).run?.runId, RUN.runId);
      },
    );
    assert.equal(calls, 2);
  });

  test(`${kind}: a creation has one request id, however often it is sent`, async () => {
    const ids: string[] = [];
    await withClient(
      kind,
      (router) =>
        router.service(RunService, {
          createRun({ requestId }) {
            ids.push(requestId);
            if (ids.length === 1) {
              throw refusal(Code.Unavailable, UNAVAILABLE);
            }
            return { run: RUN };
          },
        }),
      async (client) => {
        const request = { tenantId: "acme", pipeline: "article" };
        await client.runs.createRun(request);
        await client.runs.createRun(request);
        await client.runs.createRun({ ...request, requestId: "mine" });
      },
    );
    const [first, again, second, mine] = ids;
    assert.equal(ids.length, 4);
    assert.equal(first, again);
    assert.notEqual(first, second);
    assert.match(second ?? "", /^[0-9a-f-]{36}$/);
    assert.equal(mine, "mine");
  });

  test(`${kind}: a call ends when its time is over, which the contract sets`, async () => {
    const limits: number[] = [];
    await withClient(
      kind,
      (router) => {
        router.service(RunService, {
          async getRun(_, context) {
            limits.push(milliseconds(context));
            await new Promise((resolve) => context.signal.addEventListener("abort", resolve));
            return {};
          },
          listRuns(_, context) {
            limits.push(milliseconds(context));
            return {};
          },
          async *watchRun(_, context) {
            limits.push(milliseconds(context));
          },
        });
        router.service(TenantService, {
          createTenant(_, context) {
            limits.push(milliseconds(context));
            return {};
          },
        });
      },
      async (client) => {
        const error = await thrown(client.runs.getRun(RUN, { timeoutMs: 1_000 }));
        assert.equal(error.code, Code.DeadlineExceeded);
        assert.match(error.hint, /timeoutMs/);
        await client.runs.listRuns({ tenantId: "acme" });
        await client.tenants.createTenant({ tenantId: "acme", name: "Acme" });
        for await (const _ of client.runs.watchRun(RUN)) {
          assert.fail("nothing was sent");
        }
      },
    );
    const [own, usual, long, watch] = limits;
    assert.ok(own !== undefined && own <= 1_000);
    assert.ok(usual !== undefined && usual > 25_000 && usual <= 30_000);
    assert.ok(long !== undefined && long > 115_000 && long <= 120_000);
    assert.equal(watch, Number.POSITIVE_INFINITY);
  });

  test(`${kind}: a call ends when its caller says so, and is not repeated`, async () => {
    const stop = new AbortController();
    let calls = 0;
    await withClient(
      kind,
      (router) =>
        router.service(RunService, {
          async getRun(_, context) {
            calls += 1;
            stop.abort();
            await new Promise((resolve) => context.signal.addEventListener("abort", resolve));
            return {};
          },
        }),
      async (client) => {
        const error = await thrown(client.runs.getRun(RUN, { signal: stop.signal }));
        assert.equal(error.code, Code.Canceled);
        assert.ok(!error.transient);
      },
    );
    assert.equal(calls, 1);
  });

  test(`${kind}: closing the client ends its calls, and none is made afterwards`, async () => {
    let calls = 0;
    await withClient(
      kind,
      (router) =>
        router.service(RunService, {
          async getRun(_, context) {
            calls += 1;
            await new Promise((resolve) => context.signal.addEventListener("abort", resolve));
            return {};
          },
          async *watchRun(_, context) {
            calls += 1;
            yield { part: { case: "heartbeatSequence", value: 0n } };
            await new Promise((resolve) => context.signal.addEventListener("abort", resolve));
          },
        }),
      async (client) => {
        const call = thrown(client.runs.getRun(RUN));
        const watch = thrown(client.watchRun(RUN).next());
        while (calls < 2) {
          await new Promise((resolve) => setTimeout(resolve, 10));
        }
        client.close();
        const late = await thrown(client.runs.getRun(RUN));
        for (const error of [await call, await watch, late]) {
          assert.equal(error.code, Code.Canceled);
          assert.ok(!error.transient);
        }
        assert.equal(late.message, "the client is closed");
      },
    );
    assert.equal(calls, 2);
  });

  test(`${kind}: a server that is not there is named`, async () => {
    const server = await serve(() => {});
    await server.close();
    const { connect } =
      kind === "node" ? await import("../src/node.js") : await import("../src/web.js");
    const client = connect({ address: server.address[kind], token: "t" });

    const error = await thrown(client.runs.getRun(RUN));

    assert.equal(error.code, Code.Unavailable);
    assert.ok(
      error.message.startsWith(`http://${server.address[kind]} cannot be reached: `),
      error.message,
    );
    assert.equal(/NAGAYA_WEB_ORIGINS/.test(error.message), kind === "web");
    assert.match(error.hint, /running/);
    assert.ok(error.transient);
  });

  test(`${kind}: whole numbers beyond 2^53 keep their digits`, async () => {
    const odd = 2n ** 53n + 1n;
    await withClient(
      kind,
      (router) =>
        router.service(RunService, {
          listRuns: ({ filter }) => ({
            runs: [{ totals: { costMicroUsd: filter?.minCostMicroUsd ?? 0n } }],
          }),
          createRun: ({ input }) => ({ run: { configJson: String(input.value) } }),
        }),
      async (client) => {
        const filter = { minCostMicroUsd: odd };
        const { runs } = await client.runs.listRuns({ tenantId: "acme", filter });
        assert.equal(runs[0]?.totals?.costMicroUsd, 9007199254740993n);

        const value = '{"id":9007199254740993,"price":19.90}';
        const input = { case: "inlineJson" as const, value };
        const { run } = await client.runs.createRun({
          tenantId: "acme",
          pipeline: "article",
          input,
        });
        assert.equal(run?.configJson, value);
      },
    );
  });
}

for (const [way, expected] of [
  ["refused", 2], // has certainly not been handled
  ["reset", 1], // may have been
] as const) {
  test(`node: a stream that is ${way} is begun ${expected} times`, async () => {
    let calls = 0;
    await withClient(
      "node",
      (router) =>
        router.service(RunService, {
          async getRun(_, context) {
            calls += 1;
            if (calls === 1) {
              cut(context, way);
              await new Promise((resolve) => setTimeout(resolve, 50));
            }
            return { run: RUN };
          },
        }),
      async (client) => {
        if (way === "refused") {
          assert.equal((await client.runs.getRun(RUN)).run?.runId, RUN.runId);
          return;
        }
        const error = await thrown(client.runs.getRun(RUN));
        assert.equal(error.code, Code.Internal);
        assert.ok(error.transient);
      },
    );
    assert.equal(calls, expected);
  });
}
