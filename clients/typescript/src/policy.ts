import { type DescMethod, getOption } from "@bufbuild/protobuf";
import { MethodOptions_IdempotencyLevel as Idempotency } from "@bufbuild/protobuf/wkt";
import { policy } from "./gen/nagaya/options/v1/method_policy_pb.js";

const DEFAULT_SECONDS = 30;

/** How long a call of a method may take, by its contract. */
export function contractTimeoutMs(method: DescMethod): number {
  return (getOption(method, policy).maxSeconds || DEFAULT_SECONDS) * 1000;
}

/** Whether the same request may be sent again: declared so, and held in memory anyway. */
export function isRepeatable(method: DescMethod): boolean {
  const streamed =
    method.methodKind === "client_streaming" || method.methodKind === "bidi_streaming";
  return method.idempotency !== Idempotency.IDEMPOTENCY_UNKNOWN && !streamed;
}
