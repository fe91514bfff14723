"""How much of a pipeline is looked at, and how many of its faults are reported."""

from __future__ import annotations

from tests.unit.runs.specs import draft, faults, function, llm


def test_of_countless_needs_that_are_no_steps_the_first_are_reported_and_few_are_guessed() -> None:
    names = [f"step-{number:03}" for number in range(200)]
    steps = [function(name, *(f"{name}-{need}" for need in range(64))) for name in names]

    found = faults(*steps)

    assert len(found) == 100
    assert found[0] == (
        "spec.steps[0].needs[0]",
        "there is no step step-000-0; did you mean step-000?",
    )
    assert sum("did you mean" in description for _, description in found) == 2


def test_of_countless_cycles_the_first_are_reported() -> None:
    names = [f"s{number}" for number in range(200)]

    found = faults(*(function(name, *names[:64]) for name in names))

    assert len(found) == 100
    assert found[0] == ("spec.steps[0].needs[0]", "a cycle: s0 needs s0")


def test_the_bindings_of_all_steps_together_are_bounded() -> None:
    bound = [{"variable": f"v{number}", "text": "x"} for number in range(50)]
    draft(*(llm(f"s{number}", bindings=bound) for number in range(20)))

    assert faults(*(llm(f"s{number}", bindings=bound) for number in range(21))) == [
        (
            "spec.steps[20].llm.bindings",
            "up to here the steps have more than 1,000 bindings together",
        )
    ]


def test_the_json_values_of_all_steps_together_are_bounded() -> None:
    given = {"function": "copy", "arguments": {"list": list(range(1_998))}}
    draft(*({"step": f"s{number}", "function": given} for number in range(5)))

    assert faults(*({"step": f"s{number}", "function": given} for number in range(6))) == [
        ("spec.steps[5]", "up to here schemas and arguments hold more than 10,000 JSON values")
    ]
