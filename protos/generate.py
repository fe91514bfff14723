"""Python and Go from the contracts: protos/gen/python and clients/go/gen.

`--check` changes nothing: it compares what is committed with the contracts, tells which of them
lacks an option for generators of code, and compares what others wrote (buf/validate, google/rpc)
with the wheels that the lock pins. `--image FILE` writes all contracts as one file, comments
included, and `--baseline` writes protos/baseline.binpb, which `buf breaking` compares with.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from google.protobuf import descriptor_pb2
from google.rpc import status_pb2
from protovalidate._gen.buf.validate import validate_pb

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

PROTOS = Path(__file__).resolve().parent
PYTHON = PROTOS / "gen" / "python"
BASELINE = PROTOS / "baseline.binpb"
GO = PROTOS.parent / "clients" / "go"
GO_DIGEST = GO / "gen" / "contracts.sha256"
VALIDATE = "buf/validate/validate.proto"
GOOGLE = ("google/rpc/error_details.proto", "google/rpc/status.proto")
GO_PACKAGES = "github.com/nagaya/nagaya/clients/go/gen"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--check", action="store_true", help="fail when something is stale")
    what.add_argument("--image", type=Path, metavar="FILE", help="write all contracts there")
    what.add_argument("--baseline", action="store_true", help="accept the contracts as they are")
    chosen = parser.parse_args(arguments)
    if chosen.image:
        write_image(chosen.image, "--include_source_info")
    elif chosen.baseline:
        write_image(BASELINE)
    elif chosen.check:
        return _report([*wrong_options(), *changed_by_us(), *stale(), *stale_go()])
    elif missing := list(wrong_options()):
        return _report(missing)
    else:
        write(PYTHON)
        write_go()
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


def write_go() -> None:
    """Generate clients/go/gen by the plugins that its go.mod pins."""
    if shutil.which("go") is None:
        sys.exit("Go is not on PATH, and clients/go/gen is made by it: https://go.dev/dl")
    buf = Path(sys.executable).with_name("buf")
    subprocess.run((buf, "generate"), cwd=GO, check=True)
    GO_DIGEST.write_text(go_digest() + "\n")


def go_digest() -> str:
    """Return a digest of all that clients/go/gen is made of: compared where there is no Go."""
    digest = hashlib.sha256()
    made_of = [PROTOS / name for name in sources()]
    for file in (*made_of, GO / "buf.gen.yaml", GO / "go.mod"):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def stale_go() -> Iterator[str]:
    """Say whether clients/go/gen was made of other contracts."""
    if not GO_DIGEST.exists() or GO_DIGEST.read_text().strip() != go_digest():
        yield f"differs: {GO_DIGEST.parent.relative_to(PROTOS.parent)}"


def wrong_options() -> Iterator[str]:
    """Say of each contract which options for generators it lacks, or has with another value."""
    for file in _descriptors(sources()):
        wanted = _options(file)
        for name, value in wanted.items():
            if getattr(file.options, name) != value:
                text = "true" if value is True else f'"{value}"'
                yield f"protos/{file.name}: option {name} = {text};"


def changed_by_us() -> Iterator[str]:
    """Say which contracts of others are not those that the pinned wheels have."""
    wheel = Path(status_pb2.__file__).parents[2]
    for name in GOOGLE:
        if (PROTOS / name).read_bytes() != (wheel / name).read_bytes():
            yield f"protos/{name}: not that of the wheel of googleapis-common-protos"
    (ours,) = _descriptors([VALIDATE])
    theirs = descriptor_pb2.FileDescriptorProto.FromString(validate_pb.desc().proto.to_binary())
    for file in (ours, theirs):
        file.ClearField("options")  # only they differ in the wheel, which is made with others
    if ours != theirs:
        yield f"protos/{VALIDATE}: not that of the wheel of protovalidate"


def write_image(target: Path, *options: str) -> None:
    """Write all contracts, ours and those they import, as one FileDescriptorSet."""
    _protoc(sources(), "--include_imports", f"--descriptor_set_out={target.resolve()}", *options)


def _options(file: descriptor_pb2.FileDescriptorProto) -> Mapping[str, str | bool]:
    """Return the options that our contracts have, all made of the package and the file's name."""
    *_, name, version = parts = file.package.split(".")
    return {
        "csharp_namespace": ".".join(_camel_case(part) for part in parts),
        "go_package": f"{GO_PACKAGES}/{'/'.join(parts)};{name.replace('_', '')}{version}",
        "java_multiple_files": True,
        "java_outer_classname": f"{_camel_case(PurePosixPath(file.name).stem)}Proto",
        "java_package": f"dev.{file.package.replace('_', '')}",
    }


def _camel_case(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def _descriptors(files: Sequence[str]) -> Sequence[descriptor_pb2.FileDescriptorProto]:
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "image.binpb"
        _protoc(files, f"--descriptor_set_out={image}")
        return descriptor_pb2.FileDescriptorSet.FromString(image.read_bytes()).file


def _protoc(files: Sequence[str], *options: str) -> None:
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I.", *options, *files]
    done = subprocess.run(command, cwd=PROTOS, env=_plugins_on_path(), check=False)
    if done.returncode:
        sys.exit(done.returncode)  # protoc has said why


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
        print("run `make protos`, or correct what is named", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
