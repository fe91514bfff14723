#!/bin/bash
# grpcio 1.85.1: a retry policy repeats a call only as long as its request is small. What is kept for
# another attempt is bounded by grpc.per_rpc_retry_buffer_size, 256 KiB by default: a call with a
# larger request is sent once, without a word, whatever the policy says.
#
# Seen, with maxAttempts 4 for UNAVAILABLE:
#   200 KiB: UNAVAILABLE after 4 requests
#   300 KiB: UNAVAILABLE after 1 request
#   300 KiB, grpc.per_rpc_retry_buffer_size 1 MiB: UNAVAILABLE after 4 requests
#
# Needs uv or python -m venv, and loopback.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
if command -v uv > /dev/null; then
    uv venv -q "$folder/venv"; uv pip install -q --python "$folder/venv/bin/python" grpcio==1.85.1
else
    python3 -m venv "$folder/venv"; "$folder/venv/bin/pip" install -q grpcio==1.85.1
fi
cat > "$folder/show.py" <<'PYTHON'
import json, sys
from concurrent import futures
import grpc

POLICY = {
    "methodConfig": [
        {
            "name": [{}],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.01s",
                "maxBackoff": "0.01s",
                "backoffMultiplier": 1,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ]
}


class Unavailable(grpc.GenericRpcHandler):
    def __init__(self) -> None:
        self.requests = 0

    def service(self, _):
        return grpc.unary_unary_rpc_method_handler(self.answer)

    def answer(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        self.requests += 1
        context.abort(grpc.StatusCode.UNAVAILABLE, "not now")


def show(size: int, *options: tuple[str, int]) -> tuple[str, int]:
    handler, server = Unavailable(), grpc.server(futures.ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers((handler,))
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    config = ("grpc.service_config", json.dumps(POLICY))
    code = "OK"
    with grpc.insecure_channel(address, [config, *options]) as channel:
        try:
            channel.unary_unary("/any.Service/Call")(b"x" * size, timeout=10)
        except grpc.RpcError as error:
            code = error.code().name
    server.stop(None).wait()
    return code, handler.requests


small, large = show(200 << 10), show(300 << 10)
told = show(300 << 10, ("grpc.per_rpc_retry_buffer_size", 1 << 20))
for name, (code, requests) in (
    ("200 KiB", small),
    ("300 KiB", large),
    ("300 KiB, grpc.per_rpc_retry_buffer_size 1 MiB", told),
):
    print(f"{name}: {code} after {requests} request{'s' * (requests > 1)}")
sys.exit([small, large, told] != [("UNAVAILABLE", count) for count in (4, 1, 4)])
PYTHON
"$folder/venv/bin/python" "$folder/show.py"
