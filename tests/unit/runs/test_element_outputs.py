"""Functions that name the mapped steps of which they get the same element's output."""

from __future__ import annotations

from typing import Any

from tests.unit.runs.specs import draft, faults, function


def test_the_outputs_of_elements_are_those_of_steps_over_the_same_list() -> None:
    over, other = {"map": {"step": "input"}}, {"map": {"step": "input", "json_pointer": "/others"}}

    def naming(*names: str, **more: object) -> dict[str, Any]:
        asks = {"function": "copy", "element_outputs": list(names)}
        return {**function("use", "one", "other", "plain", **more), "function": asks}

    before = [function("one", **over), function("other", **other), function("plain")]
    assert faults(*before, naming("one", "other", "plain", "input", **over)) == [
        (
            f"spec.steps[3].function.element_outputs[{number}]",
            f"{name} is not mapped over the same list: all get its output; leave this out",
        )
        for number, name in ((1, "other"), (2, "plain"))
    ] + [
        (
            "spec.steps[3].function.element_outputs[3]",
            "input is not needed; add it to the step's `needs`",
        )
    ]
    assert faults(*before, naming("one")) == [
        (
            "spec.steps[3].function.element_outputs[0]",
            "the step has no `map`: leave this out, it gets whole outputs",
        )
    ]
    draft(*before, naming("one", **over))
    draft(*before, naming("one", map={"step": "one"}))
