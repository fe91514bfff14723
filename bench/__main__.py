"""Measures beside a baseline in the same run: `python -m bench [NAME ...]`, all if none is named.

Ends with the goals that were missed and the benchmarks that failed; exits with 1 if there are any.
`runs`, `artifacts` and `gateway` need the local stack: `make bench` starts it.
"""

from __future__ import annotations

import subprocess
import sys

from bench.goals import MISSED

BENCHMARKS = ("overhead", "runs", "create_tenant", "two_tenants", "artifacts", "gateway", "maps")


def main(names: list[str]) -> int:
    unknown = sorted({*names} - {*BENCHMARKS})
    if unknown:
        sys.exit(f"no benchmark is called {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    missed: list[str] = []
    failed: list[str] = []
    for name in names or BENCHMARKS:
        print(f"\n== {name}", flush=True)
        code, goals = _run(name)
        missed += goals
        if code and not goals:
            failed.append(name)
    print(f"\n{len(missed)} goals missed, {len(failed)} benchmarks failed")
    for line in (*missed, *failed):
        print(f"  {line}")
    return 1 if missed or failed else 0


def _run(name: str) -> tuple[int, list[str]]:
    """Run a benchmark, showing what it prints; return its exit code and the goals it missed."""
    command = [sys.executable, "-u", "-m", f"bench.{name}"]
    missed: list[str] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout or ():
            print(line, end="", flush=True)
            if line.rstrip().endswith(MISSED):
                missed.append(line.strip())
    return process.returncode, missed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
