"""Runs and what can happen meanwhile: edits, deletions, a closed scene, cancel, faults; none loses data or
crashes.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

import module_scans
from desktop_host import core  # noqa: F401
from module_runs import behave, logic  # noqa: F401
from SlicerDiffusionLib import job as states
from SlicerDiffusionLib import marks, places, view
from SlicerDiffusionLib.job import Complaint

pytestmark = pytest.mark.usefixtures("core")


def start(logic, node=None, **more):  # noqa: F811
    ends = []
    job = logic.run("heal", input=node or module_scans.scan(), onDone=ends.append, **more)
    return job, ends


def finish(qtbot, job):
    qtbot.waitUntil(lambda: job.finished, timeout=20000)
    return job


def when(logic, stage, act):  # noqa: F811
    """Do something once, as soon as a job is at this stage."""
    done = []

    def listen(job):
        if job.stage == stage and not done:
            done.append(job)
            act()

    logic.jobs.listeners.append(listen)


def scene_is_clean():
    return not marks.nodesOfRuns() and not [
        node for node in view.nodesOf("vtkMRMLVolumeNode") if marks.isSynthetic(node)
    ]


def run_folders():
    return list(places.runsFolder().glob("*"))


@pytest.fixture(autouse=True)
def no_folders_from_before(core):  # noqa: F811
    import shutil

    for folder in run_folders():
        shutil.rmtree(folder)


def test_a_blocking_run_gives_the_nodes_by_role(logic):  # noqa: F811
    nodes = logic.run("heal", input=module_scans.scan(), seed=7, wait=True)
    assert set(nodes) == {"healed", "heatmap", "spread", "findings_labels", "anatomy", "findings"}


def test_a_run_with_a_callback_returns_at_once(logic, qtbot):  # noqa: F811
    job, ends = start(logic)
    assert job.state == states.QUEUED and not ends
    finish(qtbot, job)
    assert ends == [job] and "healed" in job.value


def test_waiting_with_a_callback_does_both(logic):  # noqa: F811
    ends = []
    nodes = logic.run("heal", scan=module_scans.scan(), wait=True, onDone=ends.append)
    assert ends[0].value is nodes


@pytest.mark.parametrize(
    "task, values, words",
    [
        ("dream", {}, "no task 'dream'"),
        ("heal", {"sed": 7}, "no 'sed'"),
        ("heal", {"input": None}, "needs an image"),
    ],
)
def test_a_wrong_call_is_told_before_anything_runs(logic, task, values, words):  # noqa: F811
    with pytest.raises(Complaint, match=words):
        logic.run(task, **({"input": module_scans.scan()} | values))
    assert logic.jobs.current is None


def test_a_label_map_is_refused_before_anything_runs(logic):  # noqa: F811
    labels = module_scans.volume(
        "labels", np.ones((4, 4, 4), np.uint8), np.eye(4), "vtkMRMLLabelMapVolumeNode"
    )
    with pytest.raises(Complaint, match="label map"):
        logic.run("heal", input=labels)
    assert logic.jobs.current is None and not logic.jobs.waiting


def test_defaults_and_options_reach_the_engine(logic, monkeypatch):  # noqa: F811
    sent = []
    real = logic.jobs.engine.say
    monkeypatch.setattr(logic.jobs.engine, "say", lambda message: (sent.append(message), real(message)))
    logic.run("heal", input=module_scans.scan(), steps=3, device="cpu", batch=1)
    (run,) = [message for message in sent if message["do"] == "run"]
    assert run["parameters"] == {
        "seed": 0, "samples": 4, "steps": 3, "method": "guided", "age": None, "sex": None, "threshold": None,
        "start": 5.0, "levels": "0.15, 0.3, 0.6", "keep_samples": False, "model": "t1-brain-2mm",
    }  # fmt: skip
    assert run["device"] == "cpu" and run["batch"] == 1 and "threads" not in run
    assert Path(run["folder"]).is_absolute()
    scan = run["inputs"]["scan"]
    told = {"path", "affine", "name", "source", "sha256", "synthetic", "frame", "orientation"}
    assert set(scan) == told and scan["frame"] is None and scan["orientation"] is None
    assert scan["name"] == "MRHead" and scan["source"] is None and scan["synthetic"] is False


def test_the_engine_understands_the_request(logic, monkeypatch):  # noqa: F811
    """The real protocol of the engine reads what the module sends."""
    from braindiffusion.protocol import VERSION, RunRequest, check

    sent = []
    real = logic.jobs.engine.say
    monkeypatch.setattr(logic.jobs.engine, "say", lambda message: (sent.append(message), real(message)))
    logic.run("heal", input=module_scans.scan(), device="cpu")
    message = {"v": VERSION, **next(message for message in sent if message["do"] == "run")}
    check(message)
    assert RunRequest.of(message).inputs["scan"].name == "MRHead"


def test_a_scan_from_a_file_says_which(logic, tmp_path, monkeypatch):  # noqa: F811
    import slicer

    from SlicerDiffusionLib import runs

    file = tmp_path / "scan.nrrd"
    assert slicer.util.saveNode(module_scans.scan(), str(file))
    node = slicer.util.loadVolume(str(file))
    assert runs._sourceFile(node) == (str(file), None)
    slicer.util.arrayFromVolume(node)[0, 0, 0] = 9
    slicer.util.arrayFromVolumeModified(node)
    assert runs._sourceFile(node) == (None, None)  # the voxels are no longer those of the file


@pytest.mark.parametrize("change", ["nothing", "voxels", "place", "saved"])
def test_a_scan_that_the_window_read_says_which_file_it_was(logic, tmp_path, change):  # noqa: F811
    """Until its voxels or their place are changed; saved anew, they are those of the new file."""
    import hashlib

    import slicer

    from braindiffusion_desktop import io
    from SlicerDiffusionLib import runs

    file, other = tmp_path / "scan.nrrd", tmp_path / "other.nrrd"
    grey = np.random.default_rng(0).uniform(0, 900, (20, 18, 16)).astype(np.float32)
    assert slicer.util.saveNode(module_scans.volume("MRHead", grey, module_scans.GRIDS["LPS"]), str(file))
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    node = io.load_scan(file)
    slicer.app.processEvents()
    assert runs._sourceFile(node) == (str(file), digest)
    if change == "nothing":
        node.SetName("renamed")
        assert runs._sourceFile(node) == (str(file), digest)
        return
    if change == "place":
        turn = module_scans.turn()
        node.SetAndObserveTransformNodeID(turn.GetID())
        assert runs._sourceFile(node) == (str(file), digest)  # not hardened: the voxels lie as in the file
        node.HardenTransform()
    else:
        slicer.util.arrayFromVolume(node)[0, 0, 0] = 9
        slicer.util.arrayFromVolumeModified(node)
    if change == "saved":
        assert slicer.util.saveNode(node, str(other))
    assert runs._sourceFile(node) == ((str(other), None) if change == "saved" else (None, None))


def test_a_made_up_scan_is_handed_over_as_such(logic, monkeypatch):  # noqa: F811
    sent = []
    real = logic.jobs.engine.say
    monkeypatch.setattr(logic.jobs.engine, "say", lambda message: (sent.append(message), real(message)))
    scan = module_scans.scan()
    scan.SetAttribute(marks.SYNTHETIC, "YES")
    logic.run("heal", input=scan)
    assert sent[0]["inputs"]["scan"]["synthetic"] is True


def test_a_scan_that_is_edited_meanwhile_gives_a_result_with_a_note(logic, qtbot):  # noqa: F811
    import slicer

    scan = module_scans.scan()
    before = slicer.util.arrayFromVolume(scan).copy()

    def edit():
        slicer.util.arrayFromVolume(scan)[...] = 0
        slicer.util.arrayFromVolumeModified(scan)

    when(logic, "Starting", edit)
    job, _ = start(logic, scan)
    finish(qtbot, job)
    assert job.state == states.DONE and "was changed while" in job.work.notes[0]
    healed = slicer.util.arrayFromVolume(job.value["healed"])
    np.testing.assert_array_equal(healed, np.where(before > 150, 100, before))
    assert job.work.notes[0] in marks.recordOf(job.value["healed"])["notes"]


def test_a_scan_that_is_deleted_meanwhile_gives_a_result_with_a_note(logic, qtbot):  # noqa: F811
    import slicer

    scan = module_scans.scan("T1")
    when(logic, "Healing", lambda: slicer.mrmlScene.RemoveNode(scan))
    job, _ = start(logic, scan)
    finish(qtbot, job)
    assert job.state == states.DONE and "'T1' was deleted" in job.work.notes[0]
    assert job.value["healed"].GetScene() is slicer.mrmlScene


def test_a_scan_that_is_deleted_before_its_turn_is_told(logic, qtbot):  # noqa: F811
    import slicer

    behave(logic, "slow")
    first, _ = start(logic)
    scan = module_scans.scan("T1")
    second, _ = start(logic, scan)
    slicer.mrmlScene.RemoveNode(scan)
    first.cancel()
    finish(qtbot, second)
    assert second.state == states.FAILED and "'T1' was deleted" in second.message


def test_a_closed_scene_gets_no_result_and_the_files_are_kept(logic, qtbot):  # noqa: F811
    import slicer

    when(logic, "Healing", lambda: slicer.mrmlScene.Clear(False))
    job, _ = start(logic)
    finish(qtbot, job)
    assert job.state == states.FAILED and "scene was closed" in job.message
    assert scene_is_clean()
    assert (job.work.resultFolder / "result.json").is_file() and str(job.work.resultFolder) in job.message


def test_a_scene_that_closes_while_results_come_in_stays_empty(logic, qtbot, monkeypatch):  # noqa: F811
    import slicer

    from SlicerDiffusionLib import present

    real = present.registry()["labels"]

    def closing(artifact, context):
        slicer.mrmlScene.Clear(False)
        yield
        return (yield from real(artifact, context))

    known = present.registry() | {"labels": closing}
    monkeypatch.setattr(present, "registry", lambda: known)
    job, _ = start(logic)
    finish(qtbot, job)
    assert job.state == states.FAILED and "scene was closed" in job.message and scene_is_clean()


def test_a_cancelled_run_leaves_neither_nodes_nor_files(logic, qtbot):  # noqa: F811
    behave(logic, "slow")
    job, ends = start(logic)
    qtbot.waitUntil(lambda: job.stage == "Healing", timeout=20000)
    job.cancel()
    finish(qtbot, job)
    assert ends == [job] and job.state == states.CANCELLED and scene_is_clean() and not run_folders()


def test_a_killed_run_leaves_neither_nodes_nor_files_and_the_next_one_works(logic, qtbot):  # noqa: F811
    behave(logic, "killed")
    job, _ = start(logic)
    finish(qtbot, job)
    assert job.state == states.FAILED and "memory ran out" in job.message
    assert scene_is_clean() and not run_folders()
    behave(logic, "ok")
    assert "healed" in logic.run("heal", input=module_scans.scan())


def test_a_failing_blocking_run_raises_the_sentence(logic):  # noqa: F811
    behave(logic, "memory")
    with pytest.raises(RuntimeError, match="not enough memory"):
        logic.run("heal", input=module_scans.scan())


def test_two_runs_wait_for_each_other(logic, qtbot):  # noqa: F811
    first, second = start(logic)[0], start(logic, module_scans.scan("second"))[0]
    finish(qtbot, second)
    assert first.state == second.state == states.DONE
    assert len(marks.nodesOfRuns()) == 2
    assert second.value["healed"].GetName() == "second healed SYNTHETIC"


def test_previews_come_and_go(logic, qtbot, monkeypatch):  # noqa: F811
    seen = []
    real = logic.preview.update

    def update(*args):
        real(*args)
        seen.append(logic.preview.node)
        assert marks.isSynthetic(logic.preview.node) and marks.WORD in logic.preview.node.GetName()

    monkeypatch.setattr(logic.preview, "update", update)
    job, _ = start(logic)
    finish(qtbot, job)
    assert len(seen) == 4 and len({node.GetID() for node in seen}) == 1
    assert logic.preview.node is None and seen[0].GetScene() is None


def test_a_preview_that_is_deleted_stays_away(logic, qtbot, monkeypatch):  # noqa: F811
    import slicer

    real, left = logic.preview.update, []

    def update(*args):
        real(*args)
        if logic.preview.node is not None and not left:
            slicer.mrmlScene.RemoveNode(logic.preview.node)
        left.append(logic.preview.node)

    monkeypatch.setattr(logic.preview, "update", update)
    job, _ = start(logic)
    finish(qtbot, job)
    assert job.state == states.DONE and left == [None] * 4


def test_no_preview_is_read_where_none_is_wanted(logic, qtbot):  # noqa: F811
    logic.preview.setEnabled(False)
    job, _ = start(logic)
    finish(qtbot, job)
    assert job.state == states.DONE and logic.preview.node is None


def test_a_broken_preview_does_not_end_the_run(logic, qtbot, monkeypatch):  # noqa: F811
    from SlicerDiffusionLib import handover

    def broken(path):
        raise ValueError("cut short")

    monkeypatch.setattr(handover, "readAtOnce", broken)
    job, _ = start(logic)
    finish(qtbot, job)
    assert job.state == states.DONE


def test_no_step_of_a_run_takes_long(logic, qtbot, monkeypatch):  # noqa: F811
    """The user's thread is free at least every tenth of a second, measured in its own processor time."""
    import slicer

    voxels = np.random.default_rng(0).integers(0, 140, (160, 200, 170)).astype(np.int16)
    voxels[70:80, 90:100, 80:90] = 200
    scan = module_scans.volume("large", voxels, np.eye(4))
    took = []
    real = logic.jobs.poll

    def poll():
        began = time.thread_time()
        real()
        took.append(time.thread_time() - began)

    monkeypatch.setattr(logic.jobs, "poll", poll)
    job, _ = start(logic, scan)
    qtbot.waitUntil(lambda: job.finished, timeout=60000)
    assert job.state == states.DONE and slicer.mrmlScene.IsNodePresent(job.value["anatomy"])
    assert max(took) < 0.1, f"{1000 * max(took):.0f} ms"


def test_the_folder_of_a_run_is_its_own():
    one, other = places.newRunFolder(), places.newRunFolder()
    assert one != other and (one / "inputs").is_dir() and one.name.isascii()
