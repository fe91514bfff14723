#!/bin/bash
# Connect for ECMAScript (@connectrpc/connect 2.1.2, connect-node 2.1.2) over gRPC:
# 1. Leaving a `for await` loop over a server's stream does not end the call: the iterable that a
#    client returns has no `return`, so `break` reaches nobody, and the server goes on sending.
# 2. A connection that is reset in the middle of a call is `aborted`, and one that is closed in good
#    order `canceled`; gRPC's own clients say UNAVAILABLE of both. `aborted` has another meaning in
#    gRPC, and `canceled` reads as if the caller had asked for it.
# 3. A call that the server refuses by REFUSED_STREAM, which says that nothing of it was handled, is
#    `internal` too, although Connect maps that code to `unavailable`: Node's own error comes first.
#
# Seen:
#   loop left: the server's handler was told within 2 s: no
#   loop left, with the signal of an AbortController aborted: yes
#   connection reset: aborted, connection closed: canceled, stream refused: internal
#
# Who needs a stream to end gives each call a signal, and looks at an error's cause for what it was.
# Needs Node.js 20 with npm.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-audit --no-fund \
    @bufbuild/protobuf@2.13.0 @connectrpc/connect@2.1.2 @connectrpc/connect-node@2.1.2
cat > seen.mjs <<'JAVASCRIPT'
import http2 from "node:http2";
import { create, createFileRegistry } from "@bufbuild/protobuf";
import {
  FileDescriptorProtoSchema, FileDescriptorSetSchema, file_google_protobuf_empty,
} from "@bufbuild/protobuf/wkt";
import { Code, createClient, createContextKey, createContextValues } from "@connectrpc/connect";
import { connectNodeAdapter, createGrpcTransport } from "@connectrpc/connect-node";

const empty = ".google.protobuf.Empty";
const method = { inputType: empty, outputType: empty };
const file = create(FileDescriptorProtoSchema, {
  name: "t.proto", package: "t", syntax: "proto3", dependency: ["google/protobuf/empty.proto"],
  service: [{ name: "T", method: [
    { ...method, name: "Watch", serverStreaming: true }, { ...method, name: "Get" },
  ] }],
});
const set = create(FileDescriptorSetSchema, { file: [file_google_protobuf_empty.proto, file] });
const T = createFileRegistry(set).getService("t.T");

const REQUEST = createContextKey(undefined);
let told, cut;
const server = http2.createServer(connectNodeAdapter({
  contextValues: (request) => createContextValues().set(REQUEST, request),
  routes: (router) => router.service(T, {
    async *watch(_, context) {
      const end = new Promise((resolve) => context.signal.addEventListener("abort", resolve));
      told = Promise.race([
        end.then(() => "yes"),
        new Promise((resolve) => setTimeout(resolve, 2000, "no")),
      ]);
      yield {};
      await end;
    },
    async get(_, context) {
      cut(context.values.get(REQUEST).stream);
      return new Promise(() => {});
    },
  }),
}));
const sockets = new Set();
server.on("connection", (socket) => sockets.add(socket));
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
const connect = () => createClient(T, createGrpcTransport({
  baseUrl: `http://127.0.0.1:${server.address().port}`,
}));

for await (const _ of connect().watch({})) break;
console.log("loop left: the server's handler was told within 2 s:", await told);
const stop = new AbortController();
for await (const _ of connect().watch({}, { signal: stop.signal })) break;
stop.abort();
console.log("loop left, with the signal of an AbortController aborted:", await told);
const code = async (way) => {
  cut = way;
  return connect().get({}).catch((error) => Code[error.code].toLowerCase());
};
const last = () => [...sockets].at(-1);
const reset = await code(() => last().resetAndDestroy());
const closed = await code(() => last().end());
const refused = await code((stream) => stream.close(http2.constants.NGHTTP2_REFUSED_STREAM));
console.log(
  `connection reset: ${reset}, connection closed: ${closed}, stream refused: ${refused}`,
);
process.exit();
JAVASCRIPT
node seen.mjs | tee seen
diff - seen <<'SEEN'
loop left: the server's handler was told within 2 s: no
loop left, with the signal of an AbortController aborted: yes
connection reset: aborted, connection closed: canceled, stream refused: internal
SEEN
