"""What docs/errors.md says before its tables."""

from __future__ import annotations

ERRORS_HEAD = """\
# Errors

Made by `make docs` from the contracts' `ErrorReason` enums and the classes that name them.

A refusal is a gRPC status. Its message says what is wrong, and then what helps. Its details hold,
for programs, a `google.rpc.ErrorInfo` with `reason`, `domain` and `metadata`; a
`google.rpc.BadRequest` where fields are wrong; a `google.rpc.RetryInfo` where the metadata has
`retry_after_ms`. The comment of each method in `protos/` lists its reasons under `Errors:`. gRPC
itself refuses, without details, what is compressed (`UNIMPLEMENTED`: send it again without) and
what is far too large (`RESOURCE_EXHAUSTED`: 4 MiB, 8 to artifacts, 16 to tenant).

## Repeating a call

A refusal is an answer: nobody between caller and server repeats it. A proxy cannot tell "this
server is away" from "this server says that its provider is away", and pays for the difference.

- **A proxy or load balancer** sends again what certainly was not handled, by its transport: no
  connection was made, `REFUSED_STREAM`, a stream behind the last one that a `GOAWAY` names. Never
  after a status, nor when a stream broke off or a call took long. It does not eject a server for
  its statuses: gRPC health checks tell whether a server serves.
- **A client by itself**, such as gRPC's retry policy, sends again after
  {codes}, where the method's `idempotency_level` is `NO_SIDE_EFFECTS`
  or `IDEMPOTENT` and its request is one message. Never after another code, nor where the trailers
  say `grpc-retry-pushback-ms: -1`.
- **Whoever made the call** may send the same request with the same request id or key, after
  `retry_after_ms` where there is one. Under a new request id or key it is new work.

[deploy/load-balancers](../deploy/load-balancers/README.md) has Envoy, nginx and HAProxy set so. The
column "again" says who may repeat a call: the `client` by itself, or the `caller` after the time in
`retry_after_ms`. Where it is empty, the same call is refused again until something has changed.

## Broken connections

Servers stop, die, and close connections that are old. What a caller then gets depends on what
stands in between; it has no `google.rpc.ErrorInfo`, which every refusal of a service has.

| what came | one response | a stream of responses |
| --- | --- | --- |
| `UNAVAILABLE`, `CANCELLED` (that the caller did not ask for) | repeat it, as above | resume it |
| `INTERNAL`, `UNKNOWN`, such as `Received RST_STREAM` | its caller may repeat it | resume it |
| `DEADLINE_EXCEEDED` | its caller may repeat it, with more time | resume it |
| the end, with `OK`, before what ends the stream | | resume it |
| nothing for 32 s, of a watch with heartbeats | | cancel it, resume it |

A code with ErrorInfo is a refusal: a stream is resumed where a call may be repeated.

How a stream is resumed stands in its method's comment: by the number of the last event, by attempt
and offset, or from its beginning. Begin with 0.1 s between tries, double it up to 2 s, and give up
when no server has answered for a minute.
"""
