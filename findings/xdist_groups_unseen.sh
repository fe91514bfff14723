#!/bin/bash
# pytest-xdist 3.8.0 under pytest 9.2.0: the mark `xdist_group` has no effect with --dist loadgroup,
# and nothing says so. xdist appends the group to `item._nodeid`, which `item.nodeid` is not read
# from any more; so the tests of a group are spread over all processes, each with its own session
# fixtures. Under pytest 8.4.2 the same tests keep together.
#
# Seen:
#   pytest 8.4.2: test ids with their group: 4 of 4
#   pytest 9.2.0: test ids with their group: 0 of 4
#
# Who needs tests in one process returns a scheduler from pytest_xdist_make_scheduler, whose
# _split_scope names the group. Needs uv or python -m venv.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
cat > "$folder/test_group.py" <<'PYTHON'
import pytest

pytestmark = pytest.mark.xdist_group("together")


@pytest.mark.parametrize("number", range(4))
def test_one(number):
    pass
PYTHON
named() { # of the ids that a process of xdist reports, under a version of pytest
    if command -v uv > /dev/null; then
        uv venv -q "$folder/$1"
        uv pip install -q --python "$folder/$1/bin/python" "pytest==$1" pytest-xdist==3.8.0
    else
        python3 -m venv "$folder/$1"
        "$folder/$1/bin/pip" install -q "pytest==$1" pytest-xdist==3.8.0
    fi
    (cd "$folder" && "$folder/$1/bin/python" -m pytest -n 2 --dist loadgroup -v -p no:cacheprovider \
        test_group.py) | grep -c 'PASSED .*@together' || true
}
old=$(named 8.4.2); new=$(named 9.2.0)
echo "pytest 8.4.2: test ids with their group: $old of 4"
echo "pytest 9.2.0: test ids with their group: $new of 4"
[ "$old" = 4 ] && [ "$new" = 0 ]
