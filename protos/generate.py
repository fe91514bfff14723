"""Python from the contracts: `generate.py` writes protos/gen/python, `--check` only compares.

`--image FILE` writes what buf reads (`buf lint FILE`, `buf generate FILE`), comments included, and
`--baseline` writes protos/baseline.binpb, which `buf breaking` compares with.

Nothing that others wrote is kept here: the wheels of protovalidate and googleapis-common-protos
carry buf/validate and google/rpc.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from google.protobuf import descriptor_pb2
from google.rpc import status_pb2
from protovalidate._gen.buf.validate import validate_pb

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PROTOS = Path(__file__).resolve().parent
PYTHON = PROTOS / "gen" / "python"
BASELINE = PROTOS / "baseline.binpb"
VALIDATE = "buf/validate/validate.proto"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--check", action="store_true", help="fail when protos/gen/python is stale")
    what.add_argument("--image", type=Path, metavar="FILE", help="write the image for buf")
    what.add_argument("--baseline", action="store_true", help="accept the contracts as they are")
    chosen = parser.parse_args(arguments)
    if chosen.image:
        write_image(chosen.image, "--include_source_info")
    elif chosen.baseline:
        write_image(BASELINE)
    elif chosen.check:
        return _report(stale())
    else:
        write(PYTHON)
    return 0


def sources() -> list[str]:
    """Return our .proto files, relative to protos/, in a fixed order."""
    return sorted(path.relative_to(PROTOS).as_posix() for path in PROTOS.glob("nagaya/**/*.proto"))


def generate() -> dict[Path, bytes]:
    """Return every generated file by its path below protos/gen/python; touch nothing."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        files = sources()
        _protoc([VALIDATE, *files], f"--python_out={out}", f"--mypy_out=quiet:{out}")
        services = [name for name in files if name.endswith("_service.proto")]
        if services:  # for any other file grpc_tools would write an empty module
            _protoc(services, f"--grpc_python_out={out}", f"--mypy_grpc_out=quiet,only_async:{out}")
        made = {path.relative_to(out): path.read_bytes() for path in _files(out)}
    return made | {path.parent / "py.typed": b"" for path in made}


def write(target: Path) -> None:
    """Bring `target` up to date; files that are the same already keep their times."""
    made = generate()
    for path, content in made.items():
        file = target / path
        if not file.exists() or file.read_bytes() != content:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
    for path in _committed(target).keys() - made.keys():
        (target / path).unlink()


def stale() -> list[str]:
    """Say of each file below protos/gen/python in what way it differs from the contracts."""
    made, committed = generate(), _committed(PYTHON)
    missing = [f"missing: {path.as_posix()}" for path in made.keys() - committed.keys()]
    unknown = [f"not generated: {path.as_posix()}" for path in committed.keys() - made.keys()]
    both = made.keys() & committed.keys()
    differing = [f"differs: {path.as_posix()}" for path in both if made[path] != committed[path]]
    return sorted(missing + unknown + differing)


def write_image(target: Path, *options: str) -> None:
    """Write all contracts, ours and those they import, as one FileDescriptorSet."""
    _protoc(sources(), "--include_imports", f"--descriptor_set_out={target.resolve()}", *options)


def _protoc(files: Sequence[str], *options: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        validate = Path(folder) / "validate.binpb"
        validate.write_bytes(_validate_descriptor())
        google = Path(status_pb2.__file__).parents[2]
        command = [sys.executable, "-m", "grpc_tools.protoc", "-I.", f"-I{google}"]
        command += [f"--descriptor_set_in={validate}", *options, *files]
        done = subprocess.run(command, cwd=PROTOS, env=_plugins_on_path(), check=False)
    if done.returncode:
        sys.exit(done.returncode)  # protoc has said why


def _validate_descriptor() -> bytes:
    file = descriptor_pb2.FileDescriptorProto.FromString(validate_pb.desc().proto.to_binary())
    return descriptor_pb2.FileDescriptorSet(file=[file]).SerializeToString(deterministic=True)


def _plugins_on_path() -> Mapping[str, str]:
    scripts = Path(sys.executable).parent  # protoc-gen-mypy lies beside this interpreter
    return {**os.environ, "PATH": f"{scripts}{os.pathsep}{os.environ.get('PATH', '')}"}


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"]


def _committed(target: Path) -> dict[Path, bytes]:
    tops = ("nagaya", "buf")
    files = [file for top in tops for file in _files(target / top)]
    return {file.relative_to(target): file.read_bytes() for file in files}


def _report(problems: Sequence[str]) -> int:
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems:
        print("protos/gen/python is stale: run `make protos`", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
