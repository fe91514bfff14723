"""What went wrong is told on stderr, and by the exit code that `nagaya --help` promises."""

from __future__ import annotations

import hashlib
import json
import sys
from typing import TYPE_CHECKING

import grpc
import pytest
from tests.unit.client.api import REQUEST_ID, Api, Refusal

from nagaya.artifacts.v1 import artifact_pb2, artifact_service_pb2
from nagaya.runs.v1 import run_pb2, run_service_pb2
from nagaya_client.cli.main import run

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.client.api import RecordedCall

RUN_ID = "0192f0c1-2345-7000-8000-000000000001"

PROMISED = {
    grpc.StatusCode.CANCELLED: 6,
    grpc.StatusCode.UNKNOWN: 1,
    grpc.StatusCode.INVALID_ARGUMENT: 2,
    grpc.StatusCode.DEADLINE_EXCEEDED: 6,
    grpc.StatusCode.NOT_FOUND: 3,
    grpc.StatusCode.ALREADY_EXISTS: 5,
    grpc.StatusCode.PERMISSION_DENIED: 4,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 6,
    grpc.StatusCode.FAILED_PRECONDITION: 5,
    grpc.StatusCode.ABORTED: 5,
    grpc.StatusCode.OUT_OF_RANGE: 2,
    grpc.StatusCode.UNIMPLEMENTED: 1,
    grpc.StatusCode.INTERNAL: 1,
    grpc.StatusCode.UNAVAILABLE: 6,
    grpc.StatusCode.DATA_LOSS: 1,
    grpc.StatusCode.UNAUTHENTICATED: 4,
}


def test_every_code_has_an_exit_code() -> None:
    assert set(PROMISED) == set(grpc.StatusCode) - {grpc.StatusCode.OK}


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("code", PROMISED, ids=lambda code: code.name)
def test_a_refusal_ends_with_its_code_and_says_why(
    api: Api, code: grpc.StatusCode, capsys: pytest.CaptureFixture[str]
) -> None:
    api.on("GetTenant", Refusal(code, "there is no such tenant. List them with ListTenants."))

    status = run(["tenant", "get", "acme"])

    printed = capsys.readouterr()
    assert status == PROMISED[code]
    assert printed.out == ""
    assert printed.err.splitlines() == [
        "error: there is no such tenant. List them with `nagaya tenant list`.",
        "reason: ERROR_REASON_TEST",
        f"request id: {REQUEST_ID}",
    ]


@pytest.mark.usefixtures("here")
def test_a_defect_names_what_to_send_to_whom(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    message, reason = "internal error 0123456789ab", "ERROR_REASON_INTERNAL"
    api.on("GetTenant", Refusal(grpc.StatusCode.INTERNAL, message, reason=reason))

    assert run(["tenant", "get", "acme"]) == 1
    error, named, hint, request_id = capsys.readouterr().err.splitlines()
    assert (error, named) == (f"error: {message}", f"reason: {reason}")
    assert hint.startswith("hint: A defect of the service. Send the id of the error to whoever ")
    assert request_id == f"request id: {REQUEST_ID}"


@pytest.mark.usefixtures("here")
def test_field_violations_are_listed(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    violations = (("tenant_id", "does not match the pattern"), ("name", "is too short"))
    api.on(
        "CreateTenant",
        Refusal(grpc.StatusCode.INVALID_ARGUMENT, "two rules are broken", violations=violations),
    )

    assert run(["tenant", "create", "A"]) == 2
    stderr = capsys.readouterr().err
    assert "  tenant_id: does not match the pattern\n  name: is too short\n" in stderr


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("violations", "expected"),
    [
        ([("name", "is long")], ["error: name: is long"]),
        (
            [("name", "is long"), ("tenant_id", "is short")],
            ["error: 2 fields are wrong", "  name: is long", "  tenant_id: is short"],
        ),
    ],
    ids=["one", "two"],
)
def test_a_wrong_field_is_reported_once(
    api: Api,
    violations: list[tuple[str, str]],
    expected: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    message = "name: is long. Each wrong field is listed in the details of the status."
    code = grpc.StatusCode.INVALID_ARGUMENT
    api.on("CreateTenant", Refusal(code, message, violations=tuple(violations)))

    assert run(["tenant", "create", "A"]) == 2
    assert capsys.readouterr().err.splitlines()[:-2] == expected


@pytest.mark.usefixtures("here")
def test_an_unreachable_server_is_named_with_what_helps(
    api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    api.stop()

    assert run(["tenant", "list"]) == 6
    stderr = capsys.readouterr().err
    assert f"error: {api.address} cannot be reached: Connection refused" in stderr
    assert "hint: Is it running? `nagaya dev status`" in stderr


@pytest.mark.usefixtures("elsewhere")
def test_without_any_nagaya_the_ways_to_one_are_reported(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["tenant", "list"]) == 2
    stderr = capsys.readouterr().err
    assert "error: no Nagaya found\nhint: `nagaya dev up` starts one here; or set NAGAYA" in stderr


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    "arguments",
    [
        ["no-such-group"],
        ["tenant", "no-such-verb"],
        ["tenant", "get"],
        ["run", "list"],
        ["run", "list", "--tenant", "acme", "--state", "finished"],
        ["run", "list", "--tenant", "acme", "--address", "moon=127.0.0.1:1"],
        ["artifact", "cat", "not/a/path"],
        ["model", "set-price", "gpt-6", "--input-usd", "cheap", "--output-usd", "1"],
        ["pipeline", "create", "missing.yaml", "--tenant", "acme"],
        ["prompt", "create", "draft", "--file", "missing.md", "--tenant", "acme"],
        ["prompt", "create", "draft", "--file", sys.executable, "--tenant", "acme"],
        ["tenant", "list", "--address", "example"],
    ],
    ids=" ".join,
)
def test_wrong_usage_ends_with_2_and_asks_nobody(api: Api, arguments: list[str]) -> None:
    assert run(arguments) == 2
    assert api.calls == []


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("state", "status"),
    [
        (run_pb2.RUN_STATE_COMPLETED, 0),
        (run_pb2.RUN_STATE_FAILED, 1),
        (run_pb2.RUN_STATE_CANCELLED, 1),
    ],
)
def test_watching_ends_as_the_run_does(
    api: Api, state: run_pb2.RunState.ValueType, status: int
) -> None:
    event = run_pb2.RunEvent(sequence=1, run=run_pb2.Run(run_id=RUN_ID, state=state))
    api.on("WatchRun", [run_service_pb2.WatchRunResponse(event=event)])

    assert run(["run", "watch", RUN_ID, "--tenant", "acme"]) == status


@pytest.mark.usefixtures("here")
def test_a_run_that_failed_is_printed_all_the_same(
    api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = run_pb2.Run(run_id=RUN_ID, state=run_pb2.RUN_STATE_FAILED)
    failed.error.step, failed.error.message = "draft", "too long"
    event = run_pb2.RunEvent(sequence=1, run=failed)
    api.on("WatchRun", [run_service_pb2.WatchRunResponse(event=event)])
    api.on("GetRun", run_service_pb2.GetRunResponse(run=failed))

    assert run(["run", "watch", RUN_ID, "--tenant", "acme", "-o", "json"]) == 1
    printed = capsys.readouterr()
    assert json.loads(printed.out)["run"]["state"] == "RUN_STATE_FAILED"
    assert printed.err.startswith("error: step draft: too long\n")


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("spoiled", "status"), [([], 0), (["b"], 7), (["a", "b"], 1)], ids=["none", "one", "all"]
)
def test_verifying_ends_with_how_much_is_right(
    api: Api, spoiled: list[str], status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def download(call: RecordedCall) -> list[artifact_service_pb2.DownloadArtifactResponse]:
        path: str = call.request.path
        digest = hashlib.sha256(b"bytes").hexdigest()
        record = artifact_pb2.Artifact(path=path, digest=digest, size_bytes=5)
        sent = b"other" if path[-1] in spoiled else b"bytes"
        return [
            artifact_service_pb2.DownloadArtifactResponse(artifact=record),
            artifact_service_pb2.DownloadArtifactResponse(data=sent),
        ]

    api.on("DownloadArtifact", download)
    paths = [f"storage/acme/{RUN_ID}/outline/artifacts/{name}" for name in "ab"]

    assert run(["artifact", "verify", *paths, "--no-headers"]) == status
    verdicts = [line.split()[-1] for line in capsys.readouterr().out.splitlines()]
    assert verdicts == ["corrupt" if path[-1] in spoiled else "ok" for path in paths]


@pytest.mark.usefixtures("here")
def test_a_file_that_cannot_be_written_is_no_defect(
    api: Api, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = here / "no" / "such" / "folder" / "x"

    path = f"storage/acme/{RUN_ID}/outline/output.json"
    assert run(["artifact", "get", path, "--to", str(target)]) == 2
    assert "there is no folder" in capsys.readouterr().err
    assert api.calls == []


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize(
    ("arguments", "settings", "expected"),
    [
        (["up"], {}, "is no clone of Nagaya, and a stack of its own would begin in it"),
        (["demo"], {}, "is no clone of Nagaya"),
        (
            ["up", "--here"],
            {"TEMPORAL_ADDRESS": "nonsense"},
            "error: TEMPORAL_ADDRESS is not HOST:PORT, or https://HOST:PORT for TLS\n",
        ),
        (["up", "--here", "moon"], {}, "error: there is no part moon"),
        (
            ["up", "--here"],
            {"S3_ENDPOINT": "http://s3:9000"},
            "S3_ENDPOINT is set without S3_ACCESS_KEY",
        ),
        (["logs", "moon"], {}, "error: there is no log of 'moon'\n"),
    ],
    ids=["no clone", "no clone to show", "address", "no part", "keys", "part"],
)
def test_what_the_local_stack_cannot_make_sense_of_ends_with_2(
    arguments: list[str],
    settings: dict[str, str],
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("S3_ACCESS_KEY", "S3_SECRET_KEY", "S3_ENDPOINT", "TEMPORAL_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)

    assert run(["dev", *arguments]) == 2
    printed = capsys.readouterr().err
    assert expected in printed
    assert "hint: " in printed


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("[" * 100_000 + "]" * 100_000, "cannot be used: it is nested too deeply"),
        ('["\\ud800"]', "cannot be used: a string holds half of a surrogate pair"),
        ('{"a": 1, "a": 2}', "has two members named 'a'"),
        ('{"a": NaN}', "cannot be used: NaN is no number of JSON"),
        ('{"a": 1e400}', "cannot be used: a number is larger than any that programs can hold"),
        ('{"a": 1,}', "cannot be used: it is not valid JSON at line 1, column 9"),
    ],
    ids=["too deep", "half a character", "a name twice", "NaN", "1e400", "no JSON"],
)
def test_an_input_that_cannot_be_sent_is_wrong_usage(
    tmp_path: Path, given: str, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "input.json"
    file.write_text(given)

    status = run(["run", "start", "article", "--tenant", "acme", "--input", str(file)])

    assert status == 2
    assert expected in capsys.readouterr().err
