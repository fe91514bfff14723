#!/bin/bash
# aiohttp 3.14.5: what a server sent before it reset the connection cannot be read any more, if it
# had not been read when the reset came. StreamReader.readany() raises its exception first and
# leaves the bytes, which have arrived, in its buffer. A TCP socket gives the bytes, then the error.
#
# Seen:
#   raised ClientPayloadError, 11 bytes arrived and cannot be read
#
# Who must not lose a paid reply to a reset after its end has to read continuously, or look into
# the buffer. Needs uv or python -m venv, and loopback.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
if command -v uv > /dev/null; then
    uv venv -q "$folder/venv"; uv pip install -q --python "$folder/venv/bin/python" aiohttp==3.14.5
else
    python3 -m venv "$folder/venv"; "$folder/venv/bin/pip" install -q aiohttp==3.14.5
fi
cat > "$folder/show.py" <<'PYTHON'
import asyncio, socket, struct, sys, threading
import aiohttp

listener = socket.create_server(("127.0.0.1", 0))


def serve() -> None:
    connection, _ = listener.accept()
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nb\r\nhello world\r\n")
    threading.Event().wait(0.2)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


async def main() -> str:
    threading.Thread(target=serve).start()
    async with aiohttp.ClientSession() as session:
        async with session.get("http://127.0.0.1:%d" % listener.getsockname()[1]) as response:
            await asyncio.sleep(0.5)  # the bytes, then the reset, arrive while nobody reads
            arrived = sum(map(len, response.content._buffer))
            try:
                return f"read {await response.content.readany()!r}"
            except aiohttp.ClientError as error:
                return f"raised {type(error).__name__}, {arrived} bytes arrived and cannot be read"


seen = asyncio.run(main())
print(seen)
sys.exit(not (seen.startswith("raised Client") and ", 11 bytes arrived" in seen))
PYTHON
"$folder/venv/bin/python" "$folder/show.py"
