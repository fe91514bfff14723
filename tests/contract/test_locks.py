"""deploy/locks: the third parties of each part that is deployed alone, as in requirements.lock."""

from __future__ import annotations

import re
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

CLONE = Path(__file__).resolve().parents[2]
PARTS = {
    "tenant": "nagaya-tenant[postgresql]",
    "artifacts": "nagaya-artifacts",
    "llm-gateway": "nagaya-llm-gateway",
    "runs": "nagaya-runs",
    "runs-worker": "nagaya-runs[worker]",
    "client": "nagaya-client",
}


def _locked(path: Path) -> dict[str, str]:
    """Return the lines of each requirement, by its name."""
    text = "\n".join(line for line in path.read_text().splitlines() if not line.startswith("#"))
    blocks = re.split(r"\n(?=\S)", text.strip())
    return {canonicalize_name(re.split(r"[=\[]", block)[0]): block for block in blocks}


def _needed(name: str) -> set[str]:
    """Return the third parties that a distribution installs with, on this machine."""
    found: set[str] = set()
    left = [Requirement(name)]
    seen: set[tuple[str, frozenset[str]]] = set()
    while left:
        requirement = left.pop()
        key = (canonicalize_name(requirement.name), frozenset(requirement.extras))
        if key in seen:
            continue
        seen.add(key)
        found.add(key[0])
        for line in requires(requirement.name) or ():
            one = Requirement(line)
            environments = [{"extra": extra} for extra in ("", *requirement.extras)]
            if one.marker is None or any(map(one.marker.evaluate, environments)):
                left.append(one)
    return {one for one in found if not one.startswith("nagaya-")}


@pytest.mark.parametrize("part", PARTS)
def test_a_lock_has_all_that_its_part_needs(part: str) -> None:
    locked = _locked(CLONE / "deploy" / "locks" / f"{part}.txt")

    assert _needed(PARTS[part]) - set(locked) == set()


@pytest.mark.parametrize("part", PARTS)
def test_a_lock_has_the_versions_and_hashes_that_everything_is_tested_with(part: str) -> None:
    everything = _locked(CLONE / "requirements.lock")

    for name, block in _locked(CLONE / "deploy" / "locks" / f"{part}.txt").items():
        versions = {line.split(" ;")[0].strip(" \\") for line in block.splitlines()}
        assert versions <= {
            line.split(" ;")[0].strip(" \\") for line in everything[name].splitlines()
        }
