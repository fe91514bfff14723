"""protos/ is all that a client in any language is made of: a copy of it works, offline."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CLONE = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
BUF = BIN / "buf"
SUFFIXES = {
    "csharp": {".cs"},
    "kotlin": {".kt"},
    "ruby": {".rb"},
    "php": {".php"},
    "cpp": {".cc", ".h"},
    "objc": {".m", ".h"},
}
PROTOC = (sys.executable, "-m", "grpc_tools.protoc")


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the contracts, without what is generated from them."""
    copy = tmp_path_factory.mktemp("bare") / "protos"
    shutil.copytree(CLONE / "protos", copy, ignore=shutil.ignore_patterns("gen", "__pycache__"))
    return copy


def run(*command: str | Path, folder: Path) -> str:
    """Run a program without a home or a network of its own; return what it has written."""
    path = f"{BIN}:/usr/bin:/bin"
    environment = {"PATH": path, "HOME": str(folder), "BUF_CACHE_DIR": str(folder)}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("command", ["lint", "build"])
def test_buf_reads_a_copy(bare: Path, command: str) -> None:
    assert run(BUF, command, folder=bare) == ""


def test_buf_generates_from_a_copy(bare: Path, tmp_path: Path) -> None:
    template = tmp_path / "buf.gen.yaml"
    template.write_text(
        "version: v2\n"
        "plugins:\n"
        "  - protoc_builtin: python\n"
        f"    protoc_path: [{', '.join(PROTOC)}]\n"
        "    out: gen\n"
    )

    run(BUF, "generate", bare, "--template", template, folder=tmp_path)

    assert len(list(tmp_path.glob("gen/nagaya/**/*_pb2.py"))) == len(contracts(bare))


def test_protoc_generates_from_a_copy(bare: Path, tmp_path: Path) -> None:
    files = [path.relative_to(bare).as_posix() for path in bare.rglob("*.proto")]

    run(*PROTOC, f"-I{bare}", f"--python_out={tmp_path}", *files, folder=tmp_path)

    assert len(list(tmp_path.rglob("*_pb2.py"))) == len(files) > len(contracts(bare))


def test_the_template_for_csharp_generates_from_a_copy(bare: Path, tmp_path: Path) -> None:
    template = bare / "templates" / "csharp.yaml"

    run(BUF, "generate", bare, "--template", template, folder=tmp_path)

    made = {path.relative_to(tmp_path).as_posix() for path in tmp_path.glob("gen/Nagaya/**/*.cs")}
    assert "gen/Nagaya/Runs/V1/Run.cs" in made
    assert len(made) == len(contracts(bare))


@pytest.mark.parametrize("language", ["csharp", "kotlin", "ruby", "php", "cpp", "objc"])
def test_the_command_of_the_readme_generates_from_a_copy(
    bare: Path, tmp_path: Path, language: str
) -> None:
    (row,) = (
        line for line in (bare / "README.md").read_text().splitlines() if "--ruby_out" in line
    )
    command = row.split("`")[1].replace("--ruby_out", f"--{language}_out")
    if language == "csharp":
        command = command.replace("protoc ", "protoc --csharp_opt=base_namespace= ")

    run("sh", "-c", command, folder=bare.parent)

    out = (bare.parent / "out").rename(tmp_path / "out")
    assert [path for path in out.rglob("*") if path.suffix in SUFFIXES[language]]


def test_each_template_is_named_in_the_readme(bare: Path) -> None:
    readme = (bare / "README.md").read_text()

    templates = [path.name for path in (bare / "templates").iterdir()]
    assert templates
    assert [name for name in templates if f"protos/templates/{name}`" not in readme] == []


def test_a_contract_without_the_options_for_generators_is_named(bare: Path, tmp_path: Path) -> None:
    changed = tmp_path / "protos"
    shutil.copytree(bare, changed)
    file = changed / "nagaya" / "runs" / "v1" / "run.proto"
    kept = [line for line in file.read_text().splitlines() if not line.startswith("option ")]
    file.write_text("\n".join(kept))

    output = run_check(changed)

    assert 'protos/nagaya/runs/v1/run.proto: option go_package = "' in output
    assert 'protos/nagaya/runs/v1/run.proto: option java_package = "dev.nagaya.runs.v1";' in output
    assert 'option csharp_namespace = "Nagaya.Runs.V1";' in output


def test_a_change_of_what_others_made_is_named(bare: Path, tmp_path: Path) -> None:
    changed = tmp_path / "protos"
    shutil.copytree(bare, changed)
    rules = changed / "buf" / "validate" / "validate.proto"
    rules.write_text(rules.read_text().replace("bool hostname =", "bool host ="))
    status = changed / "google" / "rpc" / "status.proto"
    status.write_text(status.read_text() + "\n")

    output = run_check(changed)

    assert "protos/buf/validate/validate.proto: not that of the wheel of protovalidate" in output
    assert "protos/google/rpc/status.proto: not that of the wheel of googleapis" in output


def run_check(protos: Path) -> str:
    """Return what `generate.py --check` says of contracts elsewhere."""
    command = (sys.executable, protos / "generate.py", "--check")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    return done.stderr


def contracts(protos: Path) -> list[Path]:
    return list(protos.glob("nagaya/**/*.proto"))
