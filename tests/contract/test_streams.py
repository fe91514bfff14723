"""Each stream of responses says in its contract what to do when it breaks."""

from __future__ import annotations

import re

from tests.support.processes import ROOT

_STREAM = re.compile(r"((?:^ +//.*\n)+) +rpc (\w+)\(.*\) returns \(stream ", re.MULTILINE)


def test_every_stream_of_responses_says_what_to_do_when_it_breaks() -> None:
    files = (ROOT / "protos" / "nagaya").rglob("*_service.proto")
    found = {name: text for file in files for text, name in _STREAM.findall(file.read_text())}

    assert {"WatchRun", "WatchOperation", "StreamGenerate", "DownloadArtifact"} <= found.keys()
    silent = [name for name, text in found.items() if " that broke " not in text]
    assert silent == []


def test_which_ends_of_a_stream_mean_that_it_broke_stands_with_the_policies() -> None:
    policy = (ROOT / "protos/nagaya/options/v1/method_policy.proto").read_text()
    for code in ("UNAVAILABLE", "CANCELLED", "DEADLINE_EXCEEDED", "INTERNAL", "UNKNOWN"):
        assert code in policy
