"""Measures beside a baseline in the same run: `python -m bench [NAME ...]`, all if none is named.

The local stack must be up: `make bench` starts it.
"""

from __future__ import annotations

import subprocess
import sys

BENCHMARKS = ("overhead", "runs", "create_tenant", "two_tenants", "artifacts", "gateway", "maps")


def main(names: list[str]) -> int:
    unknown = sorted({*names} - {*BENCHMARKS})
    if unknown:
        sys.exit(f"no benchmark is called {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    failed: list[str] = []
    for name in names or BENCHMARKS:
        sys.stdout.write(f"\n== {name}\n")
        sys.stdout.flush()
        if subprocess.run([sys.executable, "-m", f"bench.{name}"], check=False).returncode:
            failed.append(name)
    if failed:
        sys.stdout.write(f"\nnot measured, or its goal missed: {', '.join(failed)}\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
