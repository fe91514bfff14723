import { Code, ConnectError } from "@connectrpc/connect";
import {
  BadRequestSchema,
  ErrorInfoSchema,
  RetryInfoSchema,
} from "./gen/google/rpc/error_details_pb.js";
import type { Status } from "./gen/google/rpc/status_pb.js";
import type { ErrorReason as ArtifactsReason } from "./gen/nagaya/artifacts/v1/error_reason_pb.js";
import type { ErrorReason as GatewayReason } from "./gen/nagaya/llm_gateway/v1/error_reason_pb.js";
import type { ErrorReason as CommonReason } from "./gen/nagaya/options/v1/error_reason_pb.js";
import type { ErrorReason as RunsReason } from "./gen/nagaya/runs/v1/error_reason_pb.js";
import type { ErrorReason as TenantReason } from "./gen/nagaya/tenant/v1/error_reason_pb.js";

type Known =
  | keyof typeof ArtifactsReason
  | keyof typeof GatewayReason
  | keyof typeof CommonReason
  | keyof typeof RunsReason
  | keyof typeof TenantReason;

/** The reasons that the contracts name; a newer server may have others. */
export type Reason = `ERROR_REASON_${Known}` | (string & {});

/** A field of the request that breaks a rule, by its path, such as `spec.steps[3].needs[0]`. */
export interface Violation {
  readonly field: string;
  readonly description: string;
}

interface Details {
  readonly code: Code;
  readonly message: string;
  readonly reason?: Reason;
  readonly domain?: string;
  readonly metadata?: Readonly<Record<string, string>>;
  readonly violations?: readonly Violation[];
  readonly retryAfterMs?: number | undefined;
  readonly hint?: string;
  readonly requestId?: string;
  readonly pushbackMs?: number | undefined;
  readonly byCaller?: boolean;
  readonly cause?: unknown;
}

const TRANSIENT = new Set([
  Code.Unavailable,
  Code.DeadlineExceeded,
  Code.Canceled,
  Code.ResourceExhausted,
]);
/** What transports say of a connection that was cut; a service's own refusal has a reason. */
const CUT = new Set([Code.Internal, Code.Unknown, Code.Aborted]);

/** A service refused, or could not be reached. */
export class ApiError extends Error {
  override readonly name = "ApiError";
  readonly code: Code;
  /** A value name of the `ErrorReason` of the service's package; empty if the call never arrived. */
  readonly reason: Reason;
  /** Whose reason it is, such as `runs.nagaya.dev`. */
  readonly domain: string;
  /** What the reason's comment names, such as `run_id`. */
  readonly metadata: Readonly<Record<string, string>>;
  readonly violations: readonly Violation[];
  /** After how many milliseconds the same call may be made again; undefined when nobody said. */
  readonly retryAfterMs: number | undefined;
  /** What helps, where no service was reached. A service's message ends with its hint. */
  readonly hint: string;
  /** Finds the call in the service's log. */
  readonly requestId: string;
  /** gRPC's pushback: when to repeat the call by itself, in milliseconds; negative for never. */
  readonly pushbackMs: number | undefined;
  /** Whether this side ended the call: by its signal, or by closing the client. */
  readonly byCaller: boolean;

  constructor(details: Details) {
    super(details.message, { cause: details.cause });
    this.code = details.code;
    this.reason = details.reason ?? "";
    this.domain = details.domain ?? "";
    this.metadata = details.metadata ?? {};
    this.violations = details.violations ?? [];
    this.retryAfterMs = details.retryAfterMs;
    this.hint = details.hint ?? "";
    this.requestId = details.requestId ?? "";
    this.pushbackMs = details.pushbackMs;
    this.byCaller = details.byCaller ?? false;
  }

  /** Whether the same call may succeed later without anybody changing anything. */
  get transient(): boolean {
    const cut = CUT.has(this.code) && this.reason === "";
    return !this.byCaller && (TRANSIENT.has(this.code) || cut);
  }

  override toString(): string {
    return `${[Code[this.code], this.reason].filter(Boolean).join(" ")}: ${this.message}`;
  }
}

/** Bytes that came do not agree with the digest that they should have; none were kept. */
export class BytesCorrupt extends Error {
  override readonly name = "BytesCorrupt";
}

/** An address or a token is missing, or makes no sense. */
export class SettingsInvalid extends Error {
  override readonly name = "SettingsInvalid";
}

/** What this side knows of a call that failed. */
export interface Call {
  readonly address: string;
  /** What the call was sent with. */
  readonly requestId: string;
  readonly byCaller: boolean;
}

/** Return what a failed call tells. */
export function fromConnect(cause: unknown, call: Call): ApiError {
  if (cause instanceof ApiError) {
    return cause;
  }
  const error = ConnectError.from(cause);
  const { address, byCaller } = call;
  const common = {
    cause,
    byCaller,
    requestId: error.metadata.get("x-request-id") ?? call.requestId,
    pushbackMs: pushback(error.metadata),
  };
  if (error.details.length > 0) {
    return new ApiError({ ...common, ...read(error), code: error.code, message: error.rawMessage });
  }
  // A connection that ends in good order cancels its calls, for Connect; nobody here asked for it.
  const lost = isOfNetwork(error) || (error.code === Code.Canceled && !byCaller);
  const code = lost ? Code.Unavailable : error.code;
  const said = error.rawMessage || "no reason was given";
  const message = code === Code.Unavailable ? `${address} cannot be reached: ${said}` : said;
  return new ApiError({ ...common, code, message, hint: HINTS[code] ?? "" });
}

/** Return what the status of one item of a batch tells. */
export function fromStatus(status: Status, requestId = ""): ApiError {
  const error = new ConnectError(status.message, status.code);
  error.details = status.details.map(({ typeUrl, value }) => ({
    type: typeUrl.slice(typeUrl.lastIndexOf("/") + 1),
    value,
  }));
  return new ApiError({
    ...read(error),
    requestId,
    code: error.code,
    message: error.rawMessage,
  });
}

const HINTS: Partial<Record<Code, string>> = {
  [Code.Unavailable]: "Is it running, and is its address right?",
  [Code.DeadlineExceeded]: "Allow the call more time with timeoutMs.",
  [Code.Unimplemented]: "The server is older than this client, or is another one.",
};

function read(error: ConnectError): Partial<Details> {
  const [info] = error.findDetails(ErrorInfoSchema);
  const [retry] = error.findDetails(RetryInfoSchema);
  const delay = retry?.retryDelay;
  return {
    reason: info?.reason ?? "",
    domain: info?.domain ?? "",
    metadata: info?.metadata ?? {},
    violations: error
      .findDetails(BadRequestSchema)
      .flatMap((bad) => bad.fieldViolations)
      .map(({ field, description }) => ({ field, description })),
    retryAfterMs: delay && Number(delay.seconds) * 1000 + Math.ceil(delay.nanos / 1e6),
  };
}

/** By gRPC's own rule (proposal A6) what is no number means never. */
function pushback(trailers: Headers): number | undefined {
  const text = trailers.get("grpc-retry-pushback-ms");
  if (text === null) {
    return undefined;
  }
  return /^[0-9]+$/.test(text) ? Number(text) : -1;
}

/** Whether Node's network failed: Connect gives such errors several codes. */
function isOfNetwork(error: ConnectError): boolean {
  for (let cause = error.cause; cause instanceof Error; cause = cause.cause) {
    const code = "code" in cause ? String(cause.code) : "";
    if (code === "ERR_HTTP2_STREAM_ERROR") {
      // A stream that was refused has certainly not been handled; of others nobody knows.
      return cause.message.endsWith("NGHTTP2_REFUSED_STREAM");
    }
    if (NETWORK.test(code)) {
      return true;
    }
  }
  return false;
}

const NETWORK =
  /^(E(CONN|HOST|NET|AI_|PIPE|TIMEDOUT|NOTFOUND|ADDR).*|ERR_(HTTP2|TLS|SSL)_.*|.*CERT.*|UNABLE_TO_.*)$/;
