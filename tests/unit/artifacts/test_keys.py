from __future__ import annotations

import string
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifacts.domain.keys import BucketLayout
from artifacts.errors import NameInvalid, PathInvalid

RUN = "0190b5a6-7c2e-7e1c-9d2a-000000000001"
LAYOUT = BucketLayout("storage")

paths = st.text(alphabet=string.ascii_lowercase + "/.%\\-_ ~\0é0:?#", max_size=60)
near_paths = st.builds(
    lambda tail, run: f"storage/acme/{run}/draft/{tail}",
    paths | st.just("output.json"),
    st.sampled_from([RUN, RUN.upper(), "x", ""]),
)


def test_a_key_lies_where_the_convention_says() -> None:
    assert LAYOUT.key("acme", RUN, "draft", "output.json").path == (
        f"storage/acme/{RUN}/draft/output.json"
    )
    nested = LAYOUT.key("acme", RUN, "draft", "artifacts/1-1/call-1.json")
    assert nested.object_name == f"acme/{RUN}/draft/artifacts/1-1/call-1.json"
    assert nested.folders == (f"storage/acme/{RUN}/draft/artifacts/1-1",)


def test_a_run_has_one_folder_however_its_id_is_written() -> None:
    assert LAYOUT.key("acme", RUN.upper(), "draft", "output.json") == LAYOUT.key(
        "acme", RUN, "draft", "output.json"
    )


@given(st.one_of(paths, near_paths))
def test_a_path_is_taken_as_it_is_or_not_at_all(path: str) -> None:
    try:
        key = LAYOUT.parse("acme", path)
    except PathInvalid:
        return
    assert key.path == path
    assert path.startswith(f"storage/acme/{RUN}/draft/")
    assert not set(path.split("/")) & {"", ".", ".."}


@given(paths)
def test_a_name_stays_inside_its_step(name: str) -> None:
    try:
        key = LAYOUT.key("acme", RUN, "draft", name)
    except NameInvalid:
        return
    assert LAYOUT.parse("acme", key.path) == key


@pytest.mark.parametrize("tenant", ["globex", "", "acme/x", "ACME"])
def test_another_tenants_path_is_refused_like_a_malformed_one(tenant: str) -> None:
    path = LAYOUT.key("acme", str(uuid4()), "draft", "output.json").path
    with pytest.raises(PathInvalid) as foreign:
        LAYOUT.parse(tenant, path)
    with pytest.raises(PathInvalid) as malformed:
        LAYOUT.parse(tenant, "nonsense")
    assert foreign.value.message == malformed.value.message


def test_where_case_does_not_count_names_are_lower_case() -> None:
    keys = BucketLayout("storage")
    keys.folds_case = True

    assert keys.key("acme", RUN, "draft", "artifacts/readme.md")
    with pytest.raises(NameInvalid, match="case"):
        keys.key("acme", RUN, "draft", "artifacts/README.md")


def test_a_tenant_keeps_the_prefix_of_its_paths_in_another_bucket_and_under_another_id() -> None:
    moved = BucketLayout("other", {"acme-2": "storage/acme"}.get)  # pyright: ignore[reportArgumentType]
    name = "artifacts/a.md"

    key = moved.key("acme-2", RUN, "draft", name)

    assert key.path == LAYOUT.key("acme", RUN, "draft", name).path
    assert key.object_name == f"acme-2/{RUN}/draft/{name}"
    assert moved.parse("acme-2", key.path) == key
    assert moved.parse_object("acme-2", key.object_name) == key
    assert moved.folder("acme-2", RUN) == f"storage/acme/{RUN}/"
    assert moved.key("globex", RUN, "draft", name).path == f"other/globex/{RUN}/draft/{name}"
    for foreign in (f"other/acme-2/{RUN}/draft/{name}", f"storage/acme-2/{RUN}/draft/{name}"):
        with pytest.raises(PathInvalid):
            moved.parse("acme-2", foreign)
    for stray in (f"acme/{RUN}/draft/{name}", "acme-2/x", f"acme-2/../acme-2/{RUN}/draft/{name}"):
        with pytest.raises(PathInvalid):
            moved.parse_object("acme-2", stray)


def test_a_folder_ends_where_the_next_name_begins() -> None:
    assert LAYOUT.folder("acme", RUN) == f"storage/acme/{RUN}/"
    assert LAYOUT.folder("acme", RUN, "draft") == f"storage/acme/{RUN}/draft/"
