/** A real server of the contracts on free ports, whose methods do what a test says. */
import http from "node:http";
import http2 from "node:http2";
import type { AddressInfo, Socket } from "node:net";
import type { MessageInitShape } from "@bufbuild/protobuf";
import {
  Code,
  ConnectError,
  type ConnectRouter,
  createContextKey,
  createContextValues,
  type HandlerContext,
} from "@connectrpc/connect";
import { connectNodeAdapter } from "@connectrpc/connect-node";
import {
  BadRequestSchema,
  ErrorInfoSchema,
  RetryInfoSchema,
} from "../src/gen/google/rpc/error_details_pb.js";
import * as node from "../src/node.js";
import * as web from "../src/web.js";

const REQUEST = createContextKey<http.IncomingMessage | http2.Http2ServerRequest | undefined>(
  undefined,
);

export type Kind = "node" | "web";
export const KINDS: readonly Kind[] = ["node", "web"];

export interface Server {
  readonly address: Record<Kind, string>;
  readonly close: () => Promise<void>;
}

/** Serve gRPC over HTTP/2 and gRPC-Web over HTTP/1.1. */
export async function serve(routes: (router: ConnectRouter) => void): Promise<Server> {
  const handler = connectNodeAdapter({
    routes,
    contextValues: (request) => createContextValues().set(REQUEST, request),
  });
  const servers = { node: http2.createServer(handler), web: http.createServer(handler) };
  const sockets = new Set<Socket>();
  const address: Record<Kind, string> = { node: "", web: "" };
  for (const kind of KINDS) {
    const server = servers[kind];
    server.on("connection", (socket: Socket) => {
      sockets.add(socket);
      socket.on("close", () => sockets.delete(socket));
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    address[kind] = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  }
  return {
    address,
    close: async () => {
      for (const socket of sockets) {
        socket.destroy();
      }
      await Promise.all(
        KINDS.map((kind) => new Promise<void>((resolve) => servers[kind].close(() => resolve()))),
      );
    },
  };
}

/** Run a test with a server, and a client of each kind. */
export async function withClient(
  kind: Kind,
  routes: (router: ConnectRouter) => void,
  test: (client: node.NodeClient | web.WebClient) => Promise<void>,
  token: node.Token = "a-token",
): Promise<void> {
  const server = await serve(routes);
  const client = (kind === "node" ? node : web).connect({ address: server.address[kind], token });
  try {
    await test(client);
  } finally {
    client.close();
    await server.close();
  }
}

/** The ways in which the middle of a stream breaks. */
export const CUTS = [
  "reset",
  "refused",
  "cancel",
  "socket",
  "end",
  "unavailable",
  "deadline",
] as const;
export type Cut = (typeof CUTS)[number];

/** Break the call; what a handler does after this does not arrive. */
export function cut(context: HandlerContext, way: Cut): void {
  const request = context.values.get(REQUEST);
  const stream = request && "stream" in request ? request.stream : undefined;
  switch (way) {
    case "reset": // what Envoy says of a server that died
      stream ? stream.close(http2.constants.NGHTTP2_INTERNAL_ERROR) : request?.socket.destroy();
      break;
    case "refused":
      stream ? stream.close(http2.constants.NGHTTP2_REFUSED_STREAM) : request?.socket.destroy();
      break;
    case "cancel":
      stream ? stream.close(http2.constants.NGHTTP2_CANCEL) : request?.socket.destroy();
      break;
    case "socket":
      stream ? stream.session?.destroy() : request?.socket.destroy();
      break;
    case "unavailable":
      throw new ConnectError("the server stops", Code.Unavailable);
    case "deadline":
      throw new ConnectError("max connection age", Code.DeadlineExceeded);
    case "end":
      break;
  }
}

/** Return an error as our services send it. */
export function refusal(
  code: Code,
  info: MessageInitShape<typeof ErrorInfoSchema>,
  more: { violations?: [string, string][]; retryAfterMs?: number; pushback?: string } = {},
): ConnectError {
  const details: ConnectError["details"] = [{ desc: ErrorInfoSchema, value: info }];
  if (more.retryAfterMs !== undefined) {
    const [seconds, rest] = [Math.floor(more.retryAfterMs / 1000), more.retryAfterMs % 1000];
    const retryDelay = { seconds: BigInt(seconds), nanos: rest * 1e6 };
    details.push({ desc: RetryInfoSchema, value: { retryDelay } });
  }
  if (more.violations) {
    const fieldViolations = more.violations.map(([field, description]) => ({ field, description }));
    details.push({ desc: BadRequestSchema, value: { fieldViolations } });
  }
  const trailers = new Headers({ "x-request-id": "of-the-server" });
  if (more.pushback !== undefined) {
    trailers.set("grpc-retry-pushback-ms", more.pushback);
  }
  const error = new ConnectError("It is so. Do something.", code, trailers);
  error.details = details;
  return error;
}

/** Wait until something is so. */
export async function until(done: () => boolean): Promise<void> {
  while (!done()) {
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
