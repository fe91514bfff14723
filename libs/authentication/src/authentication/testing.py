"""For tests: a verifier of the tokens that test keys sign."""

from __future__ import annotations

from typing import TYPE_CHECKING

from authentication.verifier import Verifier
from servicekit.testing import ISSUER

if TYPE_CHECKING:
    from servicekit.testing import Keys


def verifier_of(keys: Keys) -> Verifier:
    """Return a verifier of the tokens that `keys` sign, of people and of workloads."""
    return Verifier.from_file(keys.jwks_file, ISSUER)
