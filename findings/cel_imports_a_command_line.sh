#!/bin/bash
# common-expression-language 0.10.0 (CEL in Rust, imported as `cel`): `import cel` in a library or a
# service imports the package's whole interactive command line, with typer, rich and prompt_toolkit.
# The evaluator itself is one compiled module, which takes less than a hundredth of that time.
#
# Seen:
#   import cel: prompt_toolkit, rich, typer
#   the compiled module alone: True (of 1 + 1 == 2), and none of these
#
# A process that only evaluates loads `cel.cel` without its package, as shown below. pip installs
# the three anyway: they are dependencies, not an extra. Needs uv or python -m venv.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
if command -v uv > /dev/null; then
    uv venv -q "$folder/venv"
    uv pip install -q --python "$folder/venv/bin/python" common-expression-language==0.10.0
else
    python3 -m venv "$folder/venv"
    "$folder/venv/bin/pip" install -q common-expression-language==0.10.0
fi
cat > "$folder/whole.py" <<'PYTHON'
import sys

import cel  # noqa: F401

print(*sorted({"typer", "rich", "prompt_toolkit"} & sys.modules.keys()), sep=", ")
PYTHON
cat > "$folder/compiled.py" <<'PYTHON'
import importlib.machinery
import importlib.util
import sys
from pathlib import Path

(found,) = (
    file
    for folder in map(Path, sys.path)
    for file in folder.glob("cel/cel*")
    if file.name.endswith(tuple(importlib.machinery.EXTENSION_SUFFIXES))
)
loader = importlib.machinery.ExtensionFileLoader("cel", str(found))
spec = importlib.util.spec_from_loader("cel", loader)
module = importlib.util.module_from_spec(spec)
loader.exec_module(module)
needless = {"typer", "rich", "prompt_toolkit"} & sys.modules.keys()
print(module.evaluate("1 + 1 == 2"), *needless)
PYTHON
whole=$("$folder/venv/bin/python" "$folder/whole.py")
compiled=$("$folder/venv/bin/python" "$folder/compiled.py")
echo "import cel: $whole"
echo "the compiled module alone: $compiled"
[ "$whole" = "prompt_toolkit, rich, typer" ] && [ "$compiled" = "True" ] || exit 1
echo "as stated"
