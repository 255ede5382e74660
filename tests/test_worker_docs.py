"""The page for who writes another viewer: its conversation is held with a worker, its tables are compared."""

from __future__ import annotations

import json
import re
from dataclasses import fields, replace
from typing import Any

import pytest

from braindiffusion import engine, protocol
from conftest import ROOT
from worker_viewer import Viewer, hand, left_in

PAGE = (ROOT / "docs" / "worker.md").read_text(encoding="utf-8")
TRANSCRIPT = re.search(r"```\n(← .*?)```", PAGE, re.S)[1]
REST = "…"
"""Stands for more of the same kind."""
FREE = {"version", "versions"}
"""Texts that differ from one release to the next."""


def conforms(said: Any, shown: Any, key: str = "") -> bool:
    """Whether what the worker `said` is of the form `shown` on the page; numbers need only be numbers."""
    if isinstance(shown, dict):
        names = set(shown) - {REST}
        if not isinstance(said, dict) or not (names < set(said) if REST in shown else names == set(said)):
            return False
        return all(conforms(said[name], shown[name], key if key in FREE else name) for name in names)
    if isinstance(shown, list):
        wanted = [item for item in shown if item != REST]
        if REST not in shown:
            return len(said) == len(wanted) and all(map(conforms, said, wanted))
        return all(any(conforms(item, one) for item in said) for one in wanted)
    if isinstance(shown, (int, float)) and not isinstance(shown, bool) and key not in ("v", "protocol"):
        return isinstance(said, (int, float))
    return type(said) is type(shown) if key in FREE else said == shown


@pytest.mark.parametrize(
    ("said", "shown", "same"),
    [
        ({"a": 1.5, "b": "x"}, {"a": 2, "b": "x"}, True),
        ({"a": 1, "b": "y"}, {"a": 1, "b": "x"}, False),
        ({"a": 1, "b": "x"}, {"a": 1}, False),
        ({"a": 1, "b": "x"}, {"a": 1, REST: REST}, True),
        ({"b": "x"}, {"a": 1, REST: REST}, False),
        ([{"a": 1}, {"b": 1}], [{"b": 2}, REST], True),
        ([{"a": 1}], [{"b": 2}, REST], False),
        ({"v": 2}, {"v": 1}, False),
    ],
)
def test_what_conforms(said, shown, same):
    assert conforms(said, shown) is same


def test_the_conversation_goes_as_the_page_shows(scan, tmp_path):
    viewer = Viewer(tmp_path / "log.txt")
    hand(scan, tmp_path / "scan.nrrd")
    for line in TRANSCRIPT.replace("/home/you/viewer", str(tmp_path)).splitlines():
        arrow, text = line.split(" ", 1)
        if arrow == "→":
            viewer.send_line(text.encode())
            continue
        shown = json.loads(text)
        said = viewer.hear()
        while not conforms(said, shown):
            both = f"{str(said)[:500]}\nis not what the page has:\n{str(shown)[:500]}"
            assert said["event"] == "progress", both
            said = viewer.hear()
    assert viewer.process.wait(5) == 0
    assert left_in(tmp_path) == ["run-1"]
    viewer.close()


def test_the_page_shows_all_that_a_request_may_say():
    lines = [json.loads(line[2:]) for line in TRANSCRIPT.splitlines() if line.startswith("→")]
    assert {line["do"] for line in lines} == set(protocol.VERBS)
    run = next(line for line in lines if line["do"] == "run")
    assert set(run) - {"v", "do"} == {field.name for field in fields(protocol.RunRequest)}
    assert set(run["inputs"]["scan"]) == {field.name for field in fields(protocol.Handed)}


def test_the_tables_are_whole():
    first_columns = re.findall(r"^\| `(\w+)` \|", PAGE, re.M)
    assert set(first_columns) >= set(protocol.VERBS) | set(protocol.KINDS)


def test_what_the_user_stated_in_the_viewer_is_kept_with_the_result(toy, scan):
    handed = protocol.Handed(
        "scan.nrrd", tuple(map(tuple, scan.affine)), "MRHead", frame=1, orientation="RAS"
    )
    result = engine.run("toy", {"scan": replace(scan, meta=handed.meta)})
    known = result.provenance["inputs"]["scan"]
    assert (known["frame"], known["orientation"]) == (1, "RAS")
    assert "MRHead does not say how it lies in the head; RAS was used as you stated." in result.notes
