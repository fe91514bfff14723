"""Files whose bytes are in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from artifacts.domain.facts import count_facts, with_facts
from artifacts.domain.files import ContentDigests, Submission, WriteTarget

if TYPE_CHECKING:
    from artifacts.domain.files import CopySource, Draft


@dataclass(frozen=True, slots=True)
class BufferedFile:
    """A file whose bytes are in memory."""

    submission: Submission
    body: bytes

    @classmethod
    def of(cls, draft: Draft, body: bytes, source: CopySource | None = None) -> BufferedFile:
        """Hash a body and count its facts."""
        complete = with_facts(draft, count_facts(body, draft.file_type))
        return cls(Submission(complete, ContentDigests.of(body), source), body)

    @property
    def target(self) -> WriteTarget:
        return WriteTarget(self.submission.draft.key, self.submission.content.digest)
