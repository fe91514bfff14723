"""A harness for tests: it runs a function as a worker does, without any server.

async def test_the_total_is_the_sum_of_the_lines():
    harness = FunctionHarness()
    harness.add_output("input", {"lines": [{"price": 3}, {"price": 4}]})

    result = await harness.run("acme.total")

    assert result.output == {"total": 7}
"""

from __future__ import annotations

from nagaya_functions.testing.harness import FunctionHarness, HarnessResult, load_function

__all__ = ["FunctionHarness", "HarnessResult", "load_function"]
