"""Markdown for each task of an article, from a recording and from what the prompt brings along."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmstub import tokens
from llmstub.replies.prompts import Task

if TYPE_CHECKING:
    from collections.abc import Iterable

    from llmstub.replies.markdown import Section
    from llmstub.replies.prompts import RecognizedPrompt
    from llmstub.replies.recordings import RecordedArticle

_SECTIONS, _POINTS = 4, 3
_ROOM = 0.9  # of the limit, what a polished article may fill
_HEADING = 20  # tokens of a heading, at most


def write(
    facts: RecognizedPrompt, recorded: RecordedArticle, target: int, limit: int | None
) -> str:
    """Return Markdown. A whole article has about `target` tokens; a polished one, which repeats
    the sections that it was given, stays below `limit`."""
    match facts.task:
        case Task.OUTLINE:
            return _outline(facts, recorded)
        case Task.RESEARCH:
            return _notes(facts, recorded)
        case Task.DRAFT:
            return _section(facts, recorded)
        case Task.REVIEW:
            return _review(facts, recorded)
        case Task.POLISH if facts.sections:
            return _polished(facts, recorded, limit)
        case _:
            return recorded.article(target)


def _outline(facts: RecognizedPrompt, recorded: RecordedArticle) -> str:
    lines = [f"# {recorded.titles[0]}"]
    for number, section in enumerate(recorded.sections[: facts.count_of("sections") or _SECTIONS]):
        lines.append(f"\n{number + 1}. **{section.heading}**")
        lines += [f"   - {point}" for point in list(section.paragraphs)[:_POINTS]]
    return "\n".join(lines) + "\n"


def _notes(facts: RecognizedPrompt, recorded: RecordedArticle) -> str:
    findings = recorded.section(facts.heading).findings
    return _listed(facts, recorded, {n: x or findings for n, x in recorded.notes.items()})


def _review(facts: RecognizedPrompt, recorded: RecordedArticle) -> str:
    headings = [section.heading for section in facts.sections if section.level > 1]
    remarks = list(recorded.review)[2]  # after the heading of all and what is good
    lines = list(recorded.review[remarks])
    for number, heading in enumerate(headings[: len(lines)]):
        lines[number] = f"**{heading}**: {lines[number]}"
    return _listed(facts, recorded, {**recorded.review, remarks: tuple(lines)})


def _listed(
    facts: RecognizedPrompt, recorded: RecordedArticle, lists: dict[str, tuple[str, ...]]
) -> str:
    (title, _), *parts = lists.items()
    text = f"## {title.replace('{section}', facts.heading or recorded.topic)}\n"
    for heading, lines in parts:
        text += f"\n### {heading}\n\n" + "".join(f"- {line}\n" for line in lines)
    return text


def _section(facts: RecognizedPrompt, recorded: RecordedArticle) -> str:
    """Write up the points of the prompt, and close with a paragraph that belongs to none."""
    section = recorded.section(facts.heading)
    known, texts = section.paragraphs, list(section.paragraphs.values())
    points = facts.points or tuple(known)
    written = {point: known.get(point, texts[n % len(texts)]) for n, point in enumerate(points)}
    stop = "。" if recorded.language == "ja" else "."
    parts = [f"**{_ended(point, stop)}** {text}" for point, text in written.items()]
    closing = [text for text in texts if text not in written.values()][:1]
    return _joined([f"## {facts.heading or section.heading}", *parts, *closing])


def _polished(facts: RecognizedPrompt, recorded: RecordedArticle, limit: int | None) -> str:
    title = facts.title or recorded.topic
    opening = [] if facts.sections[0].level == 1 else [f"# {title[:1].upper()}{title[1:]}"]
    whole = sum(tokens.count(section.body) + _HEADING for section in facts.sections)
    room = whole if limit is None else limit * _ROOM - tokens.count("".join(opening))
    share = max(0.0, room / max(whole, 1))
    return _joined([*opening, *(_shortened(section, share) for section in facts.sections)])


def _shortened(section: Section, share: float) -> str:
    """Return a section with so much of its body, in whole sentences."""
    body = section.body
    if share < 1:
        cut = tokens.cut(body, int(tokens.count(body) * share))
        end = max(cut.rfind(sign) for sign in (". ", ".\n", "。", "\n\n"))
        body = cut[: end + 1].strip() or cut
    return f"{'#' * section.level} {section.heading}\n\n{body}"


def _ended(text: str, stop: str) -> str:
    return text if text[-1:] in ".。!?！？" else text + stop


def _joined(parts: Iterable[str]) -> str:
    return "\n\n".join(parts) + "\n"
