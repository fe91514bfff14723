#!/bin/bash
# minio 7.2.20: `next_upload_id_marker` of a list of multipart uploads is always None, whatever the
# server sent. Pages of ListMultipartUploads go on from two markers, a key and an upload id. The
# result has both properties, but reads only the first from the response.
#
# Seen, for a response with NextKeyMarker `k` and NextUploadIdMarker `u`:
#   next_key_marker=k next_upload_id_marker=None
#
# With the key's marker alone, S3 skips the other uploads of that key. Who must see all uploads
# reads the XML, or removes those of a page and lists the first page again.
# Needs uv or python -m venv. No network but for the packages.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
if command -v uv > /dev/null; then
    uv venv -q "$folder/venv"
    uv pip install -q --python "$folder/venv/bin/python" minio==7.2.20
else
    python3 -m venv "$folder/venv"
    "$folder/venv/bin/pip" install -q minio==7.2.20
fi
cat > "$folder/show.py" <<'PYTHON'
import sys

from minio.datatypes import ListMultipartUploadsResult
from urllib3 import HTTPResponse

BODY = b"""<?xml version="1.0" encoding="UTF-8"?>
<ListMultipartUploadsResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
  <Bucket>b</Bucket><KeyMarker></KeyMarker><UploadIdMarker></UploadIdMarker>
  <NextKeyMarker>k</NextKeyMarker><NextUploadIdMarker>u</NextUploadIdMarker>
  <MaxUploads>1</MaxUploads><IsTruncated>true</IsTruncated>
  <Upload>
    <Key>k</Key><UploadId>u</UploadId><Initiated>2026-11-30T00:00:00.000Z</Initiated>
  </Upload>
</ListMultipartUploadsResult>
"""
found = ListMultipartUploadsResult(HTTPResponse(BODY))
print(f"next_key_marker={found.next_key_marker} next_upload_id_marker={found.next_upload_id_marker}")
sys.exit((found.next_key_marker, found.next_upload_id_marker) != ("k", None))
PYTHON
"$folder/venv/bin/python" "$folder/show.py"
