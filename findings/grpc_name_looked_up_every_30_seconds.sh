#!/bin/bash
# grpcio 1.85.1: a channel with round_robin to a name of several servers (dns:///) looks the name up
# when it loses a connection, but not within 30 s of the time before. A rolling deployment that
# replaces both servers sooner leaves it with two addresses at which nobody is, although the name
# has named the new ones all the time: every call fails until the 30 s are over.
# The channel option grpc.dns_min_time_between_resolutions_ms shortens that.
#
# Seen:
#   by default: UNAVAILABLE 10 s after all servers had moved
#   with 1,000 ms: answered by a server at a new address
#
# Needs uv or python -m venv, and Linux's loopback (127.0.0.1 to 127.0.0.4).
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
if command -v uv > /dev/null; then
    uv venv -q "$folder/venv"; uv pip install -q --python "$folder/venv/bin/python" grpcio==1.85.1
else
    python3 -m venv "$folder/venv"; "$folder/venv/bin/pip" install -q grpcio==1.85.1
fi
cat > "$folder/show.py" <<'PYTHON'
import socket, struct, sys, threading, time
from concurrent import futures
import grpc

OLD, NEW = ("127.0.0.1", "127.0.0.2"), ("127.0.0.3", "127.0.0.4")
addresses = list(OLD)
dns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
dns.bind(("127.0.0.1", 0))


def answer() -> None:
    while True:
        query, caller = dns.recvfrom(512)
        end = query.index(b"\0", 12) + 5
        found = addresses if query[end - 4 : end - 2] == b"\0\1" else []
        records = b"".join(
            b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 0, 4) + socket.inet_aton(address)
            for address in found
        )
        head = query[:2] + struct.pack(">HHHHH", 0x8580, 1, len(found), 0, 0)
        dns.sendto(head + query[12:end] + records, caller)


class Name(grpc.GenericRpcHandler):
    def __init__(self, host: str) -> None:
        self.host = host

    def service(self, _):
        return grpc.unary_unary_rpc_method_handler(lambda *_: self.host.encode())


def start(host: str, port: int) -> grpc.Server:
    server = grpc.server(futures.ThreadPoolExecutor(2), options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((Name(host),))
    server.add_insecure_port(f"{host}:{port}")
    server.start()
    return server


def show(*options: tuple[str, int]) -> str:
    addresses[:] = OLD
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    servers = [start(host, port) for host in OLD]
    balanced = ("grpc.service_config", '{"loadBalancingConfig": [{"round_robin": {}}]}')
    target = f"dns://127.0.0.1:{dns.getsockname()[1]}/name.test:{port}"
    with grpc.insecure_channel(target, [balanced, *options]) as channel:
        call = channel.unary_unary("/Any/Call")
        call(b"", timeout=5)
        for number in (0, 1):  # one new server, one old one less, and 3 s until the next
            servers.append(start(NEW[number], port))
            addresses[number] = NEW[number]
            servers[number].stop(None).wait()
            time.sleep(3)
        until, seen = time.monotonic() + 10, ""
        while time.monotonic() < until:
            try:
                seen = call(b"", timeout=5).decode()
                break
            except grpc.RpcError as error:
                seen = error.code().name
                time.sleep(0.2)
    for server in servers:
        server.stop(None)
    return seen


threading.Thread(target=answer, daemon=True).start()
default, short = show(), show(("grpc.dns_min_time_between_resolutions_ms", 1000))
print(f"by default: {default} 10 s after all servers had moved")
print(f"with 1,000 ms: answered by {short}")
sys.exit(not (default == "UNAVAILABLE" and short in NEW))
PYTHON
"$folder/venv/bin/python" "$folder/show.py"
