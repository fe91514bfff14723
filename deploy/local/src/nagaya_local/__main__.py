"""`python -m nagaya_local up|down|status|logs|doctor|clean|token`."""

from __future__ import annotations

import sys

from nagaya_local.cli import main

if __name__ == "__main__":
    sys.exit(main())
