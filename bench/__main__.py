"""Measures, each figure beside its baseline: `python -m bench [--markdown FILE] [PART ...]`.

All parts if none is named. Ends with the goals that were missed and the parts that failed; exits
with 1 if there are any. `--markdown` writes the tables into a file.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bench.part import INTERRUPTED
from bench.parts import PARTS, Part, markdown


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--markdown", type=Path, metavar="FILE")
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    asked = parser.parse_args()
    if unknown := sorted({*asked.parts} - {*PARTS}):
        parser.error(f"no part is called {', '.join(unknown)}; there are {', '.join(PARTS)}")
    parts: list[Part] = []
    for name in asked.parts or PARTS:
        print(f"\n== {name}: {PARTS[name]}", flush=True)
        parts.append(Part(name))
        parts[-1].run()
        if parts[-1].interrupted:
            return INTERRUPTED
    if asked.markdown is not None:
        asked.markdown.write_text("\n".join(markdown(parts)) + "\n")
    return _summary(parts)


def _summary(parts: list[Part]) -> int:
    rows = [row for part in parts for row in part.rows]
    failed = [part.name for part in parts if part.failed]
    missed = [row for row in rows if row.missed]
    minutes = sum(part.seconds for part in parts) / 60
    print(f"\n{len(rows)} figures, {len(missed)} goals missed, {len(failed)} parts failed")
    print(*missed, *(f"  {name} failed" for name in failed), sep="\n")
    print(f"{minutes:.1f} minutes: {', '.join(f'{p.name} {p.seconds:.0f} s' for p in parts)}")
    return 1 if missed or failed else 0


if __name__ == "__main__":
    sys.exit(main())
