from __future__ import annotations

import hashlib

import pytest

from tenant.domain.migrations import (
    Migration,
    MigrationTarget,
    applicable_services,
    check_numbers,
    next_migration,
    unpublished,
    unpublished_services,
)
from tenant.errors import MigrationChanged, MigrationInvalid


def migration(
    service: str,
    number: int,
    *requires: tuple[str, int],
    sql: str = "SELECT 1",
    target: MigrationTarget = MigrationTarget.TENANT,
) -> Migration:
    return Migration.parse(service, target, number, "file", requires, sql)


def order(published: list[Migration]) -> list[tuple[str, int]]:
    applied: dict[str, int] = {}
    found: list[tuple[str, int]] = []
    while (following := next_migration(published, applied, ())) is not None:
        applied[following.service] = following.number
        found.append((following.service, following.number))
    return found


def test_the_digest_is_the_sha256_of_the_file() -> None:
    assert migration("runs", 1).digest == hashlib.sha256(b"SELECT 1").hexdigest()


def test_migrations_are_applied_in_the_order_that_their_requirements_ask_for() -> None:
    published = [
        migration("runs", 1),
        migration("runs", 2, ("artifacts", 1)),
        migration("artifacts", 1, ("runs", 1)),
    ]

    assert order(published) == [("runs", 1), ("artifacts", 1), ("runs", 2)]


def test_what_requires_something_unpublished_waits() -> None:
    published = [migration("artifacts", 1, ("runs", 1)), migration("llm-gateway", 1)]

    assert order(published) == [("llm-gateway", 1)]
    assert unpublished_services(published, ()) == {"runs"}
    assert applicable_services(published, {}) == ["llm-gateway"]


def test_a_failure_stops_its_service_and_no_other() -> None:
    published = [migration("runs", 1), migration("llm-gateway", 1)]

    following = next_migration(published, {}, {"runs"})

    assert following is not None
    assert following.service == "llm-gateway"


def test_required_services_that_published_nothing_are_named() -> None:
    assert unpublished_services([migration("runs", 1)], ("runs", "artifacts")) == {"artifacts"}


@pytest.mark.parametrize(
    ("numbers", "message"),
    [([2], "1 is missing"), ([1, 3], "2 is missing"), ([1, 1], "1 is there twice")],
)
def test_numbers_count_from_one_without_a_gap(numbers: list[int], message: str) -> None:
    with pytest.raises(MigrationInvalid, match=message):
        check_numbers([migration("runs", number) for number in numbers])


def test_each_target_has_numbers_of_its_own() -> None:
    check_numbers([migration("runs", 1), migration("runs", 1, target=MigrationTarget.MANAGEMENT)])


def test_only_what_is_not_known_is_new() -> None:
    known = [migration("runs", 1)]
    given = [migration("runs", 1), migration("runs", 2)]

    assert unpublished(known, "runs", given, {}) == given[1:]


def test_an_older_release_publishes_nothing_new() -> None:
    known = [migration("runs", 1), migration("runs", 2)]

    assert unpublished(known, "runs", known[:1], {}) == []


def test_a_published_file_cannot_change() -> None:
    with pytest.raises(MigrationChanged, match="migration 1 of runs"):
        unpublished([migration("runs", 1)], "runs", [migration("runs", 1, sql="SELECT 2")], {})


def test_a_file_that_failed_and_was_applied_nowhere_can_be_corrected() -> None:
    corrected = migration("runs", 1, sql="SELECT 2")

    assert unpublished([migration("runs", 1)], "runs", [corrected], {"tenant": 1}) == [corrected]


@pytest.mark.parametrize("other", ["runs", "billing"])
def test_a_migration_requires_only_other_known_services(other: str) -> None:
    with pytest.raises(MigrationInvalid, match=f"cannot require {other}"):
        migration("runs", 1, (other, 1))


@pytest.mark.parametrize("number", [1, 5])
def test_migrations_that_wait_for_each_other_are_refused(number: int) -> None:
    known = [migration("artifacts", 1, ("runs", number))]

    with pytest.raises(MigrationInvalid, match="waits for it"):
        unpublished(known, "runs", [migration("runs", 1, ("artifacts", 1))], {})


def test_what_may_still_come_is_no_circle() -> None:
    new = migration("artifacts", 1, ("runs", 9), ("llm-gateway", 2))

    assert unpublished([], "artifacts", [new], {}) == [new]
