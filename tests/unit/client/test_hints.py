"""A hint that names a call of a service is told as the command that makes the call."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

import click
import grpc
import pytest
from google.protobuf import descriptor_pool, message_factory
from tests.unit.client.api import Api, Refusal

from nagaya.runs.v1 import run_pb2, run_service_pb2
from nagaya_client.cli import main
from nagaya_client.cli.main import GROUPS, run

if TYPE_CHECKING:
    from pathlib import Path

    from google.protobuf.descriptor import Descriptor
    from google.protobuf.message import Message
    from tests.unit.client.api import RecordedCall

RUN_ID = "0192f0c1-2345-7000-8000-000000000001"
NO_RUN = "there is no run. List the tenant's runs with ListRuns."
# Made only on a condition: with a filter; of a large input, of a file that is not there yet, of a
# tenant or not, of a whole bundle, or when an operation is done.
CONDITIONAL = {
    "BulkRuns",
    "CreateImport",
    "DownloadBundle",
    "PurgeTenant",
    "RotatePasswords",
    "StartRun",
    "UploadArtifact",
    "UploadBundle",
}
WORDS = {
    "schedule": "nightly",
    "every_seconds": "3600",
    "start": "2026-11-29T02:30:00Z",
    "end": "2026-11-30T02:30:00Z",
    "path": f"storage/acme/{RUN_ID}/draft/output.json",
    "version": "1",
    "input_micro_usd": "1",
    "output_micro_usd": "2",
}


def _commands() -> list[tuple[str, click.Command]]:
    loaded = ((name, importlib.import_module(f"nagaya_client.cli.{name}").group) for name in GROUPS)
    return [(name, command) for name, group in loaded for command in group.commands.values()]


COMMANDS = [
    pytest.param(group, command, id=f"{group} {command.name}")
    for group, command in _commands()
    if getattr(command, "rpcs", ())
]


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(("group", "command"), COMMANDS)
def test_a_command_makes_the_calls_that_are_reported_as_it(
    api: Api, here: Path, group: str, command: click.Command
) -> None:
    api.on("*", _empty)
    run([group, str(command.name), *_arguments(command, here)])

    asked = {call.method for call in api.calls}
    assert set(getattr(command, "rpcs", ())) - CONDITIONAL <= asked


def test_no_call_is_shown_as_two_commands() -> None:
    calls = [call for _, command in _commands() for call in getattr(command, "rpcs", ())]
    assert sorted(calls) == sorted(set(calls))


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("arguments", "hint", "expected"),
    [
        (["run", "get", RUN_ID, "-t", "acme"], NO_RUN, "`nagaya run list --tenant acme`."),
        (
            ["run", "start", "art", "-i", "in.json", "-t", "acme"],
            "Create it with CreatePipelineVersion.",
            "`nagaya pipeline create FILE --tenant acme`.",
        ),
        (
            ["call", "get", RUN_ID, "draft", "--tenant", "acme"],
            "List the run's calls with ListCalls.",
            f"`nagaya call list --run {RUN_ID} --tenant acme`.",
        ),
        (
            ["run", "list", "--tenant", "acme", "--token-file", "my token"],
            "Resume the tenant with ResumeTenant.",
            "`nagaya tenant resume acme --token-file 'my token'`.",
        ),
        (
            ["artifact", "get", WORDS["path"]],
            "List the run's files with ListArtifacts.",
            "`nagaya artifact list RUN_ID --tenant ID`.",
        ),
        (["tenant", "get", "acme"], "Ask PostgreSQL, not FlyToTheMoon.", "not FlyToTheMoon."),
    ],
    ids=["tenant", "file", "run", "carried", "unknown", "no call"],
)
def test_the_command_is_filled_with_what_was_given(
    api: Api,
    here: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    hint: str,
    expected: str,
) -> None:
    (here / "in.json").write_text("{}")
    (here / "my token").write_text("token")
    api.on("*", Refusal(grpc.StatusCode.NOT_FOUND, hint))

    assert run(arguments) == 3
    (line, *_) = capsys.readouterr().err.splitlines()
    assert line.endswith(expected)


@pytest.mark.usefixtures("here")
def test_a_tenant_of_the_settings_need_not_be_given_again(
    api: Api, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NAGAYA_TENANT", "acme")
    api.on("GetRun", Refusal(grpc.StatusCode.NOT_FOUND, NO_RUN))

    assert run(["run", "get", RUN_ID]) == 3
    assert "List the tenant's runs with `nagaya run list`.\n" in capsys.readouterr().err


@pytest.mark.usefixtures("here")
def test_a_word_that_is_no_call_is_no_trouble_without_the_local_stack(
    api: Api, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(main, "entry_points", lambda **_: ())
    api.on("GetTenant", Refusal(grpc.StatusCode.NOT_FOUND, "Ask OpenFeature."))

    assert run(["tenant", "get", "acme"]) == 3
    assert capsys.readouterr().err.startswith("error: Ask OpenFeature.\n")


@pytest.mark.usefixtures("here")
def test_what_a_run_failed_with_names_commands_too(
    api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = run_pb2.Run(run_id=RUN_ID, state=run_pb2.RUN_STATE_FAILED)
    failed.error.message = "no prompt. Create one with CreatePromptVersion."
    event = run_pb2.RunEvent(sequence=1, run=failed)
    api.on("WatchRun", [run_service_pb2.WatchRunResponse(event=event)])

    assert run(["run", "watch", RUN_ID, "--tenant", "acme"]) == 1
    assert "`nagaya prompt create PROMPT --tenant acme`." in capsys.readouterr().err


def _empty(call: RecordedCall) -> Message | list[Message]:
    """Answer any method with an empty response, and a stream with the end of a run or step."""
    if call.method == "WatchRun":
        over = run_pb2.RunEvent(sequence=1, run=run_pb2.Run(state=run_pb2.RUN_STATE_COMPLETED))
        return [run_service_pb2.WatchRunResponse(event=over)]
    if call.method == "WatchStepText":
        done = run_pb2.RunStep(state=run_pb2.STEP_STATE_COMPLETED)
        return [run_service_pb2.WatchStepTextResponse(step=done)]
    return message_factory.GetMessageClass(_output(call))()


def _output(call: RecordedCall) -> Descriptor:
    service = next(
        f"{call.requests[0].DESCRIPTOR.file.package}.{name}"
        for name in call.requests[0].DESCRIPTOR.file.services_by_name
    )
    return descriptor_pool.Default().FindMethodByName(f"{service}.{call.method}").output_type


def _arguments(command: click.Command, folder: Path) -> list[str]:
    """Return what the command cannot do without, and a tenant where it takes one."""
    (folder / "in.json").write_text("{}")
    (folder / "pipeline.yaml").write_text("pipeline: article\nsteps: []\n")
    words: list[str] = []
    for one in command.params:
        value = WORDS.get(str(one.name), RUN_ID)
        if one.type.name in ("file", "filename", "path"):
            value = str(folder / ("pipeline.yaml" if one.name == "file" else "in.json"))
        if one.name == "folder":
            value = str(folder)
        if isinstance(one, click.Argument):
            words += [value] if one.required else []
        elif one.required or one.name in ("tenant", "owner", "content", "given", "every_seconds"):
            words += [one.opts[0], value]
    return words
