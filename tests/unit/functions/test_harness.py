"""The test harness for functions: it gives and refuses what a worker does."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from nagaya_functions import MAX_FILE_BYTES, FilePointer, JsonValue, StepContext, StepError
from nagaya_functions.testing import FunctionHarness, load_function

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TEXT = "text/plain"


async def echo(context: StepContext) -> JsonValue:
    """Return everything that it knows about its step, and what it reads."""
    return {
        "step": [context.tenant_id, context.run_id, context.step, context.item, context.visit],
        "arguments": context.arguments,
        "element": context.element and await context.read(context.element),
        "mapped": sorted(context.mapped_steps),
        "outputs": {
            step: [await context.read(file) for file in files]
            for step, files in context.outputs.items()
        },
    }


async def test_a_function_gets_the_input_the_outputs_of_the_steps_it_needs_and_its_arguments() -> (
    None
):
    harness = FunctionHarness(tenant_id="bolt")
    harness.add_output("input", {"topic": "heat"})
    harness.add_item_outputs("parse", ["a", "b"])
    harness.add_item_outputs("nothing", [])
    harness.add_output("other", 1)
    result = await harness.run(echo, step="total", needs=["parse", "nothing"], arguments={"n": 2})

    assert result.output == {
        "step": ["bolt", "00000000-0000-4000-8000-000000000001", "total", 0, 1],
        "arguments": {"n": 2},
        "element": None,
        "mapped": ["nothing", "parse"],
        "outputs": {"input": [{"topic": "heat"}], "parse": ["a", "b"], "nothing": []},
    }


async def test_a_mapped_step_gets_its_element() -> None:
    harness = FunctionHarness()
    elements = harness.add_output("lines", [[3], [4]])
    first = await harness.run(echo, element=elements.inside("/0"))
    second = await harness.run(echo, element=elements.inside("/1").inside("/0"), item=2)

    outputs: list[Any] = [first.output, second.output]
    assert [(one["element"], one["step"][3:]) for one in outputs] == [([3], [1, 1]), (4, [2, 1])]


async def test_numbers_are_passed_on_to_the_letter_and_metrics_are_taken() -> None:
    harness = FunctionHarness()
    prices = harness.add_file("input/artifacts/0-1/prices.json", b'{"price": 19.90, "id": 1E2}')

    async def passes_on(context: StepContext) -> JsonValue:
        return await context.read(prices)

    result = await harness.run(passes_on, metrics={"price": "/price", "id": "/id"})

    assert result.data == b'{"id":1E2,"price":19.90}'
    assert result.metrics == {"price": 19.9, "id": 100}
    assert isinstance(result.metrics["id"], int)


async def test_files_are_streamed_and_written_and_the_first_of_a_name_stays() -> None:
    async def copy(context: StepContext) -> JsonValue:
        pieces = [piece async for piece in context.stream(large)]
        first = await context.write("parts/copy.bin", b"".join(pieces), "application/octet-stream")
        again = await context.write("parts/copy.bin", b"other", "application/octet-stream")
        assert first == again
        return {"pieces": len(pieces), "path": first.path, "digest": first.digest}

    harness = FunctionHarness()
    large = harness.add_file("scan/artifacts/0-1/page.png", bytes(2_500_000))
    result = await harness.run(copy, step="copy")

    assert result.output == {
        "pieces": 3,
        "path": f"{large.path.partition('/scan/')[0]}/copy/artifacts/0-1/parts/copy.bin",
        "digest": large.digest,
    }
    assert result.files == {"parts/copy.bin": bytes(2_500_000)}


async def _returns(value: object) -> object:
    return value


async def _streams(context: StepContext, file: FilePointer) -> None:
    for stream in [context.stream(file) for _ in range(33)]:
        await anext(stream)


REFUSED: list[tuple[str, Callable[[StepContext, dict[str, FilePointer]], object]]] = [
    ("OUTPUT_NOT_JSON", lambda _, __: _returns({1, 2})),
    ("OUTPUT_NOT_JSON", lambda _, __: _returns(float("nan"))),
    ("OUTPUT_TOO_LARGE", lambda _, __: _returns("x" * MAX_FILE_BYTES)),
    ("METRIC_NOT_A_NUMBER", lambda _, __: _returns({"score": "7"})),
    ("FUNCTION_UNUSABLE", lambda _, __: 7),
    ("NOT_JSON", lambda context, files: context.read(files["text"])),
    ("READ_TOO_LARGE", lambda context, files: context.read(files["large"])),
    ("READ_TOO_LARGE", lambda context, files: context.read(files["large"].inside("/0"))),
    ("READ_TOO_LARGE", lambda context, files: context.read(files["huge"].inside("/1"))),
    ("POINTER_INVALID", lambda context, files: context.read(files["text"].inside("/a"))),
    ("POINTER_INVALID", lambda context, files: context.read(files["list"].inside("/5"))),
    ("POINTER_INVALID", lambda context, files: context.read(files["list"].inside("0"))),
    ("ARTIFACT_NOT_FOUND", lambda context, files: context.read(_other(files, "list", "lost"))),
    ("DIGEST_UNEXPECTED", lambda context, files: context.read(_other(files, "list", "list"))),
    ("PATH_INVALID", lambda context, files: context.read(_other(files, "/acme/", "/bolt/"))),
    ("TOO_MANY_STREAMS", lambda context, files: _streams(context, files["list"])),
    ("FILE_TOO_LARGE", lambda context, _: context.write("a", bytes(MAX_FILE_BYTES + 1), TEXT)),
    ("FILE_NAME_INVALID", lambda context, _: context.write("../a", b"", TEXT)),
    ("FILE_NAME_INVALID", lambda context, _: context.write("output.json", b"{}", TEXT)),
    ("FILE_NAME_INVALID", lambda context, _: context.write("a", b"", "text")),
]


def _other(files: dict[str, FilePointer], part: str, instead: str) -> FilePointer:
    """Return a pointer with another path, and another digest."""
    return FilePointer(files["list"].path.replace(part, instead), "0" * 64)


@pytest.mark.parametrize("number", range(len(REFUSED)))
async def test_what_a_worker_refuses_the_harness_refuses(number: int) -> None:
    reason, does = REFUSED[number]
    harness = FunctionHarness()
    files = {
        name: harness.add_file(f"input/artifacts/0-1/{name}.json", content)
        for name, content in {
            "text": b"no JSON",
            "list": b"[1, 2]",
            "large": b'["%s", 1]' % (b"x" * MAX_FILE_BYTES),
            "huge": b'["%s", 1]' % (b"x" * (16 << 20)),
        }.items()
    }

    def function(context: StepContext) -> Any:  # noqa: ANN401 - as authors may err
        return does(context, files)

    with pytest.raises(StepError) as failed:
        await harness.run(function, metrics={"score": "/score"})
    assert (failed.value.reason, failed.value.retryable) == (reason, False)


async def test_what_a_function_raises_comes_out_of_the_harness() -> None:
    async def fails(context: StepContext) -> JsonValue:
        if context.arguments:
            raise StepError("NO_SUCH_CUSTOMER", "x" * 1_000)
        raise KeyError("customer")

    with pytest.raises(KeyError):
        await FunctionHarness().run(fails)
    with pytest.raises(StepError) as failed:
        await FunctionHarness().run(fails, arguments={"customer": 7})
    assert (failed.value.retryable, failed.value.message) == (True, "x" * 400)


@pytest.mark.parametrize("reason", ["", "no_such_customer", "NO SUCH", "7", "A" * 64])
def test_a_reason_that_no_step_can_have_is_refused_where_it_is_written(reason: str) -> None:
    with pytest.raises(ValueError, match="is no reason"):
        StepError(reason, "there is no such customer")


async def test_the_files_of_a_run_are_found_in_its_folder_and_nothing_is_written_there(
    tmp_path: Path,
) -> None:
    run = tmp_path / "bolt" / "00000000-0000-4000-8000-000000000002"
    for name, value in {
        "input/output.json": {"topic": "heat"},
        "parse/output.json": {"items": ["…"]},
        **{f"parse/artifacts/{item}-1/output.json": item for item in range(1, 12)},
        "plan/output.json": ["a"],
        "plan/artifacts/0-1/call-1.json": {"content": ["a"]},
        "failed/artifacts/0-1/error-1.json": {"type": "ValueError"},
    }.items():
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text(json.dumps(value))
    before = sorted(run.rglob("*"))

    async def writes(context: StepContext) -> JsonValue:
        await context.write("a.txt", b"a", "text/plain")
        return await echo(context)

    harness = FunctionHarness.from_folder(run)
    (plan,) = harness.outputs["plan"]
    result = await harness.run(writes, element=plan.inside("/0"))

    assert result.output == {
        "step": ["bolt", "00000000-0000-4000-8000-000000000002", "step", 1, 1],
        "arguments": {},
        "element": "a",
        "mapped": ["parse"],
        "outputs": {"input": [{"topic": "heat"}], "parse": [*range(1, 12)], "plan": [["a"]]},
    }
    assert result.files == {"a.txt": b"a"}
    assert sorted(run.rglob("*")) == before


async def test_a_function_is_found_by_the_name_that_pipelines_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "functions_of_bolt.py").write_text(
        "async def seven(context): return 7\nasync def eight(context): return 8\n"
    )
    for name, lines in {
        "bolt": "bolt.seven = functions_of_bolt:seven\nbolt.both = functions_of_bolt:seven\n",
        "nut": "bolt.both = functions_of_bolt:eight\n",
    }.items():
        about = tmp_path / f"{name}-1.0.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (about / "entry_points.txt").write_text(f"[nagaya.functions]\n{lines}")
    monkeypatch.syspath_prepend(tmp_path)

    assert (await FunctionHarness().run("bolt.seven")).output == 7
    with pytest.raises(LookupError, match=r"no functions are installed under the name bolt\.nine"):
        load_function("bolt.nine")
    with pytest.raises(LookupError, match=r"2 functions are installed under the name bolt\.both"):
        load_function("bolt.both")


async def test_the_idempotency_key_is_the_same_for_each_attempt_and_another_elsewhere() -> None:
    async def key(context: StepContext) -> JsonValue:
        return context.idempotency_key

    first, again = [await FunctionHarness().run(key, step="book") for _ in range(2)]
    visit = await FunctionHarness().run(key, step="book", visit=2)
    bolt = await FunctionHarness(tenant_id="bolt").run(key, step="book")

    assert first.output == again.output == "81699708-b15f-536c-8d6c-30b7d5c5503a"
    assert len({str(each.output) for each in (first, visit, bolt)}) == 3
