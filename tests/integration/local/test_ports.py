"""Ports: probed, remembered, moved aside when somebody else has them."""

from __future__ import annotations

import contextlib
import socket
from contextlib import closing
from typing import TYPE_CHECKING

from nagaya_local.machine.ports import PortBook, free_port, is_free

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path


@contextlib.contextmanager
def _taken(port: int) -> Generator[None]:
    with socket.create_server(("127.0.0.1", port)):
        yield


def test_a_port_that_somebody_listens_on_is_not_free() -> None:
    port = free_port()

    with _taken(port):
        assert not is_free(port)
    assert is_free(port)


def test_no_port_is_given_twice_before_somebody_listens() -> None:
    given = [free_port() for _ in range(100)]

    assert len(set(given)) == 100


def _assigned(path: Path, *names: str) -> tuple[dict[str, int], tuple[str, ...]]:
    """Assign ports as a supervisor does that ends at once."""
    with closing(PortBook(path)) as book:
        return book.assign(names)


def test_ports_stay_the_same_from_one_start_to_the_next(tmp_path: Path) -> None:
    first, _ = _assigned(tmp_path / "ports.json", "postgres", "s3")
    second, moved = _assigned(tmp_path / "ports.json", "postgres", "s3")

    assert second == first
    assert moved == ()


def test_only_the_part_whose_port_is_taken_moves_and_says_so(tmp_path: Path) -> None:
    first, _ = _assigned(tmp_path / "ports.json", "postgres", "s3", "temporal")

    with _taken(first["s3"]):
        second, moved = _assigned(tmp_path / "ports.json", "postgres", "s3", "temporal")

    assert second["s3"] not in first.values()
    assert (second["postgres"], second["temporal"]) == (first["postgres"], first["temporal"])
    assert moved == (f"port {first['s3']} of s3 is taken by another process: now {second['s3']}",)


def test_a_stack_that_starts_gets_no_port_of_one_that_has_not_listened_yet(tmp_path: Path) -> None:
    known = tmp_path / "known.json"
    first, _ = _assigned(known, "postgres", "s3")
    (tmp_path / "same.json").write_text(known.read_text())
    with closing(PortBook(known)) as starting, closing(PortBook(tmp_path / "same.json")) as other:
        assert starting.assign(("postgres", "s3", "temporal"))[0].items() >= first.items()
        ports, moved = other.assign(("postgres", "s3", "temporal"))

        assert not {*ports.values()} & {*starting.known.values()}
        assert len(moved) == 2


def test_clones_prefer_ports_of_their_own(tmp_path: Path) -> None:
    paths = [tmp_path / f"clone {number}" / "ports.json" for number in range(9)]

    assert len({_assigned(path, "postgres")[0]["postgres"] for path in paths}) > 1
