"""The engine in its own process, as a viewer sees it: real processes, real pipes, toy tasks."""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import braindiffusion
from braindiffusion import engine
from braindiffusion.imaging.gate import admit
from braindiffusion.imaging.volume import Volume
from braindiffusion.paths import resources
from braindiffusion.result import Result
from braindiffusion.result_folder import HANDOVER
from scan_files import save_nifti
from worker_viewer import Viewer, hand, left_in, received

RUN = b'{"v": 1, "do": "run", "id": "x", "task": "toy", '
GARBAGE = [
    (b"rubbish", "one JSON object", None),
    (b"\xff\xfe{}", "one JSON object", None),
    (b"[" * 100_000, "one JSON object", None),
    (b"[1, 2]", "one JSON object", None),
    (b'"ping"', "one JSON object", None),
    (b"{}", "speaks version 1 of the protocol, not None", None),
    (b'{"v": 2, "do": "ping", "id": "x"}', "speaks version 1 of the protocol, not 2", "x"),
    (b'{"v": 1, "do": "dance", "id": "x"}', "There is no request 'dance'", "x"),
    (b'{"v": 1, "do": ["run"], "id": "x"}', "There is no request ['run']", "x"),
    (b'{"v": 1, "do": "ping"}', "needs an id", None),
    (b'{"v": 1, "do": "ping", "id": 7}', "needs an id", None),
    (b'{"v": 1, "do": "run", "id": "x"}', "'task': Field required", "x"),
    (RUN + b'"inputs": [], "folder": "/a"}', "'inputs'", "x"),
    (
        RUN + b'"inputs": {"scan": {"path": "a.nrrd", "affine": [[1, 0], [0, 1]]}}, "folder": "/a"}',
        "'inputs.scan.affine",
        "x",
    ),
    (RUN + b'"inputs": {}, "folder": "/a", "sed": 1}', "'sed'", "x"),
    (RUN + b'"inputs": {}, "folder": "a"}', "whole path", "x"),
]
"""Lines that no viewer should send: what the answer says, and the id that it carries."""

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


@pytest.fixture(scope="module")
def shared(tmp_path_factory) -> Iterator[Viewer]:
    """One worker for all tests that do not end it, as one serves a viewer for hours."""
    viewer = Viewer(tmp_path_factory.mktemp("worker") / "log.txt")
    assert viewer.hear()["event"] == "ready"
    yield viewer
    viewer.send("quit")
    assert viewer.process.wait(5) == 0 and viewer.silent()
    viewer.close()


@pytest.fixture
def viewer(tmp_path) -> Iterator[Viewer]:
    """A worker that the test may end."""
    viewer = Viewer(tmp_path / "log.txt")
    assert viewer.hear()["event"] == "ready"
    yield viewer
    viewer.close()


@pytest.fixture
def image(scan, tmp_path) -> dict:
    return hand(scan, tmp_path / "scan.nrrd")


def one_sentence(text: str) -> bool:
    return text.endswith(".") and "\n" not in text and "Traceback" not in text


def failed(viewer: Viewer, *args, **more) -> dict:
    """The event of a run that fails, after seeing that it says so in one sentence."""
    event = viewer.run(*args, **more)[-1]
    assert event["event"] == "failed" and one_sentence(event["message"]), event
    return event


def shear(amount: float) -> np.ndarray:
    matrix = np.eye(4)
    matrix[0, 1] = amount
    return matrix


class TestAnswers:
    @on_linux
    def test_it_answers_before_torch_is_there(self, tmp_path):
        viewer = Viewer(tmp_path / "log.txt")
        ready = viewer.hear()
        assert viewer.processor_s() < 2
        assert ready == {
            "v": 1, "event": "ready", "protocol": 1, "version": braindiffusion.__version__,
            "pid": viewer.process.pid,
        }  # fmt: skip
        viewer.send("ping", id="1")
        assert viewer.hear() == {"v": 1, "event": "pong", "id": "1"}
        asked = viewer.processor_s()
        viewer.send("describe", id="2")
        described = viewer.hear()
        assert viewer.processor_s() - asked < 3
        tasks = {task["task"]: task for task in described["tasks"]}
        assert {"heal", "toy"} <= set(tasks) and tasks["heal"]["properties"]["seed"]["title"] == "Seed"
        assert described["versions"]["braindiffusion"] == braindiffusion.__version__
        assert "libtorch" not in Path(f"/proc/{viewer.process.pid}/maps").read_text()
        viewer.close()

    @pytest.mark.parametrize(("line", "said", "ident"), GARBAGE)
    def test_garbage_is_answered(self, shared, line, said, ident):
        shared.send_line(line)
        answer = shared.hear()
        assert (answer["event"], answer["kind"], answer["id"]) == ("failed", "parameters", ident)
        assert said in answer["message"] and one_sentence(answer["message"]) and answer["details"] is None
        shared.send("ping", id="still here")
        assert shared.hear()["event"] == "pong"

    def test_empty_lines_and_cancelling_nothing_are_no_matter(self, shared):
        shared.send_line(b"")
        shared.send_line(b"  \r")
        shared.send("cancel", id="never heard of")
        shared.send("ping", id="1")
        assert shared.hear()["event"] == "pong"

    def test_a_module_that_cannot_be_loaded_is_named(self, tmp_path):
        viewer = Viewer(tmp_path / "log.txt", BRAINDIFFUSION_PLUGINS="worker_tasks, no_such_module")
        viewer.send("describe", id="1")
        message = viewer.until("failed")["message"]
        assert one_sentence(message) and "'no_such_module' that BRAINDIFFUSION_PLUGINS names" in message
        viewer.close()


class TestRuns:
    @pytest.mark.parametrize("kind", ["oblique", "sheared", "int16", "mirrored", "float64"])
    def test_voxels_and_affine_come_back_as_python_gives_them(self, shared, toy, scan, tmp_path, kind):
        volume = {
            "oblique": scan,
            "sheared": Volume(scan.data, scan.affine @ shear(0.3)),
            "int16": Volume((10 * scan.data).astype(np.int16), scan.affine),
            "mirrored": Volume(scan.data, scan.affine @ np.diag([-1.0, 1, 1, 1])),
            "float64": Volume(scan.data.astype(np.float64) / 3, scan.affine),
        }[kind]
        folder = tmp_path / "ünï çödé 脳" / "out"
        given = {"seed": 7}
        event = shared.run("toy", hand(volume, tmp_path / "scan.nrrd"), folder, parameters=given)[-1]
        assert event["event"] == "result" and event["folder"] == str(folder), event
        expected = engine.run("toy", {"scan": volume}, given)
        assert set(event["volumes"]) == {"healed", "heatmap", "findings_labels"}
        for role, handed in event["volumes"].items():
            back, same = received(handed), expected[role].volume
            assert np.array_equal(back.data, same.data) and back.data.dtype == same.data.dtype, role
            assert np.array_equal(back.affine, same.affine), role
        if kind == "sheared":
            assert any("not at right angles" in note for note in event["manifest"]["notes"])
        else:
            assert np.array_equal(back.affine, volume.affine)

    def test_the_folder_holds_a_whole_result(self, shared, image, tmp_path):
        folder = tmp_path / "out"
        folder.mkdir()
        event = shared.run("toy", image | {"source": "/archive/MR1/head.nii.gz"}, folder)[-1]
        saved = Result.load(folder)
        assert set(saved) == {"healed", "heatmap", "findings_labels", "findings"}
        assert event["manifest"]["artifacts"] == [artifact.entry() for artifact in saved.artifacts]
        assert event["manifest"]["provenance"]["inputs"]["scan"]["source"] == "/archive/MR1/head.nii.gz"
        assert {path.name for path in (folder / HANDOVER).iterdir()} == {
            "healed.nrrd", "heatmap.nrrd", "findings_labels.nrrd"
        }  # fmt: skip
        saved.save(folder)

    def test_progress_comes_at_once_and_rises(self, shared, image, tmp_path):
        asked = time.monotonic()
        shared.start("toy", image, tmp_path / "out")
        first = shared.hear()
        assert time.monotonic() - asked < 1
        assert first == {"v": 1, "event": "progress", "id": "run", "fraction": 0.0, "stage": "Starting"}
        events = [first]
        while events[-1]["event"] == "progress":
            events.append(shared.hear())
        shares = [event["fraction"] for event in events[:-1]]
        stages = [event["stage"] for event in events[:-1]]
        assert shares == sorted(shares) and shares[-1] == 1 and stages[-1] == "Writing the result"
        assert {"Reading the scan", "Thinking", "Looking"} < set(stages)

    def test_a_flood_of_progress_is_thinned(self, shared, image, tmp_path):
        events = shared.run("chatty", image, tmp_path / "out")
        assert events[-1]["event"] == "result" and events[-1]["volumes"] == {} and len(events) < 200

    def test_previews_lie_where_the_task_puts_them(self, shared, scan, image, tmp_path):
        events = shared.run("showing", image, tmp_path / "out")
        previews = [event["preview"] for event in events if "preview" in event]
        assert len(previews) == 3, "the one that holds NaN is not shown"
        assert len({preview["path"] for preview in previews}) == 3
        for n, preview in enumerate(previews):
            volume = received(preview)
            assert volume.shape == (5, 6, 7) and (volume.data == n).all()
            assert preview["title"] == "What there is"
            assert np.array_equal(volume.affine, scan.affine @ np.diag([2.0, 2, 2, 1]))
        assert events[-1]["event"] == "result"

    def test_one_run_at_a_time_and_the_first_goes_on(self, shared, image, tmp_path):
        shared.start("endless", image, tmp_path / "first", "1")
        shared.until("progress", stage="Going on and on")
        shared.start("toy", image, tmp_path / "second", "2")
        refused = shared.until("failed")
        assert (refused["id"], refused["kind"]) == ("2", "parameters") and "busy" in refused["message"]
        assert not (tmp_path / "second").exists()
        shared.send("ping", id="3")
        shared.until("pong", id="3")
        shared.send("cancel", id="2")
        assert shared.hear()["id"] == "1", "to cancel another run does not end this one"
        shared.send("cancel", id="1")
        assert shared.until("failed")["kind"] == "cancelled"
        assert shared.run("toy", image, tmp_path / "second")[-1]["event"] == "result"

    def test_a_cancel_shows_soon_and_leaves_nothing(self, shared, image, tmp_path):
        shared.start("endless", image, tmp_path / "new" / "out")
        shared.until("progress", stage="Going on and on")
        asked = time.monotonic()
        shared.send("cancel", id="run")
        event = shared.until("failed")
        assert time.monotonic() - asked < 1
        assert (event["kind"], event["id"], event["details"]) == ("cancelled", "run", None)
        assert left_in(tmp_path) == []

    def test_a_cancel_while_the_result_is_written(self, shared, image, tmp_path):
        shared.start("drawing", image, tmp_path / "out")
        shared.until("progress", stage="Writing the result")
        shared.send("cancel", id="run")
        assert shared.until("failed", "result")["kind"] == "cancelled"
        assert left_in(tmp_path) == []

    def test_what_libraries_print_is_log(self, viewer, image, tmp_path):
        events = viewer.run("noisy", image, tmp_path / "out", ident="noisy")
        assert events[-1]["event"] == "result" and events[-1]["folder"] == str(tmp_path / "out")
        assert viewer.log.read_bytes().count(b'"event": "result"') == 3


class TestFailures:
    """Each is one sentence, leaves nothing, and the next run works."""

    @pytest.fixture(autouse=True)
    def works_afterwards(self, shared, scan, tmp_path) -> Iterator[None]:
        yield
        assert left_in(tmp_path) == []
        image = hand(scan, tmp_path / "scan.nrrd")
        assert shared.run("toy", image, tmp_path / "afterwards")[-1]["event"] == "result"

    @pytest.mark.parametrize(
        ("task", "what"), [("failing", "ValueError: shapes do not fit"), ("ending", "SystemExit")]
    )
    def test_a_fault_has_a_report(self, shared, image, tmp_path, task, what):
        event = failed(shared, task, image, tmp_path / "out")
        assert event["kind"] == "fault" and what in event["message"]
        report = Path(event["details"]).read_text(encoding="utf-8")
        assert "Traceback" in report and f"task='{task}'" in report
        Path(event["details"]).unlink()

    def test_memory_that_runs_out_is_told_and_met(self, shared, image, tmp_path):
        told = "The memory of this computer ran out; trying again with lower precision (bfloat16)."
        *progress, result = shared.run("hungry", image, tmp_path / "out")
        assert told in [event["stage"] for event in progress] and result["event"] == "result"
        assert told in result["manifest"]["notes"]
        for path in sorted((tmp_path / "out").rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
        (tmp_path / "out").rmdir()

    def test_memory_that_does_not_suffice(self, shared, image, tmp_path):
        event = failed(shared, "insatiable", image, tmp_path / "out")
        assert event["kind"] == "memory" and "not enough memory" in event["message"]

    def test_a_full_disk(self, shared, image, tmp_path):
        event = failed(shared, "full", image, tmp_path / "new" / "out")
        assert event["message"].endswith("the disk is full; nothing was kept.") and event["details"] is None

    def test_wrong_parameters(self, shared, image, tmp_path):
        for more, said in [
            ({"parameters": {"samples": 17}}, "'samples' should be less than or equal to 16"),
            ({"parameters": {"sample": 3}}, "no parameter 'sample'"),
            ({"precision": "fp8"}, "fp8"),
            ({"threads": 0}, "1 or more"),
        ]:
            event = failed(shared, "toy", image, tmp_path / "out", **more)
            assert event["kind"] == "parameters" and said in event["message"]
        assert "no task named 'heel'" in failed(shared, "heel", image, tmp_path / "out")["message"]

    def test_voxels_that_did_not_arrive(self, shared, image, tmp_path):
        path = Path(image["path"])
        path.write_bytes(path.read_bytes()[:-100])
        cut = failed(shared, "toy", image, tmp_path / "out")
        path.unlink()
        missing = failed(shared, "toy", image, tmp_path / "out")
        for event in (cut, missing):
            assert event["kind"] == "refused" and "voxels of MRHead did not arrive whole" in event["message"]

    def test_a_scan_that_the_gate_refuses(self, shared, scan, tmp_path):
        empty = hand(scan.with_data(scan.data * 0), tmp_path / "scan.nrrd")
        assert "same value" in failed(shared, "toy", empty, tmp_path / "out")["message"]
        nowhere = hand(Volume(scan.data, scan.affine * np.nan), tmp_path / "scan.nrrd")
        assert "not a number" in failed(shared, "toy", nowhere, tmp_path / "out")["message"]


def test_a_truncated_source_is_refused_whatever_the_viewer_made_of_it(shared, scan, tmp_path):
    """Viewers read such a file as half zeros, silently; the voxels alone would pass."""
    source = save_nifti(tmp_path / "head.nii.gz", scan.data, scan.affine)
    image = hand(scan, tmp_path / "scan.nrrd", source=str(source))
    assert shared.run("toy", image, tmp_path / "whole")[-1]["event"] == "result"
    source.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
    event = failed(shared, "toy", image, tmp_path / "cut")
    assert event["kind"] == "refused" and event["message"].startswith("head.nii.gz is cut short")


def test_provenance_says_which_file_the_scan_was_read_from(shared, scan, tmp_path):
    """The worker computes the hash where the viewer does not know it, and only of a file that it finds."""
    source = save_nifti(tmp_path / "head.nii.gz", scan.data, scan.affine)
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    told = [
        ({"source": str(source)}, str(source), digest),
        ({"source": str(source), "sha256": "0" * 64}, str(source), "0" * 64),
        ({"source": str(tmp_path / "gone.nii")}, str(tmp_path / "gone.nii"), None),
        ({"source": None}, "MRHead", None),
    ]
    for number, (more, named, expected) in enumerate(told):
        image = hand(scan, tmp_path / "scan.nrrd", **more)
        event = shared.run("toy", image, tmp_path / f"out-{number}")[-1]
        origin = event["manifest"]["provenance"]["inputs"]["scan"]
        assert (origin["source"], origin["sha256"]) == (named, expected)


def test_a_synthetic_scan_is_warned_of(shared, image, tmp_path):
    warning = "MRHead says of itself that it is synthetic, so findings in it are not a patient's."
    for synthetic in (True, False):
        event = shared.run("toy", image | {"synthetic": synthetic}, tmp_path / f"out-{synthetic}")[-1]
        assert (warning in event["manifest"]["notes"]) is synthetic


def test_other_peoples_files_are_left_alone(shared, image, tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "thesis.txt").write_text("years of work")
    assert "not a result" in failed(shared, "toy", image, folder)["message"]
    (folder / "thesis.txt").rename(tmp_path / "thesis.txt")
    assert shared.run("toy", image, folder)[-1]["event"] == "result"
    before = sorted(folder.iterdir())
    assert "holds a result" in failed(shared, "toy", image, folder)["message"]
    assert sorted(folder.iterdir()) == before
    assert "not a folder" in failed(shared, "toy", image, tmp_path / "thesis.txt" / "out")["message"]
    assert "name too long" in failed(shared, "toy", image, tmp_path / ("x" * 300))["message"]


def test_a_disk_that_is_full_for_the_copies_only(viewer, image, tmp_path):
    event = failed(viewer, "cramped", image, tmp_path / "out")
    assert "cannot be written" in event["message"] and left_in(tmp_path) == []


@pytest.mark.slow
def test_a_cancel_of_the_true_task_keeps_the_worker_and_its_models(tmp_path):
    """Also inside stages that take long: the process goes on, and the next run is whole."""
    source = resources() / "samples" / "sample-patient.nii.gz"
    scan, _ = admit(source)
    viewer = Viewer(tmp_path / "log.txt", BRAINDIFFUSION_PLUGINS="")
    image = hand(scan, tmp_path / "scan.nrrd")
    how = {"device": "cpu", "parameters": {"samples": 1, "steps": 2}}
    heard = {}
    for number, stage in enumerate(["Finding and aligning the brain", "Recognising its anatomy"]):
        viewer.start("heal", image, tmp_path / "out", str(number), **how)
        begun = viewer.until("progress", stage=stage)["fraction"]
        assert viewer.until("progress", stage=stage)["fraction"] > begun
        asked = time.monotonic()
        viewer.send("cancel", id=str(number))
        event = viewer.until("failed", "result")
        heard[stage] = time.monotonic() - asked
        assert event["kind"] == "cancelled" and not (tmp_path / "out").exists()
    assert max(heard.values()) < 1, heard
    assert viewer.process.poll() is None
    assert viewer.run("heal", image, tmp_path / "out", **how)[-1]["event"] == "result"
    viewer.close()


@pytest.mark.slow
def test_heal_gives_pythons_voxels_bit_for_bit(tmp_path):
    """The default model, in two runs of one worker: the second finds the models warm."""
    source = resources() / "samples" / "sample-patient.nii.gz"
    scan, _ = admit(source)
    given = {"seed": 7, "samples": 2, "steps": 2}
    # One at a time, whatever memory other programs leave: a smaller batch rounds differently.
    how = {"device": "cpu", "precision": "fp32", "threads": 1, "batch": 1}
    expected = engine.run("heal", {"scan": scan}, given, **how)
    viewer = Viewer(tmp_path / "log.txt", BRAINDIFFUSION_PLUGINS="")
    image = hand(scan, tmp_path / "scan.nrrd", source=str(source))
    assert viewer.hear()["event"] == "ready"
    loading = []
    for folder in (tmp_path / "1", tmp_path / "2"):
        *progress, event = viewer.run("heal", image, folder, parameters=given, **how)
        assert event["event"] == "result", event
        shown = [received(step["preview"]) for step in progress if "preview" in step]
        assert len(shown) == 4 and all(volume.data.max() > 0 for volume in shown)
        for role, handed in event["volumes"].items():
            back, same = received(handed), expected[role].volume
            assert np.array_equal(back.data, same.data) and np.array_equal(back.affine, same.affine), role
        provenance = event["manifest"]["provenance"]
        assert provenance["seeds"] == expected.provenance["seeds"]
        loading.append(provenance["seconds"]["Loading the models"])
    assert loading[1] < 0.5 * loading[0]
    viewer.close()
