"""Entry point of `nagaya` and of `python -m nagaya_client.cli`."""

from __future__ import annotations

import os
import sys
from typing import NoReturn


def main() -> NoReturn:
    # gRPC's own log tells of every connection that was made anew; errors reach us as exceptions.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # noqa: TID251 - gRPC has no other switch
    try:
        from nagaya_client.cli.main import run  # noqa: PLC0415 - long enough to be interrupted

        sys.exit(run(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
