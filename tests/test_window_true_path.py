"""The true path: the real window, real events and the real engine with the default models, on the sample
patient. One story, because each run costs half a minute.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from desktop_host import Qt, QtCore, QTest, QtWidgets, core  # noqa: F401 (a fixture)

slicer = pytest.importorskip("slicer")

from braindiffusion.paths import resources  # noqa: E402
from braindiffusion_desktop import app  # noqa: E402
from braindiffusion_desktop.blit import RenderWidget  # noqa: E402
from braindiffusion_desktop.files import SAMPLE  # noqa: E402
from desktop_events import picture, settle, wait  # noqa: E402
from desktop_window import drop  # noqa: E402
from scene_volumes import add_volume, affine_of, voxels_of  # noqa: E402

LONGEST_BLOCK_S = 0.1
# The engine computes on all cores, which may slow the window's own work to half, and shows once or twice.
LONGEST_WHILE_COMPUTING_S = 2 * LONGEST_BLOCK_S
# One picture of a view cannot be split. Here a core draws it in software, while the engine computes on all
# cores; elsewhere a graphics card does.
LONGEST_DRAWING_S = 0.3
LONGEST_WAIT_S = 0.6
FIRST_PROGRESS_S = 1.0
RUN_S = 400


def queued(process: int, thread: int | None = None) -> float:
    """Seconds for which a thread, a process's first one where none is given, could have worked and no core
    was free: what it would not have waited on a computer with nothing else to do (Linux; elsewhere 0).
    """
    try:
        return int(Path(f"/proc/{process}/task/{thread or process}/schedstat").read_text().split()[1]) / 1e9
    except OSError:
        return 0.0


class Stopwatch:
    """How long the window's thread was ever kept from its events: by its own work, by drawing one picture,
    and on the clock without the time for which no core was free.
    """

    def __init__(self, window: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.busy: list[float] = []
        self.drawn: list[float] = [0.0]
        self.waited: list[float] = []
        self._thread = threading.get_native_id()
        draw = RenderWidget._render

        def timed(view: RenderWidget) -> None:
            begun = time.thread_time()
            draw(view)
            self.drawn.append(time.thread_time() - begun)

        monkeypatch.setattr(RenderWidget, "_render", timed)
        self._last = self._now()
        self._timer = QtCore.QTimer(window)
        self._timer.timeout.connect(self._tick)
        self._timer.start(5)

    def _now(self) -> tuple[float, float]:
        return time.thread_time() - sum(self.drawn), time.monotonic() - queued(os.getpid(), self._thread)

    def _tick(self) -> None:
        now = self._now()
        self.busy.append(now[0] - self._last[0])
        self.waited.append(now[1] - self._last[1])
        self._last = now

    def stop(self) -> None:
        self._timer.stop()


@pytest.fixture
def window(core: Any) -> Iterator[Any]:  # noqa: F811
    """The window with the module's panel and its own engine."""
    window = app.start([])
    window.module.logic.jobs.engine.command = None  # tests before this one had engines that compute nothing
    yield window
    window.interactive = False
    window.close()
    window.deleteLater()
    settle()


def widget(window: Any, name: str) -> Any:
    """The panel's widget of that name."""
    found = [w for w in window._panel.findChildren(QtWidgets.QWidget) if w.property("objectName") == name]
    assert found, f"there is no widget '{name}'"
    return found[0]


def click(button: Any) -> None:
    QTest.mouseClick(button, Qt.MouseButton.LeftButton)
    settle()


def open_sample(window: Any) -> Any:
    drop(window, resources() / SAMPLE)
    wait(lambda: not window.files.busy)
    settle()
    (scan,) = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    return scan


def job_of(window: Any) -> Any:
    return window.module.session.runs.job


def finish(window: Any) -> Any:
    """Wait for the end of the run that goes on."""
    wait(lambda: job_of(window).finished, RUN_S)
    settle(20)
    return job_of(window)


def latest(window: Any) -> Any:
    return window.module.session.history.entry


def volumes() -> list[str]:
    return sorted(node.GetName() for node in slicer.util.getNodesByClass("vtkMRMLVolumeNode"))


def test_load_run_jump_threshold_export_cancel_kill_rerun_save_and_reopen(window, tmp_path, monkeypatch):
    scan = open_sample(window)
    before = voxels_of(scan).copy()
    widget(window, "samples").setValue(1)
    widget(window, "steps").setValue(2)
    widget(window, "seed").setValue(7)

    first = _run(window, monkeypatch)
    _result_is_shown(window, scan, before, first)
    _jump(window, first)
    _threshold(window)
    _export(window, tmp_path, monkeypatch)
    _cancel(window)
    _killed(window)

    widget(window, "history").setProperty("collapsed", False)
    settle()
    killed = job_of(window)
    click(window.module.session.history.buttons["Run again"])
    again = finish(window)
    assert again is not killed
    assert again.state == "done", again.message
    for role in ("healed", "heatmap", "spread"):
        assert np.array_equal(voxels_of(latest(window).nodes[role]), voxels_of(first.nodes[role])), role
    _save_and_reopen(window, first, tmp_path)


def _run(window: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Press Run: progress within a second, and a window that answers until the result is shown, too."""
    _drawn(window)
    watch = Stopwatch(window, monkeypatch)
    own, pressed = threading.get_native_id(), time.monotonic()
    kept = queued(os.getpid(), own)
    click(window.run_button())
    job = job_of(window)
    own_stages = {"", "Waiting for the run before it", job.stage}  # the window's, before the engine speaks
    wait(lambda: job.stage not in own_stages, 30)
    kept = queued(os.getpid(), own) - kept + queued(window.module.logic.jobs.processId())
    assert time.monotonic() - pressed - kept < FIRST_PROGRESS_S
    assert window.run_button().property("text") == "Cancel"
    wait(lambda: job.finished, RUN_S)
    assert job.state == "done", job.message
    result = window.module.session.result
    wait(lambda: result.inViews == job.work.id and result._making is None)
    _drawn(window)
    watch.stop()
    assert len(watch.busy) > 100
    assert len(watch.drawn) > 3
    longest = sorted(watch.busy)[-3:]
    assert longest[0] < LONGEST_BLOCK_S, f"busy for {longest} s"
    assert longest[-1] < LONGEST_WHILE_COMPUTING_S, f"busy for {longest} s"
    assert max(watch.drawn) < LONGEST_DRAWING_S, f"drew for {max(watch.drawn):.3f} s"
    assert max(watch.waited) < LONGEST_WAIT_S, f"away for {max(watch.waited):.3f} s"
    return latest(window)


def _drawn(window: Any) -> None:
    """Let all be done and drawn that was put off."""
    wait(lambda: not any(frame.view._stale for frame in window.layouts.frames()))
    settle(20)


def _result_is_shown(window: Any, scan: Any, before: np.ndarray, entry: Any) -> None:
    assert np.array_equal(voxels_of(scan), before)
    for role in ("healed", "heatmap", "spread"):
        node = entry.nodes[role]
        assert voxels_of(node).shape == before.shape
        assert np.abs(affine_of(node) - affine_of(scan)).max() < 1e-9
        assert "SYNTHETIC" in node.GetName()
    assert entry.record["provenance"]["seed"] == 7
    assert entry.record["provenance"]["voxels_outside_changed"] == 0
    shown = [frame.view for frame in window.layouts.frames()]
    assert len(shown) == 3
    for view in shown:
        assert "SYNTHETIC" in "".join(view.cornerAnnotation().GetText(n) or "" for n in range(8))
    assert widget(window, "verdict").property("visible")


def _jump(window: Any, entry: Any) -> None:
    """Click the findings: the views go there, and the side is the one of its place."""
    table = window.module.session.result.findings
    assert table.count() > 0, "the painted lesion is not found at all"
    for row, values in enumerate(table._rows):
        item = table.widget.item(row, 0)
        table.widget.scrollToItem(item)
        QTest.mouseClick(
            table.widget.viewport(), Qt.MouseButton.LeftButton, pos=table.widget.visualItemRect(item).center()
        )
        settle()
        place = [values["x_mm"], values["y_mm"], values["z_mm"]]
        for frame in window.layouts.frames():
            matrix = slicer.util.arrayFromVTKMatrix(frame.view.node.GetSliceToRAS())
            off = matrix[:3, 2] @ (np.array(place) - matrix[:3, 3])
            assert abs(off) <= 1.0, "the slice does not go through the finding"
        if abs(place[0]) > 10:
            assert values["side"] in ("left" if place[0] < 0 else "right", "both sides")


def _threshold(window: Any) -> None:
    """Move the slider with keys: the outline follows, and so does the count of the findings."""
    result = window.module.session.result
    spin = result.overlays.threshold
    (slider,) = spin.findChildren(QtWidgets.QSlider)
    heights = voxels_of(result.overlays.overlay)
    rows = result.findings._rows
    for key in (Qt.Key.Key_End, *[Qt.Key.Key_Left] * 5, Qt.Key.Key_Home):
        moved = time.monotonic()
        before = spin.property("value")
        QTest.keyClick(slider, key)
        wait(lambda: not result.overlays._waiting)
        settle()
        assert time.monotonic() - moved < 2.0
        now = spin.property("value")
        assert now > before if key == Qt.Key.Key_End else now < before
        said = widget(window, "findingsCount").property("text")
        if now > result.overlays.runThreshold + 0.01:
            reached = sum(row["peak_z"] >= now for row in rows)
            assert said.startswith(f"{reached} of {len(rows)} ")
        assert result.overlays._outline._inside.sum() == (heights >= now).sum()


def _export(window: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import qt

    monkeypatch.setattr(qt.QFileDialog, "getExistingDirectory", lambda *_: str(folder))
    click(widget(window, "export"))
    (written,) = [path for path in folder.iterdir() if path.is_dir()]
    assert (written / "result.json").is_file() and (written / "healed_synthetic.nii.gz").is_file()


def _cancel(window: Any) -> None:
    """Cancel: seen within two seconds, the computation over within five, the scene as it was."""
    there = volumes()
    click(window.run_button())
    job = job_of(window)
    wait(lambda: job.fraction > 0.02, RUN_S)
    engine = window.module.logic.jobs.processId()
    time.sleep(0.8)  # a second click so soon would be a double click
    clicked = time.monotonic()
    click(window.run_button())
    wait(lambda: job.state == "cancelled", 5)
    assert time.monotonic() - clicked < 2.0
    wait(lambda: window.module.logic.jobs.processId() is None or not _computing(engine), 5)
    assert time.monotonic() - clicked < 5.0
    assert volumes() == there
    assert window.run_button().property("text") == "Run"


def _computing(process: int) -> bool:
    """Whether a process still uses the processor (Linux), or is there at all (elsewhere)."""
    try:
        begun = sum(map(int, Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[11:13]))
        time.sleep(0.2)
        now = sum(map(int, Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[11:13]))
    except OSError:
        return False
    return now - begun > 0.1 * os.sysconf("SC_CLK_TCK")


def _killed(window: Any) -> None:
    """Somebody kills the engine: a sentence, and the scene as it was."""
    there = volumes()
    click(window.run_button())
    job = job_of(window)
    wait(lambda: job.fraction > 0.02, RUN_S)
    os.kill(window.module.logic.jobs.processId(), signal.SIGKILL)
    wait(lambda: job.finished, 10)
    assert job.state == "failed" and "stopped from outside" in job.message
    assert widget(window, "status").property("text") == job.message
    assert volumes() == there


def _save_and_reopen(window: Any, entry: Any, folder: Path) -> None:
    healed, runs = entry.nodes["healed"], entry.run
    voxels, affine = voxels_of(healed).copy(), affine_of(healed)
    assert window.files.save_scene(folder / "saved.mrb")
    window.files.close_scene()
    settle()
    assert not slicer.util.getNodesByClass("vtkMRMLVolumeNode")
    window.files.open(folder / "saved.mrb")
    settle(20)
    history = window.module.session.history
    history.choose(runs)
    assert history.entry is not None and history.entry.run == runs
    again = history.entry.nodes["healed"]
    # Reading turns a left-handed grid round: other indices, the same voxels at the same places.
    turn = np.linalg.inv(affine_of(again)) @ affine
    flipped = tuple(axis for axis in range(3) if turn[axis, axis] < 0)
    assert np.abs(np.abs(turn[:3, :3]) - np.eye(3)).max() < 1e-6
    assert np.array_equal(np.flip(voxels_of(again), flipped), voxels)
    assert widget(window, "seed").property("value") == 7
    click(history.buttons["Show"])
    assert "seed 7" in widget(window, "resultTitle").property("text")


@pytest.mark.slow
@pytest.mark.parametrize("axes", ["RAS", "LPS", "LIA", "oblique"])
def test_a_lesion_on_the_left_is_found_on_the_left_beside_the_letter_l(window, axes):
    """The sample patient in a mirror, on grids that run in other directions or aslant."""
    import nibabel

    image = nibabel.load(resources() / SAMPLE)
    affine = np.diag([-1.0, 1, 1, 1]) @ image.affine
    mirrored = nibabel.Nifti1Image(image.get_fdata(dtype=np.float32), affine)
    if axes != "oblique":
        wanted = nibabel.orientations.axcodes2ornt(axes)
        turn = nibabel.orientations.ornt_transform(nibabel.io_orientation(affine), wanted)
        mirrored = mirrored.as_reoriented(turn)
        assert "".join(nibabel.aff2axcodes(mirrored.affine)) == axes
    else:
        angle = np.radians(17)
        aslant = np.eye(4)
        aslant[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        mirrored = nibabel.Nifti1Image(mirrored.get_fdata(dtype=np.float32), aslant @ affine)
    add_volume(mirrored.get_fdata(dtype=np.float32), mirrored.affine, f"mirrored {axes}")
    settle()
    widget(window, "samples").setValue(1)
    widget(window, "steps").setValue(2)
    click(window.run_button())
    assert finish(window).state == "done", job_of(window).message

    strongest = max(window.module.session.result.findings._rows, key=lambda row: row["peak_z"])
    assert strongest["side"] == "left" and strongest["x_mm"] < -10
    window.module.session.result.findings._jump([strongest[key] for key in ("x_mm", "y_mm", "z_mm")])
    overlays = window.module.session.result.overlays
    overlays.above.setChecked(True)  # colours for nothing but the strongest place
    overlays.threshold.setValue(min(strongest["peak_z"], overlays.threshold.property("maximum")) - 0.5)
    wait(lambda: not overlays._waiting)
    settle()
    frame = next(frame for frame in window.layouts.frames() if frame.view.node.GetLayoutName() == "MapAxial")
    to_pixels = np.linalg.inv(slicer.util.arrayFromVTKMatrix(frame.view.node.GetXYToRAS()))
    column = (to_pixels @ [strongest["x_mm"], strongest["y_mm"], strongest["z_mm"], 1])[0]
    middle = frame.view.node.GetDimensions()[0] / 2
    letters = frame.view.letters()
    assert (column > middle) == (letters["right"] == "L") and "L" in (letters["left"], letters["right"])
    shown = picture(frame.view)[:, : int(0.8 * 2 * middle)].astype(int)  # without the legend
    warm = (shown[..., 0] - shown[..., 2]) > 90
    near = warm[:, max(0, int(column) - 25) : int(column) + 25].sum()
    across = int(2 * middle - column)
    assert near >= 10
    assert near > 3 * warm[:, max(0, across - 25) : across + 25].sum()
