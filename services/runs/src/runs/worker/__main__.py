"""`python -m runs.worker`: does the steps of runs."""

from __future__ import annotations

import sys

if __name__ == "__main__":
    try:
        from runs.worker.process import main
    except ModuleNotFoundError as error:
        sys.exit(
            f"runs-worker: {error}. The worker needs the extra of its distribution: install "
            "nagaya-runs[worker]"
        )
    main()
