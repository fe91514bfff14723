/** Files arrive whole and verified, or not at all. */
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { mkdtemp, open, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { MessageInitShape } from "@bufbuild/protobuf";
import type { ConnectRouter, HandlerContext } from "@connectrpc/connect";
import {
  ArtifactService,
  type DownloadArtifactRequest,
  type DownloadArtifactResponseSchema,
  type UploadArtifactRequestSchema,
} from "../src/gen/nagaya/artifacts/v1/artifact_service_pb.js";
import { UploadService } from "../src/gen/nagaya/artifacts/v1/upload_service_pb.js";
import { ApiError, BytesCorrupt, Code } from "../src/index.js";
import { connect, NodeClient } from "../src/node.js";
import { MOST_UPLOAD_BYTES, WebClient } from "../src/web.js";
import { cut, KINDS, refusal, serve, until, withClient } from "./server.js";

const PATH = "storage/acme/3f0c0a52-7b5e-4f1c-9d55-0d7a3c1f4b6e/polish/output.json";
const FILE = { tenantId: "acme", path: PATH };
const TARGET = { runId: "3f0c0a52-7b5e-4f1c-9d55-0d7a3c1f4b6e", step: "input" };
const BYTES = randomBytes(700_000);
const DIGEST = createHash("sha256").update(BYTES).digest("hex");
const RECORD = {
  path: PATH,
  digest: DIGEST,
  sizeBytes: BigInt(BYTES.length),
  metrics: { odd: 2n ** 53n + 1n },
};
const UPLOAD_ID = "4c4ad5d6-3f0a-4a52-8d7a-3d1f4b6e9a01";

type Sent = AsyncGenerator<MessageInitShape<typeof DownloadArtifactResponseSchema>>;

async function* sent(offset: bigint, until = BYTES.length, record: object = RECORD): Sent {
  yield { part: { case: "artifact", value: record } };
  for (let at = Number(offset); at < until; at += 65_536) {
    yield { part: { case: "data", value: BYTES.subarray(at, Math.min(at + 65_536, until)) } };
  }
}

function downloads(
  asked: DownloadArtifactRequest[],
  answer: (request: DownloadArtifactRequest, context: HandlerContext) => Sent,
): (router: ConnectRouter) => void {
  return (router) =>
    router.service(ArtifactService, {
      async *downloadArtifact(request, context) {
        asked.push(request);
        yield* answer(request, context);
      },
    });
}

async function inFolder(run: (folder: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "nagaya-"));
  try {
    await run(folder);
  } finally {
    await rm(folder, { recursive: true });
  }
}

for (const kind of KINDS) {
  test(`${kind}: a download that breaks goes on where it broke`, async () => {
    const asked: DownloadArtifactRequest[] = [];
    const answer = async function* (
      request: DownloadArtifactRequest,
      context: HandlerContext,
    ): Sent {
      if (request.offset > 0n) {
        yield* sent(request.offset);
        return;
      }
      yield* sent(0n, 131_072);
      await until(() => arrived.length === 131_072);
      cut(context, "reset");
    };
    let arrived = Buffer.alloc(0);
    await withClient(kind, downloads(asked, answer), async (client) => {
      for await (const chunk of client.read(FILE)) {
        arrived = Buffer.concat([arrived, chunk]);
      }
    });
    assert.deepEqual(arrived, BYTES);
    const [first, second] = asked;
    assert.equal(asked.length, 2);
    assert.deepEqual([first?.offset, first?.digest], [0n, ""]);
    assert.deepEqual([second?.offset, second?.digest], [131_072n, DIGEST]);
  });

  test(`${kind}: only the end of a download may be lost`, async () => {
    const asked: DownloadArtifactRequest[] = [];
    const answer = async function* (_: DownloadArtifactRequest, context: HandlerContext): Sent {
      yield* sent(0n);
      await until(() => arrived === BYTES.length);
      cut(context, "socket");
    };
    let arrived = 0;
    await withClient(kind, downloads(asked, answer), async (client) => {
      const reading = client.read(FILE);
      let result = await reading.next();
      while (!result.done) {
        arrived += result.value.length;
        result = await reading.next();
      }
      assert.equal(result.value.metrics.odd, 9007199254740993n);
    });
    assert.equal(asked.length, 1);
  });

  test(`${kind}: bytes of another digest are refused`, async () => {
    await withClient(
      kind,
      downloads([], () => sent(0n)),
      async (client) => {
        assert.deepEqual(Buffer.from(await client.readAll(FILE)), BYTES);
      },
    );
    const wrong = { ...RECORD, digest: "0".repeat(64) };
    const routes = downloads([], () => sent(0n, BYTES.length, wrong));
    await withClient(kind, routes, async (client) => {
      await assert.rejects(client.readAll(FILE), BytesCorrupt);
    });
  });

  test(`${kind}: a download that ends before the file does goes on`, async () => {
    const asked: DownloadArtifactRequest[] = [];
    const early = (request: DownloadArtifactRequest) =>
      request.offset > 0n ? sent(request.offset) : sent(0n, 131_072);
    await withClient(kind, downloads(asked, early), async (client) => {
      assert.deepEqual(Buffer.from(await client.readAll(FILE)), BYTES);
    });
    assert.deepEqual(
      asked.map(({ offset, digest }) => [offset, digest]),
      [
        [0n, ""],
        [131_072n, DIGEST],
      ],
    );

    const never = downloads([], async function* (): Sent {
      yield { part: { case: "artifact", value: RECORD } };
      yield { part: { case: "data", value: new Uint8Array() } };
    });
    await withClient(kind, never, async (client) => {
      await assert.rejects(
        client.readAll(FILE),
        (error) => error instanceof ApiError && error.code === Code.Unavailable,
      );
    });
  });

  test(`${kind}: a file that is not there is no broken download`, async () => {
    const asked: DownloadArtifactRequest[] = [];
    const routes = downloads(asked, async function* (): Sent {
      throw refusal(Code.NotFound, { reason: "ERROR_REASON_ARTIFACT_NOT_FOUND" });
    });
    await withClient(kind, routes, async (client) => {
      await assert.rejects(
        client.readAll(FILE),
        (error) => error instanceof ApiError && error.reason === "ERROR_REASON_ARTIFACT_NOT_FOUND",
      );
    });
    assert.equal(asked.length, 1);
  });
}

test("node: a downloaded file appears whole under its name, or not at all", async () => {
  await inFolder(async (folder) => {
    await withClient(
      "node",
      downloads([], () => sent(0n)),
      async (client) => {
        assert.ok(client instanceof NodeClient);
        const artifact = await client.download(FILE, join(folder, "article.json"));
        assert.equal(artifact.digest, DIGEST);
      },
    );
    assert.deepEqual(await readFile(join(folder, "article.json")), BYTES);

    const other = { ...RECORD, digest: "0".repeat(64) };
    const wrong = downloads([], () => sent(0n, BYTES.length, other));
    await withClient("node", wrong, async (client) => {
      assert.ok(client instanceof NodeClient);
      await assert.rejects(client.download(FILE, join(folder, "other.json")), BytesCorrupt);
    });
    assert.deepEqual(await readdir(folder), ["article.json"]);
  });
});

test("node: a file that cannot be written ends its stream", { timeout: 20_000 }, async (t) => {
  await inFolder(async (folder) => {
    const handle = await open(join(folder, "any"), "w");
    await handle.close();
    const full = async () => {
      throw new Error("no space left on device");
    };
    t.mock.method(Object.getPrototypeOf(handle) as typeof handle, "writeFile", full);
    let ended: Promise<unknown> = Promise.resolve();
    const answer = async function* (_: DownloadArtifactRequest, context: HandlerContext): Sent {
      ended = new Promise((resolve) => context.signal.addEventListener("abort", resolve));
      yield* sent(0n, 65_536);
      await ended;
    };

    await withClient("node", downloads([], answer), async (client) => {
      assert.ok(client instanceof NodeClient);
      await assert.rejects(client.download(FILE, join(folder, "article.json")), /no space left/);
      await ended;
    });
    assert.deepEqual(await readdir(folder), ["any"]);
  });
});

/** An artifacts service that takes uploads; `breakAt` breaks the first stream behind so many bytes. */
function uploads(
  received: Buffer[][],
  announced: { digest: string; sizeBytes: bigint; name: string }[],
  onStream: (stream: number, context: HandlerContext, bytes: number) => void,
): (router: ConnectRouter) => void {
  return (router) => {
    router.service(UploadService, {
      createUpload({ draft, digest, sizeBytes }) {
        announced.push({ digest, sizeBytes, name: draft?.name ?? "" });
        return { outcome: { case: "upload", value: { uploadId: UPLOAD_ID } } };
      },
    });
    router.service(ArtifactService, {
      async uploadArtifact(requests, context) {
        const chunks: Buffer[] = [];
        received.push(chunks);
        let size = 0;
        for await (const { part } of requests) {
          if (part.case === "data") {
            chunks.push(Buffer.from(part.value));
            size += part.value.length;
          }
          onStream(received.length, context, size);
        }
        return { artifact: RECORD };
      },
    });
  };
}

test("node: a file is uploaded in chunks, by its name or its bytes", async () => {
  await inFolder(async (folder) => {
    const file = join(folder, "input.json");
    await writeFile(file, BYTES);
    const received: Buffer[][] = [];
    const announced: { digest: string; sizeBytes: bigint; name: string }[] = [];
    await withClient(
      "node",
      uploads(received, announced, () => {}),
      async (client) => {
        assert.ok(client instanceof NodeClient);
        const artifact = await client.upload("acme", TARGET, file);
        assert.equal(artifact.digest, DIGEST);
        await client.upload("acme", { ...TARGET, name: "artifacts/a.bin" }, BYTES);
      },
    );
    for (const chunks of received) {
      assert.deepEqual(Buffer.concat(chunks), BYTES);
      assert.ok(Math.max(...chunks.map((chunk) => chunk.length)) <= 262_144);
    }
    const common = { digest: DIGEST, sizeBytes: BigInt(BYTES.length) };
    assert.deepEqual(announced, [
      { ...common, name: "output.json" },
      { ...common, name: "artifacts/a.bin" },
    ]);
  });
});

test("node: an upload that breaks is sent again", async () => {
  const received: Buffer[][] = [];
  const routes = uploads(received, [], (stream, context, bytes) => {
    if (stream === 1 && bytes > 0) {
      cut(context, "reset");
    }
  });
  await withClient("node", routes, async (client) => {
    assert.ok(client instanceof NodeClient);
    await client.upload("acme", TARGET, BYTES);
  });
  assert.equal(received.length, 2);
  assert.deepEqual(Buffer.concat(received[1] ?? []), BYTES);
});

test("node: an upload ends after the time that the settings give", async () => {
  const server = await serve(uploads([], [], () => {}));
  const client = connect({ address: server.address.node, token: "t", timeoutMs: 200 });
  async function* silent(): AsyncGenerator<MessageInitShape<typeof UploadArtifactRequestSchema>> {
    await new Promise((resolve) => setTimeout(resolve, 2_000));
    yield { tenantId: "acme", part: { case: "uploadId", value: UPLOAD_ID } };
  }
  try {
    await assert.rejects(
      client.artifacts.uploadArtifact(silent()),
      (error) => error instanceof ApiError && error.code === Code.DeadlineExceeded,
    );
  } finally {
    client.close();
    await server.close();
  }
});

test("node: a file that is committed already is not sent", async () => {
  const routes = (router: ConnectRouter) =>
    router.service(UploadService, {
      createUpload: () => ({ outcome: { case: "artifact", value: RECORD } }),
    });
  await withClient("node", routes, async (client) => {
    assert.ok(client instanceof NodeClient);
    assert.equal((await client.upload("acme", TARGET, BYTES)).digest, DIGEST);
  });
});

test("node: a file that cannot be read is the file's fault, and is not sent again", async () => {
  await inFolder(async (folder) => {
    const file = join(folder, "input.json");
    await writeFile(file, BYTES);
    const received: Buffer[][] = [];
    const announced: { digest: string; sizeBytes: bigint; name: string }[] = [];
    const routes = (router: ConnectRouter) => {
      uploads(received, [], () => {})(router);
      router.service(UploadService, {
        async createUpload({ digest, sizeBytes }) {
          announced.push({ digest, sizeBytes, name: "" });
          await rm(file); // between the first reading and the second
          return { outcome: { case: "upload", value: { uploadId: UPLOAD_ID } } };
        },
      });
    };
    await withClient("node", routes, async (client) => {
      assert.ok(client instanceof NodeClient);
      await assert.rejects(client.upload("acme", TARGET, file), /ENOENT/);
      await assert.rejects(client.upload("acme", TARGET, file), /ENOENT/);
    });
    assert.equal(announced.length, 1);
  });
});

test("node: a refusal in the middle of an upload keeps its reason", async () => {
  const received: Buffer[][] = [];
  const routes = uploads(received, [], (_, __, bytes) => {
    if (bytes > 0) {
      throw refusal(Code.FailedPrecondition, { reason: "ERROR_REASON_ARTIFACT_CONFLICT" });
    }
  });
  const large = randomBytes(8 << 20); // still being sent when the answer comes
  for (let times = 0; times < 10; times++) {
    await withClient("node", routes, async (client) => {
      assert.ok(client instanceof NodeClient);
      await assert.rejects(
        client.upload("acme", TARGET, large),
        (error) => error instanceof ApiError && error.reason === "ERROR_REASON_ARTIFACT_CONFLICT",
      );
    });
  }
});

test("web: a small file is committed in one message", async () => {
  const sizes: number[] = [];
  const routes = (router: ConnectRouter) =>
    router.service(ArtifactService, {
      batchPutArtifacts({ items }) {
        const [item] = items;
        sizes.push(item?.data.length ?? 0);
        assert.equal(item?.draft?.name, "output.json");
        assert.equal(
          item?.digest,
          createHash("sha256")
            .update(item?.data ?? "")
            .digest("hex"),
        );
        return { results: [{ outcome: { case: "artifact", value: RECORD } }] };
      },
    });
  await withClient("web", routes, async (client) => {
    assert.ok(client instanceof WebClient);
    assert.equal((await client.upload("acme", TARGET, BYTES)).digest, DIGEST);
    assert.equal((await client.upload("acme", TARGET, new Blob([BYTES]))).digest, DIGEST);
    const large = new Uint8Array(MOST_UPLOAD_BYTES + 1);
    await assert.rejects(client.upload("acme", TARGET, large), RangeError);
  });
  assert.deepEqual(sizes, [BYTES.length, BYTES.length]);
});

test("web: a refusal of one file is thrown with its reason", async () => {
  const { create, toBinary } = await import("@bufbuild/protobuf");
  const { ErrorInfoSchema } = await import("../src/gen/google/rpc/error_details_pb.js");
  const info = create(ErrorInfoSchema, { reason: "ERROR_REASON_PATH_RESERVED" });
  const typeUrl = "type.googleapis.com/google.rpc.ErrorInfo";
  const status = {
    code: Code.PermissionDenied,
    message: "The path is another's.",
    details: [{ typeUrl, value: toBinary(ErrorInfoSchema, info) }],
  };
  const routes = (router: ConnectRouter) =>
    router.service(ArtifactService, {
      batchPutArtifacts: () => ({ results: [{ outcome: { case: "status", value: status } }] }),
    });
  await withClient("web", routes, async (client) => {
    assert.ok(client instanceof WebClient);
    await assert.rejects(
      client.upload("acme", TARGET, BYTES),
      (error) => error instanceof ApiError && error.reason === "ERROR_REASON_PATH_RESERVED",
    );
  });
});
