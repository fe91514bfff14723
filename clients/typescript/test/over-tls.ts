/**
 * Calls over TLS, with certificates that the caller of this file has made: `ca.pem`, and for
 * `server` and `client` a `.pem` and a `-key.pem`, in the folder that NAGAYA_TEST_CERTIFICATES names.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import http2 from "node:http2";
import type { AddressInfo, Socket } from "node:net";
import { after, before, test } from "node:test";
import type { TLSSocket } from "node:tls";
import { connectNodeAdapter } from "@connectrpc/connect-node";
import { RunService } from "../src/gen/nagaya/runs/v1/run_service_pb.js";
import { ApiError, Code } from "../src/index.js";
import { connect, type NodeSettings, settingsFromEnvironment } from "../src/node.js";

const folder = process.env.NAGAYA_TEST_CERTIFICATES ?? "";
const pem = (name: string) => readFileSync(`${folder}/${name}.pem`, "utf8");
const sockets = new Set<Socket>();
let subjects: (string | undefined)[] = [];
let address = "";

const server = http2.createSecureServer(
  {
    cert: pem("server"),
    key: pem("server-key"),
    ca: pem("ca"),
    requestCert: true,
    rejectUnauthorized: false,
  },
  connectNodeAdapter({ routes: (router) => router.service(RunService, { listRuns: () => ({}) }) }),
);

before(async () => {
  server.on("secureConnection", (socket: TLSSocket) => {
    const { subject } = socket.getPeerCertificate();
    subjects.push(socket.authorized ? String(subject.CN) : undefined);
  });
  server.on("connection", (socket: Socket) => sockets.add(socket));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  address = `127.0.0.1:${(server.address() as AddressInfo).port}`;
});

after(() => {
  for (const socket of sockets) {
    socket.destroy();
  }
  server.close();
});

async function list(settings: Omit<NodeSettings, "token">): Promise<ApiError | undefined> {
  const client = connect({ token: "t", ...settings });
  try {
    await client.runs.listRuns({ tenantId: "acme" });
    return undefined;
  } catch (error) {
    assert.ok(error instanceof ApiError, String(error));
    return error;
  } finally {
    client.close();
  }
}

test("an https address is called over TLS, by the authority that is given", async () => {
  subjects = [];
  assert.equal(await list({ address: `https://${address}`, tls: { ca: pem("ca") } }), undefined);
  assert.deepEqual(subjects, [undefined]);
});

test("certificates may be files of the environment", async () => {
  subjects = [];
  const settings = settingsFromEnvironment({
    NAGAYA_RUNS_ADDRESS: `https://${address}`,
    NAGAYA_TOKEN: "t",
    NAGAYA_CA_FILE: `${folder}/ca.pem`,
    NAGAYA_TLS_CERT_FILE: `${folder}/client.pem`,
    NAGAYA_TLS_KEY_FILE: `${folder}/client-key.pem`,
  });
  assert.equal(await list(settings), undefined);
  assert.deepEqual(subjects, ["client"]);
});

test("a client's own certificate is shown to a server that asks", async () => {
  subjects = [];
  const tls = { ca: pem("ca"), cert: pem("client"), key: pem("client-key") };
  assert.equal(await list({ address: `https://${address}`, tls }), undefined);
  assert.deepEqual(subjects, ["client"]);
});

test("a server whose certificate nobody vouches for gets no token", async () => {
  const error = await list({ address: `https://${address}` });
  assert.equal(error?.code, Code.Unavailable);
  assert.match(error?.message ?? "", /certificate/);
});

test("a server of another name gets no token", async () => {
  const port = address.split(":")[1];
  const error = await list({ address: `https://localhost:${port}`, tls: { ca: pem("ca") } });
  assert.equal(error?.code, Code.Unavailable);
  assert.match(error?.message ?? "", /localhost/);
});

test("a call without TLS to a server that speaks it ends with an error", async () => {
  const error = await list({ address });
  assert.equal(error?.code, Code.Unavailable);
});
