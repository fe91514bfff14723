from __future__ import annotations

from monitoring.readiness import Readiness


def test_a_process_waits_for_its_start_first() -> None:
    readiness = Readiness()

    assert not readiness.ready
    assert readiness.waits_for == ("its start",)


def test_a_process_tells_what_it_waits_for_until_that_is_there() -> None:
    readiness = Readiness()

    with readiness.waiting("the registry of tenants"):
        assert readiness.waits_for == ("the registry of tenants",)
    readiness.started()

    assert readiness.ready
    assert readiness.waits_for == ()


def test_a_process_that_works_can_come_to_wait_again() -> None:
    readiness = Readiness()
    readiness.started()

    readiness.wait_for("polling", "Temporal: away")
    readiness.wait_for("polling", "Temporal: still away")
    waited_for, was_ready = readiness.waits_for, readiness.ready
    readiness.found("polling")

    assert (waited_for, was_ready) == (("Temporal: still away",), False)
    assert readiness.ready
