#!/bin/bash
# grpcio 1.85.1, h2 4.3.0: a proxy that cannot reach a server answers with HTTP's 502 and a page,
# which gRPC turns into UNAVAILABLE. Whether a retry policy for UNAVAILABLE repeats the call depends
# on how the packets fall: it does where the whole page arrives together with the headers, and does
# not where the page comes a moment later, because the headers alone count as the beginning of a
# response. The same end told as a gRPC status, in trailers only, is always repeated.
#
# Seen, with maxAttempts 4 for UNAVAILABLE:
#   HTTP 502, the page with its headers: UNAVAILABLE after 4 requests
#   HTTP 502, the page 0.2 s later: UNAVAILABLE after 1 request
#   HTTP 200, trailers only, grpc-status 14: UNAVAILABLE after 4 requests
#
# Needs uv or python -m venv, and loopback.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
if command -v uv > /dev/null; then
    uv venv -q "$folder/venv"
    uv pip install -q --python "$folder/venv/bin/python" grpcio==1.85.1 h2==4.3.0
else
    python3 -m venv "$folder/venv"; "$folder/venv/bin/pip" install -q grpcio==1.85.1 h2==4.3.0
fi
cat > "$folder/show.py" <<'PYTHON'
import contextlib, json, socket, sys, threading, time
import grpc
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import RequestReceived

PAGE = b"<html>502 Bad Gateway</html>"
HTTP_502 = [(":status", "502"), ("content-type", "text/html")]
STATUS_14 = [(":status", "200"), ("content-type", "application/grpc"), ("grpc-status", "14")]
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


def serve(listening: socket.socket, headers, body: bytes, pause: float, seen: list[int]) -> None:
    connection, _ = listening.accept()
    state = H2Connection(H2Configuration(client_side=False))
    state.initiate_connection()
    connection.sendall(state.data_to_send())
    while data := connection.recv(65536):
        for event in state.receive_data(data):
            if isinstance(event, RequestReceived):
                seen.append(event.stream_id)
                state.send_headers(event.stream_id, headers, end_stream=not body)
                if pause:
                    connection.sendall(state.data_to_send())
                    time.sleep(pause)
                if body:
                    state.send_data(event.stream_id, body, end_stream=True)
        with contextlib.suppress(OSError):  # the client may have gone
            connection.sendall(state.data_to_send())


def show(headers: list[tuple[str, str]], body: bytes = b"", pause: float = 0) -> tuple[str, int]:
    listening, seen = socket.create_server(("127.0.0.1", 0)), []
    arguments = (listening, headers, body, pause, seen)
    threading.Thread(target=serve, args=arguments, daemon=True).start()
    address = f"127.0.0.1:{listening.getsockname()[1]}"
    options = [("grpc.service_config", json.dumps(POLICY))]
    with grpc.insecure_channel(address, options) as channel:
        try:
            channel.unary_unary("/any.Service/Call")(b"", timeout=10)
        except grpc.RpcError as error:
            return error.code().name, len(seen)
    return "OK", len(seen)


together, apart, status = show(HTTP_502, PAGE), show(HTTP_502, PAGE, 0.2), show(STATUS_14)
for name, (code, requests) in (
    ("HTTP 502, the page with its headers", together),
    ("HTTP 502, the page 0.2 s later", apart),
    ("HTTP 200, trailers only, grpc-status 14", status),
):
    print(f"{name}: {code} after {requests} request{'s' * (requests > 1)}")
sys.exit([together, apart, status] != [("UNAVAILABLE", count) for count in (4, 1, 4)])
PYTHON
"$folder/venv/bin/python" "$folder/show.py"
