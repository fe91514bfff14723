"""The auditor of histories, on the stack's Temporal."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

from nagaya_local.clone.endpoints import Endpoints
from nagaya_local.errors import StackDown
from nagaya_local.supervisor.state import Phase, current_state

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nagaya_local.clone.layout import Layout


def audit_histories(layout: Layout, canaries: Sequence[str]) -> int:
    """Run `python -m runs.auditor` and return its exit code. Raises StackDown."""
    if current_state(layout).phase is not Phase.RUNNING:
        raise StackDown("the stack is down, and so is its Temporal", "Start it: `nagaya dev up`.")
    address = {"TEMPORAL_ADDRESS": Endpoints.read(layout.endpoints).temporal}
    auditor = [sys.executable, "-m", "runs.auditor", *canaries]
    return subprocess.run(auditor, env=os.environ | address, check=False).returncode
