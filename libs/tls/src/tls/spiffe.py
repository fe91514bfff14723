"""Names of workloads in certificates: `spiffe://<trust domain>/nagaya/<workload>`.

The form is SPIFFE's (https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE-ID.md).
"""

from __future__ import annotations

import re

_TRUST_DOMAIN = re.compile(r"[a-z0-9._-]{1,255}")
_WORKLOAD = re.compile(r"[a-z][a-z0-9-]{0,62}")


def is_trust_domain(text: str) -> bool:
    """Return whether a text can be a trust domain."""
    return _TRUST_DOMAIN.fullmatch(text) is not None


def spiffe_id(trust_domain: str, workload: str) -> str:
    """Return the name that the certificate of a workload has."""
    return f"spiffe://{trust_domain}/nagaya/{workload}"


def workload_of(spiffe_id: str, trust_domain: str) -> str | None:
    """Return the workload that a certificate's name means; None when it means none of ours."""
    prefix = f"spiffe://{trust_domain}/nagaya/"
    name = spiffe_id.removeprefix(prefix)
    return name if name != spiffe_id and _WORKLOAD.fullmatch(name) else None
