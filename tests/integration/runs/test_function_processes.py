"""What a function does to its process meets its own piece of work only."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest
from tests.integration.runs.functions_that_harm import install
from tests.support.function_host import FunctionHost, running_function_host
from tests.support.notes import wait_for_notes
from tests.support.processes import is_alive, wait_until_gone

from runs.domain.failures import StepFailed
from runs.worker.function_host.process import BLOCKED_SECONDS

CLONE = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("exits", "exit code 3"),
        ("killed", "SIGKILL"),
        ("crashes", "SIGSEGV"),
        ("task_leaves", "exit code 1"),
    ],
)
async def test_a_function_that_ends_its_process_dies_alone(
    host: FunctionHost, name: str, cause: str
) -> None:
    note, until = host.folder / "note", host.folder / "until"
    own = [host.begin("tell", note=str(note), until=str(until)) for _ in range(2)]
    other = host.begin("tell", "bolt", note=str(note), until=str(until))
    began = await wait_for_notes(note, 3)
    with pytest.raises(StepFailed) as failed:
        await host.call(name)

    assert (failed.value.reason, failed.value.final) == ("FUNCTION_DIED", False)
    assert cause in failed.value.message
    until.touch()
    await asyncio.gather(*own)
    assert await other in {pid for _, pid in began}, "another tenant's function goes on"


async def test_what_a_function_wrote_before_it_died_is_kept_for_its_error_file(
    host: FunctionHost, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(StepFailed) as failed:
        await host.call("exits", last_words="a customer's name")

    assert failed.value.text is not None
    assert "half a word of" in failed.value.text.output
    assert "a customer's name" in failed.value.text.output
    assert "customer" not in failed.value.message
    assert "customer" not in "".join(capfd.readouterr())


async def test_a_function_that_wants_too_much_memory_fails_alone_and_for_good(
    host: FunctionHost,
) -> None:
    note, until = host.folder / "note", host.folder / "until"
    own = host.begin("tell", note=str(note), until=str(until))
    await wait_for_notes(note, 1)
    with pytest.raises(StepFailed) as failed:
        await host.call("eats")

    assert (failed.value.reason, failed.value.final) == ("FUNCTION_OUT_OF_MEMORY", True)
    assert "256 MiB" in failed.value.message
    until.touch()
    await own


async def test_a_function_that_blocks_is_stopped_in_time_and_holds_up_no_other(
    host: FunctionHost,
) -> None:
    note, until = host.folder / "note", host.folder / "until"
    blocking = host.begin("blocks", until=str(until), note=str(note))
    await wait_for_notes(note, 1)
    assert await host.call("echo", value="quick") == "quick"
    until.touch()
    assert await blocking == "done"

    begun = asyncio.get_running_loop().time()
    with pytest.raises(TimeoutError):
        await host.call("blocks", limit=1)
    assert asyncio.get_running_loop().time() - begun < 30  # by itself it would end in minutes


async def test_a_module_that_takes_long_to_import_is_imported_once_for_all_that_wait(
    host: FunctionHost,
) -> None:
    module = host.folder / "functions_of_acme.py"
    module.write_text(module.read_text() + "\ntime.sleep(6)\n")
    processes = await asyncio.gather(*(host.begin("process") for _ in range(4)))

    assert len(set(processes)) == 1
    async with asyncio.timeout(60):  # and blocking is noticed afterwards as before
        until = host.folder / "until"
        blocking = host.begin("blocks", until=str(until), note=str(host.folder / "note"))
        await wait_for_notes(host.folder / "note", 1)
        assert await host.call("echo", value="quick") == "quick"
        until.touch()
        assert await blocking == "done"


async def test_modules_that_take_long_to_import_share_a_process(host: FunctionHost) -> None:
    modules = ("slow_one", "slow_two")
    files = [host.install_slow(module) for module in modules]
    calls = [host.begin(f"{module}:process") for module in modules]
    for note, until in files:  # one after the other
        await wait_for_notes(note, 1)
        await asyncio.sleep(2 * BLOCKED_SECONDS)
        until.touch()

    (process,) = set(await asyncio.gather(*calls))
    assert await host.call("slow_two:process") == process, "neither has blocked it"


async def test_a_call_that_an_import_kept_waiting_is_done_again(host: FunctionHost) -> None:
    note, until = host.install_slow("slow")
    slow = host.begin("slow:process")
    await wait_for_notes(note, 1)
    quick = asyncio.create_task(host.call("process", limit=4.0))
    async with asyncio.timeout(60):
        process = await quick
    until.touch()

    assert process not in {pid for _, pid in await wait_for_notes(note, 1)}
    await slow
    assert len({await host.call("process") for _ in range(2)}) == 1, "nothing is isolated"


async def test_a_call_that_is_cancelled_while_a_module_is_imported_ends_no_process(
    host: FunctionHost,
) -> None:
    note, until = host.install_slow("slow")
    slow = host.begin("slow:process")
    ((_, process),) = await wait_for_notes(note, 1)
    quick = host.begin("echo", value="quick")
    await asyncio.sleep(0.1)  # the process has both frames before it reads any
    quick.cancel()
    await asyncio.sleep(0.1)
    until.touch()
    with pytest.raises(asyncio.CancelledError):
        await quick

    assert await slow == process
    assert await host.call("process") == process


async def test_a_function_that_was_to_blame_takes_no_others_along_the_next_time(
    host: FunctionHost,
) -> None:
    with pytest.raises(StepFailed):
        await host.call("exits")
    note, until = host.folder / "note", host.folder / "until"
    own = host.begin("tell", note=str(note), until=str(until))
    ((_, process),) = await wait_for_notes(note, 1)
    with pytest.raises(StepFailed):
        await host.call("exits")
    until.touch()

    assert await own == process


async def test_no_function_takes_longer_than_the_worker_lets_it(tmp_path: Path) -> None:
    async with running_function_host(tmp_path, seconds=0.5) as host:
        with pytest.raises(StepFailed) as failed:
            await host.call("sleeps")

    assert (failed.value.reason, failed.value.final) == ("FUNCTION_TIMED_OUT", False)


@pytest.mark.parametrize("name", ["sleeps", "deaf", "blocks"])
async def test_a_call_that_is_cancelled_reaches_its_function_or_ends_its_process(
    host: FunctionHost, name: str
) -> None:
    note = host.folder / "note"
    call = host.begin(name, note=str(note))
    ((_, process),) = await wait_for_notes(note, 1)
    call.cancel()
    async with asyncio.timeout(30):
        with pytest.raises(asyncio.CancelledError):
            await call

    if name == "sleeps":
        assert [word for word, _ in await wait_for_notes(note, 2)] == ["began", "cancelled"]
        assert is_alive(process), "others may be in it"
    else:
        await wait_until_gone(process)


async def test_a_neighbour_of_a_function_that_does_not_stop_is_done_again(
    host: FunctionHost,
) -> None:
    note, until = host.folder / "note", host.folder / "until"
    deaf = host.begin("deaf", note=str(note))
    await wait_for_notes(note, 1)
    other = host.begin("tell", note=str(note), until=str(until))
    await wait_for_notes(note, 2)
    deaf.cancel()
    with pytest.raises(asyncio.CancelledError):
        await deaf
    until.touch()

    assert await other != (await wait_for_notes(note, 1))[0][1]


async def test_a_tenant_leaves_processes_to_others_and_idle_ones_give_way(tmp_path: Path) -> None:
    async with running_function_host(tmp_path, processes=3) as host:
        with pytest.raises(StepFailed):
            await host.call("exits")  # from now on each of its calls gets a process of its own
        note = host.folder / "note"
        calls = [host.begin("exits", note=str(note), after=600) for _ in range(4)]
        began = {pid for _, pid in await wait_for_notes(note, 2)}
        async with asyncio.timeout(60):
            others = {await host.call("process", tenant) for tenant in ("bolt", "carol", "dave")}

        assert len(others) == 3
        assert not others & began
        assert len(await wait_for_notes(note, 1)) == 2
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)


async def test_no_process_outlives_its_pool(tmp_path: Path) -> None:
    async with running_function_host(tmp_path) as host:
        process = await host.call("process")
        note = host.folder / "note"
        call = host.begin("blocks", note=str(note))
        await wait_for_notes(note, 1)
    with pytest.raises(asyncio.CancelledError):
        await call

    assert not is_alive(process)


@pytest.mark.parametrize("name", ["sleeps", "blocks"])
async def test_no_process_outlives_a_worker_that_is_killed(tmp_path: Path, name: str) -> None:
    install(tmp_path)
    note = tmp_path / "note"
    worker = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.integration.runs.worker_of_functions", name, str(note)),
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{CLONE}"},
    )
    ((_, process),) = await wait_for_notes(note, 1)
    worker.send_signal(signal.SIGKILL)
    await worker.wait()

    await wait_until_gone(process)
