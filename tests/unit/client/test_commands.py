"""The command as a whole: its help, its groups, and that it starts quickly."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest

from nagaya_client.cli import main
from nagaya_client.cli.main import nagaya, run

OFFLINE = ("bundle", "certificate", "dev")
OFFLINE_COMMANDS = {
    ("webhook", "verify"),
    ("keys", "new-workload"),
    ("keys", "new-issuer"),
    ("keys", "new-ring"),
    ("keys", "retire"),
    ("keys", "sign-token"),
    ("login",),
    ("logout",),
}
"""Groups that ask no service."""


def loaded() -> dict[str, click.Command]:
    """Every group of commands, that of the local stack included, and every command of none."""
    context = click.Context(nagaya)
    found = {name: nagaya.get_command(context, name) for name in nagaya.list_commands(context)}
    assert "dev" in found
    return {name: one for name, one in found.items() if one is not None}


def groups() -> dict[str, click.Group]:
    return {name: one for name, one in loaded().items() if isinstance(one, click.Group)}


def commands() -> list[list[str]]:
    of_groups = [[name, verb] for name, group in groups().items() for verb in group.commands]
    return [*of_groups, *([name] for name in loaded() if name not in groups())]


def parameters(command: list[str]) -> list[click.Parameter]:
    name, *verb = command
    return (groups()[name].commands[verb[0]] if verb else loaded()[name]).params


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_every_command_says_what_it_does(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*command, "--help"]) == 0
    usage, _, rest = capsys.readouterr().out.partition("\n\n")
    assert usage.startswith(f"Usage: nagaya {' '.join(command)}")
    assert rest.split("\n\n")[0].strip().endswith(".")


@pytest.mark.parametrize("group", groups())
def test_every_summary_fits_a_terminal(
    group: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert run([group, "--help"]) == 0
    shown = capsys.readouterr().out.partition("Commands:")[2]
    assert "..." not in shown


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_every_option_says_what_it_is_for(command: list[str]) -> None:
    options = [one for one in parameters(command) if isinstance(one, click.Option)]
    assert [one.name for one in options if not one.help] == []


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_every_command_that_asks_nagaya_has_every_format(command: list[str]) -> None:
    names = {parameter.name for parameter in parameters(command)}
    offline = command[0] in OFFLINE or tuple(command) in OFFLINE_COMMANDS
    assert offline or {"output", "no_headers", "addresses", "token_file"} <= names


def test_the_summaries_are_those_of_groups_and_commands() -> None:
    said = {name: str(one.help).partition("\n")[0] for name, one in loaded().items()}
    assert said == main.summaries()


def test_help_lists_every_group_and_every_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"\n  {name} " in shown for name in main.summaries())
    assert all(f"  {code}  " in shown for code in range(8))


@pytest.mark.parametrize(
    ("typed", "meant"), [(["rnu", "list"], "run"), (["run", "strat"], "start")], ids=str
)
def test_a_misspelt_command_suggests_the_right_one(
    typed: list[str], meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(typed) == 2
    assert f"Did you mean '{meant}'?" in capsys.readouterr().err


def test_help_loads_neither_grpc_nor_protobuf_nor_rich() -> None:
    program = (
        "import sys\n"
        "from nagaya_client.cli.main import run\n"
        "assert run(['--help']) == 0\n"
        "heavy = {'asyncio', 'google', 'grpc', 'nagaya', 'rich', 'yaml'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_an_interrupted_command_ends_with_130(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(nagaya, "invoke", interrupt)
    assert run(["tenant", "list"]) == 130
    assert capsys.readouterr().err.strip() == "interrupted"


def test_a_command_that_is_interrupted_while_it_is_loaded_ends_quietly(tmp_path: Path) -> None:
    (tmp_path / "click.py").write_text(
        "import time\nprint('loading', flush=True)\ntime.sleep(60)\n"
    )
    with subprocess.Popen(
        [Path(sys.executable).with_name("nagaya"), "dev", "status"],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "loading\n"
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate()

    assert (process.returncode, stderr) == (130, "")


def test_without_the_local_stack_its_commands_say_how_to_get_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(main, "entry_points", lambda **_: ())

    assert run(["dev", "up"]) == 1
    stderr = capsys.readouterr().err
    assert stderr.startswith("error: the local stack is not installed")
    assert "`make install`" in stderr
