"""Logs in files: read, computed and compared with anchors, without a database."""

from __future__ import annotations

from dataclasses import replace

import pytest

from auditchain import export
from auditchain.anchors import SHORT_BYTES, Anchor, AnchorMalformed
from auditchain.chain import NO_DIGEST, ChainVerifier, Entry, Fault, FaultKind, Head
from auditchain.export import ExportMalformed, Header, SignedAnchor


def chained(users: list[str]) -> list[Entry]:
    entries, previous = list[Entry](), NO_DIGEST
    for number, user in enumerate(users, start=1):
        created_at = f"2026-11-30T08:00:{number:02}.000000Z"
        entry = Entry(number, user, "a", "b", "c", None, "role", created_at, "")
        previous = entry.computed_digest(previous)
        entries.append(replace(entry, digest=previous))
    return entries


def anchor_of(entries: list[Entry], since: int = 0) -> Anchor:
    covered = entries[since:]
    short = b"".join(bytes.fromhex(entry.digest)[:SHORT_BYTES] for entry in covered)
    last = covered[-1]
    return Anchor("acme", "t_1", since, last.sequence, last.digest, short, last.created_at)


def fault_of(entries: list[Entry], *anchors: Anchor, head: Head | None = None) -> Fault | None:
    verifier = ChainVerifier(anchors)
    for entry in entries:
        verifier.add(entry)
    return verifier.finish(head or Head(len(entries), entries[-1].digest if entries else NO_DIGEST))


LOG = chained(["ada", "bob", "cid", "dan", "eve"])


def test_a_whole_log_has_no_fault() -> None:
    assert fault_of(LOG, anchor_of(LOG[:3]), anchor_of(LOG, 3)) is None
    assert fault_of([]) is None


@pytest.mark.parametrize("place", range(1, 6))
def test_a_log_made_anew_from_a_place_on_is_noticed_there(place: int) -> None:
    users = [entry.user_id for entry in LOG]
    users[place - 1] = "mallory"
    forged = chained(users)

    assert fault_of(forged) is None
    assert fault_of(forged, anchor_of(LOG[:2]), anchor_of(LOG, 2)) == Fault(place, FaultKind.ANCHOR)


def test_an_entry_that_ended_a_log_must_be_there_with_its_whole_digest() -> None:
    head = Anchor.of_head("acme", "", 4, LOG[3].digest, "")
    near = LOG[3].digest[: 2 * SHORT_BYTES] + "0" * 48
    other = Anchor.of_head("acme", "", 4, near, "")

    assert fault_of(LOG, head) is None
    assert fault_of(LOG[:3], head) == Fault(4, FaultKind.SEQUENCE)
    assert fault_of(LOG, other) == Fault(4, FaultKind.ANCHOR)
    assert fault_of(LOG, head, other) == fault_of(LOG, other, head) == Fault(4, FaultKind.ANCHOR)
    for wrong in ((0, LOG[0].digest), (1, "ab"), (1, "x" * 64)):
        with pytest.raises(AnchorMalformed):
            Anchor.of_head("acme", "", *wrong, "")


def test_a_cut_tail_with_a_head_to_match_is_noticed() -> None:
    assert fault_of(LOG[:2], anchor_of(LOG)) == Fault(3, FaultKind.SEQUENCE)
    assert fault_of([], anchor_of(LOG)) == Fault(1, FaultKind.SEQUENCE)


def test_a_changed_entry_a_missing_one_and_a_wrong_head_are_noticed() -> None:
    changed = [*LOG[:3], replace(LOG[3], user_id="mallory"), LOG[4]]

    assert fault_of(changed) == Fault(4, FaultKind.DIGEST)
    assert fault_of([LOG[0], *LOG[2:]]) == Fault(2, FaultKind.SEQUENCE)
    assert fault_of(LOG, head=Head(4, LOG[3].digest)) == Fault(4, FaultKind.HEAD)
    assert fault_of(LOG, head=Head(5, LOG[3].digest)) == Fault(5, FaultKind.HEAD)
    assert fault_of(LOG, head=Head(6, LOG[3].digest)) == Fault(6, FaultKind.SEQUENCE)


def test_an_anchor_is_its_document() -> None:
    anchor = anchor_of(LOG)

    assert Anchor.of_document(anchor.document()) == anchor


@pytest.mark.parametrize(
    "change",
    [
        {"sequence": 4},
        {"since": "0"},
        {"digest": "x" * 64},
        {"digest": LOG[1].digest},
        {"short_digests": "?"},
        {"short_digests": ""},
        {"tenant_id": None},
    ],
)
def test_a_document_that_is_no_anchor_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(AnchorMalformed):
        Anchor.of_document(anchor_of(LOG).document() | change)


def test_an_exported_log_is_read_as_it_was_written() -> None:
    items = [Header("acme", "t_1"), *LOG, SignedAnchor('{"a": "長屋"}'), Head(5, LOG[4].digest)]
    lines = [
        export.header_line(Header("acme", "t_1")),
        *map(export.entry_line, LOG),
        export.anchor_line('{"a": "長屋"}'),
        export.end_line(Head(5, LOG[4].digest)),
    ]

    assert list(export.read(lines)) == items
    for end in range(len(lines)):
        with pytest.raises(ExportMalformed, match="ends after line"):
            list(export.read(lines[:end]))


@pytest.mark.parametrize(
    "line", ["", "[]", "{}", '{"entry": {}}', '{"head": {"sequence": 1}}', "\x00", "nonsense"]
)
def test_a_line_that_is_none_of_a_log_is_refused_with_its_number(line: str) -> None:
    with pytest.raises(ExportMalformed, match="line 2"):
        list(export.read([export.header_line(Header("acme", "t_1")), line]))
