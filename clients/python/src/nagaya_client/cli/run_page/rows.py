"""The rows of a run's page: each step with its bar, and below it its elements and visits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nagaya.runs.v1 import run_pb2
from nagaya_client.cli import values
from nagaya_client.cli.run_page.markup import Markup, element, joined
from nagaya_client.cli.run_page.scale import took

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from nagaya_client.cli.run_page.scale import Scale

_HEAD = ("Step", "", "Took", "Tries", "Model", "Tokens in → out", "Cost")
_COLUMNS = 160
"""How finely it is drawn how many elements were done at once."""

_NOTABLE = (run_pb2.STEP_STATE_FAILED, run_pb2.STEP_STATE_CANCELLED)


@dataclass(frozen=True, slots=True)
class Group:
    """All pieces of work of one step."""

    name: str
    whole: run_pb2.RunStep | None
    """The step itself; None while a mapped one has only elements."""
    pieces: Sequence[run_pb2.StepTimeline]
    """Its elements and visits; of a step that is done once only itself."""

    @classmethod
    def of(cls, name: str, found: Sequence[run_pb2.StepTimeline]) -> Group:
        elements = [each for each in found if each.step.item]
        wholes = [each.step for each in found if not each.step.item]
        pieces = sorted(elements or found, key=lambda each: (each.step.visit, each.step.item))
        return cls(name, wholes[-1] if wholes else None, pieces)

    @property
    def single(self) -> bool:
        return len(self.pieces) == 1 and not self.pieces[0].step.item

    @property
    def state(self) -> run_pb2.StepState.ValueType:
        if self.whole is not None:
            return self.whole.state
        states = {each.step.state for each in self.pieces}
        return next((state for state in _NOTABLE if state in states), run_pb2.STEP_STATE_RUNNING)

    @property
    def cost(self) -> int:
        own = () if self.whole is None or self.single else (self.whole.cost_micro_usd,)
        return sum((*own, *(each.step.cost_micro_usd for each in self.pieces)))


def timeline(steps: Sequence[run_pb2.StepTimeline], scale: Scale, run: Markup) -> Markup:
    """Return all rows below those of the run itself."""
    found: dict[str, list[run_pb2.StepTimeline]] = {}
    for each in steps:
        found.setdefault(each.step.step, []).append(each)
    groups = [Group.of(name, pieces) for name, pieces in found.items()]
    dearest = max((group.cost for group in groups), default=0)
    head = element("div", *_cells(_HEAD, scale.axis()), class_="row head")
    rows = joined(head, run, *(_group(group, scale, dearest) for group in groups))
    style = f"--every:{100 * scale.every() / scale.seconds:.3f}%"
    return element("div", element("div", rows, class_="rows", style=style), class_="chart sheet")


def _cells(texts: Sequence[str], track: Markup) -> Iterable[Markup]:
    name, _, *numbers = texts
    yield element("span", name)
    yield track
    for place, text in enumerate(numbers):
        yield element("span", text, class_=None if place == 2 else "number")


def _group(group: Group, scale: Scale, dearest: int) -> Markup:
    if group.single:
        return _row("div", group.pieces[0], element("b", group.name), scale, dearest)
    dearest_element = max((each.step.cost_micro_usd for each in group.pieces), default=0)
    rows = (
        _row("div", each, joined(_place(each.step)), scale, dearest_element)
        for each in group.pieces
    )
    return element(
        "details", _summary(group, scale, dearest), element("div", *rows, class_="elements")
    )


def _summary(group: Group, scale: Scale, dearest: int) -> Markup:
    spans = [scale.span(each.step) for each in group.pieces]
    begin, end = min(span.begin for span in spans), max(span.end for span in spans)
    many = _many(group)
    state = values.name_of(run_pb2.StepState, group.state)
    retries = sum(each.step.retry_count for each in group.pieces)
    models = sorted({each.step.llm_model for each in group.pieces} - {""})
    return element(
        "summary",
        element("span", element("b", group.name), " ", element("i", many), class_="name"),
        element("span", _at_once(group, scale), class_="track", title=f"{many}, {state}"),
        _number(took((end - begin) / 1e9)),
        _number(f"+{retries:,}" if retries else ""),
        element("span", ", ".join(models), title=", ".join(models)),
        _number(_tokens(each.step for each in group.pieces)),
        _cost(group.cost, dearest),
        class_=f"row s-{state}",
        data_text=f"{group.name} {state} {' '.join(models)}".lower(),
        **_notable(group.state in _NOTABLE or retries > 0),
    )


def _many(group: Group) -> str:
    elements = {each.step.item for each in group.pieces if each.step.item}
    visits = max(each.step.visit for each in group.pieces)
    failed = sum(each.step.state == run_pb2.STEP_STATE_FAILED for each in group.pieces)
    reused = sum(each.step.reused for each in group.pieces)
    words = [
        f"{len(elements):,} element{'s' * (len(elements) > 1)}" if elements else "",
        f"{visits} visits" if visits > 1 else "",
        f"{failed:,} failed" if failed else "",
        f"{reused:,} reused" if reused else "",
    ]
    return ", ".join(filter(None, words))


def _at_once(group: Group, scale: Scale) -> Markup:
    """Draw how many elements were being done at each moment."""
    changes = [0.0] * (_COLUMNS + 1)
    for each in group.pieces:
        span = scale.span(each.step)
        begin = min(int(scale.place(span.begin) / 100 * _COLUMNS), _COLUMNS - 1)
        end = min(int(scale.place(span.end) / 100 * _COLUMNS) + 1, _COLUMNS)
        changes[begin] += 1
        changes[end] -= 1
    counts, count = list[float](), 0.0
    for change in changes[:-1]:
        count += change
        counts.append(count)
    most = max(counts, default=0.0) or 1.0
    steps = "".join(f"V{100 - 100 * at / most:.0f}H{x + 1}" for x, at in enumerate(counts))
    return element(
        "svg",
        element("title", f"at most {most:.0f} at once"),
        element("path", d=f"M0 100{steps}V100Z"),
        viewBox=f"0 0 {_COLUMNS} 100",
        preserveAspectRatio="none",
    )


def _row(tag: str, piece: run_pb2.StepTimeline, name: Markup, scale: Scale, dearest: int) -> Markup:
    step = piece.step
    state = values.name_of(run_pb2.StepState, step.state)
    reason = step.error.reason
    span = scale.span(step)
    tries = f"{step.retry_count + 1}" if step.retry_count else ""
    shown = [took(span.seconds) if step.HasField("start_time") else "", tries]
    return element(
        tag,
        element("span", name, _reused(step), class_="name", title=step.output.summary or None),
        element("span", *_bars(piece, scale), class_="track"),
        _number(shown[0]),
        element("span", shown[1], class_="number bad" if reason else "number"),
        element("span", reason or step.llm_model, class_="bad" if reason else None)
        if reason
        else element("span", step.llm_model, title=step.llm_model or None),
        _number(_tokens([step])),
        _cost(step.cost_micro_usd, dearest),
        class_=f"row s-{state}",
        data_text=f"{step.step} {_place(step)} {state} {step.llm_model} {reason}".lower(),
        **_notable(step.state in _NOTABLE or step.retry_count > 0),
    )


def _bars(piece: run_pb2.StepTimeline, scale: Scale) -> Iterable[Markup]:
    """Draw each attempt, and a line while the next was waited for."""
    step = piece.step
    state = values.name_of(run_pb2.StepState, step.state)
    if len(piece.attempts) > 1:
        yield scale.bar(scale.span(step), "pause", state)
    for number, attempt in enumerate(piece.attempts, 1):
        span = scale.span(attempt)
        became = values.name_of(run_pb2.StepState, attempt.state)
        words = [f"attempt {number}: {became}", attempt.reason, took(span.seconds)]
        lost = attempt.state == run_pb2.STEP_STATE_FAILED and number < len(piece.attempts)
        yield scale.bar(span, "lost" if lost else "", ", ".join(filter(None, words)))
    if not piece.attempts:
        yield scale.bar(scale.span(step), "", f"{state}, {took(scale.span(step).seconds)}")


def _place(step: run_pb2.RunStep) -> str:
    words = [f"element {step.item:,}" if step.item else ""]
    if step.visit > 1 or not step.item:
        words.append(f"visit {step.visit}")
    return ", ".join(filter(None, words))


def _reused(step: run_pb2.RunStep) -> Markup:
    return joined(" ", element("i", "reused")) if step.reused else Markup()


def _number(text: str) -> Markup:
    return element("span", text, class_="number")


def _tokens(steps: Iterable[run_pb2.RunStep]) -> str:
    pairs = [(step.input_tokens, step.output_tokens) for step in steps]
    given, made = (sum(column) for column in zip(*pairs, strict=True)) if pairs else (0, 0)
    return f"{_short(given)} → {_short(made)}" if given or made else ""


def _short(count: int) -> str:
    return f"{count / 1_000_000:,.2f} M" if count >= 1_000_000 else f"{count:,}"


def _cost(micro_usd: int, dearest: int) -> Markup:
    if not micro_usd:
        return _number("")
    share = f"--share:{100 * micro_usd / max(dearest, 1):.1f}%"
    return element("span", values.money(micro_usd), class_="number share", style=share)


def _notable(notable: bool) -> dict[str, str | None]:  # noqa: FBT001 - the one thing that it says
    return {"data_notable": "" if notable else None}
