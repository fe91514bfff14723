"""A harness for tests: it runs a graph as a worker does, without any server.

async def test_a_good_draft_is_published():
    harness = GraphHarness()
    harness.add_replies("review", {"score": 9})

    ended = await harness.run("acme.article", {"topic": "cranes"})

    assert ended.state["score"] == 9
"""

from __future__ import annotations

from nagaya_graphs.testing.harness import GraphHarness, HarnessRun, NodeVisit

__all__ = ["GraphHarness", "HarnessRun", "NodeVisit"]
