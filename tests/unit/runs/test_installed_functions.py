"""Which functions there are, by the entry points of what is installed beside the worker."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from runs.domain.failures import StepImpossible
from runs.worker.functions import FunctionRegistry, InstalledFunction

if TYPE_CHECKING:
    from pathlib import Path


def install(folder: Path, distribution: str, **functions: str) -> None:
    about = folder / f"{distribution}-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
    lines = (f"{name} = {entry}\n" for name, entry in functions.items())
    (about / "entry_points.txt").write_text("[nagaya.functions]\n" + "".join(lines))


def test_a_name_that_two_distributions_give_to_different_functions_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "billing", invoice="billing:invoice", shared="tools:shared")
    install(tmp_path, "ledger", invoice="ledger:invoice", shared="tools:shared", sum="ledger:add")
    monkeypatch.syspath_prepend(tmp_path)
    functions = FunctionRegistry.discover({})

    with pytest.raises(StepImpossible) as failed:
        functions.find("invoice")
    assert failed.value.reason == "FUNCTION_UNUSABLE"
    assert "billing:invoice of billing, ledger:invoice of ledger" in failed.value.message
    assert functions.find("shared") == InstalledFunction("shared", "tools:shared")
    assert functions.find("sum") == InstalledFunction("sum", "ledger:add")


def test_a_name_that_nothing_installed_offers_fails_the_step_for_good() -> None:
    with pytest.raises(StepImpossible) as failed:
        FunctionRegistry({}).find("no.such.function")

    assert failed.value.reason == "FUNCTION_NOT_FOUND"
