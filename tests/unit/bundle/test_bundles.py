from __future__ import annotations

import os
import random
import secrets
import tarfile
import tracemalloc
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from tests.support.bundle_mutations import MUTATIONS, Mutation, packed
from tests.support.bundles import seal, shuffled, signature, write_bundle, write_tar

from bundle import manifest_json
from bundle.errors import BundleInvalid, Fault
from bundle.source import DirectorySource, TarSource, source
from bundle.stream import tar_bytes, tar_size
from bundle.verify import read_manifest, verify

if TYPE_CHECKING:
    from pathlib import Path

COUNT = int(os.environ.get("NAGAYA_TEST_MUTATIONS", "1"))
"""How often each mutation is tried."""


def check(manifest: bytes, signed: bytes) -> None:
    if signed != signature(manifest):
        raise BundleInvalid(Fault.SIGNATURE, "manifest.json", "it is not signed")


def fault_of(path: Path) -> Fault | None:
    try:
        verify(source(path), check)
    except BundleInvalid as error:
        return error.fault
    return None


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_bundle(tmp_path / "bundle")
    return tmp_path / "bundle"


def test_a_directory_and_its_tar_are_the_same_bundle(folder: Path, tmp_path: Path) -> None:
    tar = write_tar(folder, tmp_path / "bundle.tar")

    in_folder, in_tar = verify(DirectorySource(folder), check), verify(TarSource(tar), check)

    assert in_folder == in_tar
    assert in_tar.manifest == read_manifest(TarSource(tar), check)
    assert manifest_json.parse(manifest_json.encode(in_tar.manifest)) == in_tar.manifest
    assert tar_size(in_tar.manifest, folder) == tar.stat().st_size


def test_other_programs_read_the_tar(folder: Path, tmp_path: Path) -> None:
    tar = write_tar(folder, tmp_path / "bundle.tar")
    (tmp_path / "unpacked").mkdir()

    with tarfile.open(tar) as opened:
        opened.extractall(tmp_path / "unpacked", filter="data")

    assert verify(DirectorySource(tmp_path / "unpacked"), check) == verify(TarSource(tar), check)


def test_the_tar_can_be_read_from_any_byte_on(folder: Path) -> None:
    whole = b"".join(tar_bytes(folder))
    places = [0, 1, 511, 512, 513, len(whole) - 1, len(whole), len(whole) + 1]
    places += [secrets.randbelow(len(whole)) for _ in range(50)]

    for place in places:
        assert b"".join(tar_bytes(folder, place)) == whole[place:], place


def test_an_empty_bundle_is_one(tmp_path: Path) -> None:
    write_bundle(tmp_path / "empty", objects=0, entries=0)

    assert fault_of(tmp_path / "empty") is None
    assert fault_of(write_tar(tmp_path / "empty", tmp_path / "empty.tar")) is None


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda one: one.name.replace(" ", "-"))
def test_a_damaged_tar_is_refused(mutation: Mutation, folder: Path, tmp_path: Path) -> None:
    data = write_tar(folder, tmp_path / "bundle.tar").read_bytes()
    damaged = tmp_path / "damaged.tar"
    for _ in range(COUNT):
        seed = secrets.randbits(32)
        damaged.write_bytes(mutation.damage(data, random.Random(seed)))  # noqa: S311 - repeatable
        if damaged.read_bytes() == data:
            continue

        assert fault_of(damaged) is not None, f"seed {seed}"


def test_each_fault_has_its_kind(folder: Path, tmp_path: Path) -> None:
    tar = write_tar(folder, tmp_path / "bundle.tar")
    compressed = tmp_path / "bundle.tar.gz"
    with tarfile.open(compressed, "w:gz") as file:
        file.add(folder, arcname=".")
    with pytest.raises(BundleInvalid, match="compressed"):
        verify(TarSource(compressed), check)

    tar.write_bytes(packed([("../manifest.json", b"{}")]))
    assert fault_of(tar) is Fault.NAME
    tar.write_bytes(b"no tar at all")
    assert fault_of(tar) is Fault.MISSING
    tar.write_bytes(b"")
    assert fault_of(tar) is Fault.MISSING


def test_a_directory_has_no_links_and_nothing_more(folder: Path, tmp_path: Path) -> None:
    (folder / "README").write_text("by hand")
    assert fault_of(folder) is Fault.EXTRA
    (folder / "README").unlink()
    (folder / "tables" / "more.copy").write_text("")
    assert fault_of(folder) is Fault.EXTRA
    (folder / "tables" / "more.copy").unlink()

    runs = folder / "tables" / "runs.copy"
    runs.rename(tmp_path / "runs.copy")
    assert fault_of(folder) is Fault.MISSING
    runs.symlink_to(tmp_path / "runs.copy")
    assert fault_of(folder) is Fault.LINK
    runs.unlink()
    runs.mkdir()
    assert fault_of(folder) is Fault.LINK
    runs.rmdir()
    os.mkfifo(runs)
    assert fault_of(folder) is Fault.LINK
    runs.unlink()
    (folder / "tables").rename(tmp_path / "tables")
    (folder / "tables").symlink_to(tmp_path / "tables")
    (tmp_path / "runs.copy").rename(tmp_path / "tables" / "runs.copy")
    assert fault_of(folder) is Fault.LINK


def test_a_manifest_that_is_not_signed_is_not_read(folder: Path) -> None:
    (folder / "signature.json").write_bytes(b"signed: by somebody else")

    assert fault_of(folder) is Fault.SIGNATURE


def test_a_signed_manifest_of_other_files_is_refused(folder: Path) -> None:
    manifest = manifest_json.parse((folder / "manifest.json").read_bytes())
    seal(folder, shuffled(manifest))
    assert fault_of(folder) is None  # a directory has no order

    seal(folder, manifest)
    rows = folder / "tables" / "audit_logs.copy"
    rows.write_bytes(rows.read_bytes().replace(b"run.create", b"run.cancel", 1))
    assert fault_of(folder) is Fault.AUDIT


def test_a_bundle_without_the_audit_log_says_nothing_of_its_end(folder: Path) -> None:
    manifest = manifest_json.parse((folder / "manifest.json").read_bytes())
    others = tuple(table for table in manifest.tables if table.name != "audit_logs")
    (folder / "tables" / "audit_logs.copy").unlink()
    seal(folder, replace(manifest, tables=others))

    assert fault_of(folder) is Fault.AUDIT


def test_memory_does_not_grow_with_the_objects(tmp_path: Path) -> None:
    write_bundle(tmp_path / "bundle", objects=40)
    big = tmp_path / "big"
    write_bundle(big, objects=600)
    peaks = []
    for path in (tmp_path / "bundle", big):
        tracemalloc.start()
        verify(DirectorySource(path), check)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()

    assert peaks[1] < peaks[0] + (1 << 20)
