"""Steps of a pipeline that need each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from servicekit.errors import Violation

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from runs.domain.pipelines import PipelineSpec, StepSpec


def cycle_faults(spec: PipelineSpec, by_name: Mapping[str, StepSpec]) -> Iterator[Violation]:
    """Name each cycle once, at the need that closes it."""
    done: set[str] = set()
    for start in spec.steps:
        path: dict[str, Iterator[str]] = {}  # the steps that one is inside of, in their order
        _enter(start.step, by_name, done, path)
        while path:
            name = next(reversed(path))
            needed = next(path[name], None)
            if needed is None:
                del path[name]
                done.add(name)
            elif needed in path:
                yield _cycle(spec, name, needed, tuple(path))
            else:
                _enter(needed, by_name, done, path)


def _enter(
    name: str, by_name: Mapping[str, StepSpec], done: set[str], path: dict[str, Iterator[str]]
) -> None:
    if name in by_name and name not in done:
        path[name] = iter(by_name[name].needs)


def _cycle(spec: PipelineSpec, name: str, needed: str, path: tuple[str, ...]) -> Violation:
    number = next(n for n, step in enumerate(spec.steps) if step.step == name)
    place = spec.steps[number].needs.index(needed)
    around = " needs ".join([*path[path.index(needed) :], needed])
    return Violation(f"spec.steps[{number}].needs[{place}]", f"a cycle: {around}")
