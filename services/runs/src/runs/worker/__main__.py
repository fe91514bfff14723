"""`python -m runs.worker`: does the steps of runs."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the worker until SIGTERM or SIGINT."""
    try:
        from runs.worker import process  # noqa: PLC0415 - what is missing is said in one sentence
    except ModuleNotFoundError as error:
        sys.exit(
            f"runs-worker: {error}. The worker needs the extra of its distribution: install "
            "nagaya-runs[worker]"
        )
    process.main()


if __name__ == "__main__":
    main()
