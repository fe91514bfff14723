"""A function for Nagaya: it counts the words of paragraphs."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

from nagaya_functions import StepError

if TYPE_CHECKING:
    from nagaya_functions import JsonValue, StepContext


async def count_words(context: StepContext) -> JsonValue:
    """Return how many words the input's `paragraphs` have; write a table with a row for each."""
    (given,) = context.outputs["input"]
    paragraphs = await context.read(given.inside("/paragraphs"))
    if not isinstance(paragraphs, list):
        raise StepError("NO_PARAGRAPHS", "/paragraphs of the input is no list", retryable=False)
    counts = [len(str(paragraph).split()) for paragraph in paragraphs]
    table = await context.write("words.csv", _csv(counts), "text/csv")
    return {"words": sum(counts), "table": {"path": table.path, "digest": table.digest}}


def _csv(counts: list[int]) -> bytes:
    table = io.StringIO()
    csv.writer(table).writerows([("paragraph", "words"), *enumerate(counts, 1)])
    return table.getvalue().encode()
