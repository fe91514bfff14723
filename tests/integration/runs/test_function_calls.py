"""What crosses between the worker and a process of functions, and what does not."""

from __future__ import annotations

import asyncio
import gc
import os
from typing import TYPE_CHECKING

import pytest
from tests.integration.runs.functions_that_harm import install
from tests.support.function_host import ELEMENT, FunctionHost

from runs.config import WorkerConfig
from runs.domain.failures import FunctionRaised, ReadTooLarge, StepFailed, StepImpossible
from runs.worker.function_host.call import FunctionCall
from runs.worker.function_host.pool import FunctionPool
from servicekit.errors import Unavailable
from servicekit.testing import ISSUER

if TYPE_CHECKING:
    from pathlib import Path

    from servicekit.testing import Keys

ADDRESSES = (
    "NAGAYA_TENANT_ADDRESS",
    "NAGAYA_ARTIFACTS_ADDRESS",
    "NAGAYA_LLM_GATEWAY_ADDRESS",
    "TEMPORAL_ADDRESS",
)


def worker_settings(keys: Keys) -> dict[str, str]:
    """Return the settings that the worker requires; none of its peers is there."""
    return {
        "NAGAYA_JWKS_FILE": str(keys.jwks_file),
        "NAGAYA_TOKEN_ISSUER": ISSUER,
        "NAGAYA_WORKLOAD_KEY_FILE": str(keys.key_file("runs")),
        **dict.fromkeys(ADDRESSES, "127.0.0.1:1"),
    }


async def test_functions_of_a_tenant_share_a_process_and_tenants_do_not(host: FunctionHost) -> None:
    together = await asyncio.gather(*(host.call("meet", count=3) for _ in range(3)))
    other = await host.call("process", "bolt")

    assert len(set(together)) == 1
    assert other not in {*together, os.getpid()}
    assert await host.call("process") == together[0]


async def test_a_function_reads_streams_and_writes_through_the_worker(host: FunctionHost) -> None:
    copied = await host.call("copies")

    assert copied == {
        "value": [ELEMENT.path, ELEMENT.digest, ELEMENT.json_pointer],
        "size": 3 << 20,
        "path": "storage/acme/r/s/copy.txt",
        "digest": "1" * 64,
    }
    assert host.files.written == {"copy.txt": b"copied"}
    assert host.files.left == 2


async def test_a_function_that_asks_for_much_at_once_fills_no_memory_of_the_worker(
    host: FunctionHost,
) -> None:
    assert await host.call("reads_many") == 100
    assert host.files.most_at_once <= 8


@pytest.mark.parametrize("refusal", [ReadTooLarge("the file is too large"), Unavailable("away")])
async def test_what_a_request_failed_with_is_what_the_step_fails_with(
    host: FunctionHost, refusal: Exception
) -> None:
    host.files.refusal = refusal
    with pytest.raises(type(refusal)) as failed:
        await host.call("reads")

    assert failed.value is refusal
    assert await host.call("gives_up_reading") == "RequestFailed"


async def test_the_metrics_of_an_output_are_taken_from_it(host: FunctionHost) -> None:
    result = await host.result("measured")

    assert (result.data, result.metrics) == (b'{"score":7,"text":"x"}', {"score": 7})


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("not_json", "OUTPUT_NOT_JSON"),
        ("cyclic", "OUTPUT_NOT_JSON"),
        ("too_large", "OUTPUT_TOO_LARGE"),
        ("refuses", "NO_SUCH_CUSTOMER"),
    ],
)
async def test_a_failure_in_words_for_the_caller_comes_from_the_process(
    host: FunctionHost, name: str, reason: str
) -> None:
    with pytest.raises(StepImpossible) as failed:
        await host.call(name)

    assert failed.value.reason == reason


async def test_an_error_of_a_function_comes_with_its_whole_text(host: FunctionHost) -> None:
    with pytest.raises(FunctionRaised) as raised:
        await host.call("fails", text="it was " + "あ" * 1_000)

    text = raised.value.text
    assert (text.type, text.message) == ("ValueError", "it was " + "あ" * 1_000)
    assert "functions_of_acme.py" in text.traceback
    assert "あ" not in str(raised.value)


async def test_a_function_that_leaves_by_sys_exit_only_fails(host: FunctionHost) -> None:
    before = await host.call("process")
    with pytest.raises(FunctionRaised) as raised:
        await host.call("leaves")

    assert raised.value.text.type == "SystemExit"
    assert await host.call("process") == before


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("synchronous", "the function returned int, which cannot be awaited"),
        ("yields", "the function returned async_generator, which cannot be awaited"),
    ],
)
async def test_what_is_no_coroutine_function_is_unusable(
    host: FunctionHost, name: str, message: str
) -> None:
    before = await host.call("process")
    with pytest.raises(StepImpossible) as failed:
        await host.call(name)

    assert failed.value.reason == "FUNCTION_UNUSABLE"
    assert message in failed.value.message
    assert await host.call("process") == before


async def test_a_function_leaves_as_many_files_in_the_middle_as_it_likes(
    host: FunctionHost,
) -> None:
    assert await host.call("opens_many", count=32) == ["bytes"]
    assert await host.call("opens_many", count=200) == ["RequestFailed", "bytes"]
    assert host.files.left == 64
    with pytest.raises(StepImpossible) as failed:
        await host.call("opens_many", count=33, minds=True)
    assert failed.value.reason == "TOO_MANY_STREAMS"


async def test_a_function_may_stop_waiting_for_a_piece_of_a_file(host: FunctionHost) -> None:
    unseen: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unseen.append(context))
    await host.call("gives_up_streaming", count=50)
    gc.collect()

    assert unseen == []


async def test_a_fork_of_a_function_neither_answers_for_it_nor_takes_calls(
    host: FunctionHost,
) -> None:
    assert await host.call("forks") == "parent"
    assert len({await host.call("process") for _ in range(20)}) == 1


async def test_a_fork_does_not_hide_that_its_function_has_died(host: FunctionHost) -> None:
    with pytest.raises(StepFailed) as failed:
        await host.call("forks_and_exits", limit=20)

    assert failed.value.reason == "FUNCTION_DIED"


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ("functions_unusable:licensed", "it needs a licence"),
        ("functions_of_acme:kept", "functions_of_acme:kept is no function"),
    ],
)
async def test_a_function_that_cannot_be_loaded_is_unusable(
    host: FunctionHost, entry: str, why: str
) -> None:
    call = FunctionCall(entry, host.context({}), {})
    with pytest.raises(StepImpossible) as failed:
        await host.pool.call(call, 60)

    assert failed.value.reason == "FUNCTION_UNUSABLE"
    assert failed.value.text is not None
    assert why in failed.value.text.message


async def test_what_functions_write_and_read_neither_holds_them_up_nor_gets_out(
    host: FunctionHost, capfd: pytest.CaptureFixture[str]
) -> None:
    assert await host.call("shouts") == ""
    assert await host.call("shouts") == ""
    assert "xxx" not in "".join(capfd.readouterr())


async def test_functions_see_none_of_the_workers_settings(
    tmp_path: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in worker_settings(keys).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("OF_THE_FUNCTION", "its own")
    monkeypatch.setenv("LANGSMITH_TRACING", "true")
    install(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    config = WorkerConfig.read()
    pool = FunctionPool(config.functions, config.tenant_share)
    async with pool.running():
        seen = await FunctionHost(pool, tmp_path).call("environment")

    assert seen["OF_THE_FUNCTION"] == "its own"
    assert [name for name in seen if name.startswith(("NAGAYA_", "TEMPORAL_", "LANGSMITH_"))] == []
