"""The harness for authors of functions does to a function what a worker's process does."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from jsonvalues import canonical
from nagaya_functions import StepError
from nagaya_functions.testing import FunctionHarness
from runs.domain.failures import StepFailed
from runs.worker.function_host.call import FunctionCall
from runs.worker.functions import InstalledFunction

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.function_host import FunctionHost

    from jsonvalues import JsonMapping

ARGUMENTS: JsonMapping = {"value": {"price": 19.9, "id": 2**60, "text": "あ"}, "count": 3}


async def in_a_process(host: FunctionHost, name: str) -> object:
    """Return the output and metrics of a function in a process, or why its step fails."""
    metrics = {"score": "/score"} if name == "measured" else {}
    call = FunctionCall(f"functions_of_acme:{name}", host.context(ARGUMENTS), metrics)
    try:
        result = await host.pool.call(call, 60)
    except StepFailed as failed:
        return failed.reason, failed.message, not failed.final
    return json.loads(result.data), dict(result.metrics)


async def in_the_harness(host: FunctionHost, name: str) -> object:
    function = InstalledFunction(name, f"functions_of_acme:{name}").load()
    metrics = {"score": "/score"} if name == "measured" else {}
    harness = FunctionHarness()
    pointer = harness.add_output("input", ["a", "b"])
    try:
        result = await harness.run(
            function, step="s", arguments=ARGUMENTS, element=pointer, item=0, metrics=metrics
        )
    except StepError as error:
        return error.reason, error.message, error.retryable
    assert canonical(result.output) == result.data
    return json.loads(result.data), dict(result.metrics)


@pytest.mark.parametrize(
    "name",
    ["echo", "not_json", "cyclic", "too_large", "measured", "refuses", "synchronous", "yields"],
)
async def test_a_function_has_the_same_outcome_in_the_harness_and_in_a_process(
    host: FunctionHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.syspath_prepend(tmp_path)

    assert await in_the_harness(host, name) == await in_a_process(host, name)
