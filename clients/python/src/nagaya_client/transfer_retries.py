"""When the stream of a transfer that broke is begun again, and when it is given up."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nagaya_client.errors import ApiError

# The pauses are 9 s together: load balancers take 3 s until they leave out a server that died.
ATTEMPTS = 8
_FIRST_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 2.0


def pause_seconds(error: ApiError, failures: int) -> float:
    """Return how long to wait after so many failures in a row, the last one being `error`.

    Each time longer, and as long as the service says. Raises `error` where nothing is tried again.
    """
    if not error.transient or failures >= ATTEMPTS:
        raise error
    pause = _FIRST_PAUSE_SECONDS * 2 ** (failures - 1)
    return error.seconds_to_wait(min(pause, _LONGEST_PAUSE_SECONDS))
