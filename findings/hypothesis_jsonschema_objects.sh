#!/bin/bash
# hypothesis-jsonschema 0.23.1 (its newest release, which allows any hypothesis from 6.84.3 on) with
# hypothesis 6.170.10 and later: a strategy for a schema of type object raises AttributeError as
# soon as it draws a value, whatever the object holds; schemas of other types work. It uses a
# private class of hypothesis, `many`, whose method `more` is no longer there.
#
# Seen:
#   hypothesis 6.170.9: integer ok, array ok, empty object ok, object with a property ok
#   hypothesis 6.170.10: integer ok, array ok, empty object AttributeError, object with a property AttributeError
#
# Who needs it pins hypothesis below 6.170.10. Needs uv or python -m venv.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
cat > "$folder/show.py" <<'PYTHON'
from hypothesis import find
from hypothesis_jsonschema import from_schema

SCHEMAS = {
    "integer": {"type": "integer"},
    "array": {"type": "array", "items": {"type": "integer"}},
    "empty object": {"type": "object"},
    "object with a property": {
        "type": "object",
        "properties": {"a": {"type": "integer"}},
        "required": ["a"],
    },
}


def outcome(schema: dict) -> str:
    try:
        find(from_schema(schema), lambda _: True)
    except Exception as error:
        return type(error).__name__
    return "ok"


print(", ".join(f"{name} {outcome(schema)}" for name, schema in SCHEMAS.items()))
PYTHON
show() {
    if command -v uv > /dev/null; then
        uv venv -q "$folder/$1"
        uv pip install -q --python "$folder/$1/bin/python" "hypothesis==$1" hypothesis-jsonschema==0.23.1
    else
        python3 -m venv "$folder/$1"
        "$folder/$1/bin/pip" install -q "hypothesis==$1" hypothesis-jsonschema==0.23.1
    fi
    "$folder/$1/bin/python" "$folder/show.py"
}
expect() {
    found=$(show "$1")
    echo "hypothesis $1: $found"
    [ "$found" = "$2" ] || { echo "expected: $2"; exit 1; }
}
expect 6.170.9 "integer ok, array ok, empty object ok, object with a property ok"
expect 6.170.10 "integer ok, array ok, empty object AttributeError, object with a property AttributeError"
echo "as stated"
