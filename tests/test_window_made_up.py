"""The true path of the tasks that make brains and fillings up: window, real events and the real engine."""

# ruff: noqa: F811 (fixtures are imported)
from __future__ import annotations

import numpy as np
import pytest

from braindiffusion.paths import resources
from braindiffusion_desktop.files import SAMPLE
from desktop_events import settle, wait
from desktop_host import Qt, QtCore, QTest, QtWidgets, core  # noqa: F401 (a fixture)
from desktop_window import drop, slicer, window  # noqa: F401 (a fixture)
from scene_volumes import affine_of, voxels_of

pytestmark = pytest.mark.slow
RUN_S = 600


def run(window, title, **values):
    """Choose a task in its box, press Run and wait until the views show what came of it."""
    session = window.module.session
    box = window.dock.findChild(QtWidgets.QComboBox, "task")
    box.setCurrentText(title)
    session.panel.page.setValues(values)
    settle()
    QTest.mouseClick(window.run_button(), Qt.MouseButton.LeftButton)
    job = session.runs.job
    wait(lambda: job.finished, RUN_S)
    assert job.state == "done", job.message
    wait(lambda: session.result.inViews == job.work.id, RUN_S)
    settle(20)
    return session.result.entry.nodes


@pytest.fixture
def engine(window):
    window.module.logic.jobs.engine.command = None  # the true one
    return window.module.logic.jobs.engine


def test_brains_are_generated_in_an_empty_window_the_same_for_the_same_seed(window, engine):
    request = {"samples": 2, "seed": 5, "steps": 2, "ventricles": 30.0}
    nodes = run(window, "Generate brains", **request)
    stepper = window.module.session.result.stepper
    assert stepper.slider.property("maximum") == 2 and ", seed " in stepper.label.property("text")
    brain = stepper.volume
    assert "SYNTHETIC" in brain.GetName() and voxels_of(brain).shape == (80, 96, 80)
    assert np.linalg.norm(affine_of(brain)[:3, :3], axis=0) == pytest.approx([2, 2, 2])
    shown = [frame.view for frame in window.layouts.frames()]
    assert all("SYNTHETIC" in (view.cornerAnnotation().GetText(7) or "") for view in shown)
    first = [voxels_of(nodes["brains"].GetNthDataNode(n)).copy() for n in range(2)]
    assert (first[0] != first[1]).any()
    again = run(window, "Generate brains", **request)
    for n in range(2):
        assert np.array_equal(voxels_of(again["brains"].GetNthDataNode(n)), first[n])


def test_a_sphere_is_filled_and_nothing_outside_it_changes(window, engine):
    drop(window, resources() / SAMPLE)
    wait(lambda: not window.files.busy)
    settle()
    (scan,) = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    before = voxels_of(scan).copy()
    window.layouts.setLayout(3)
    settle()
    window.actions_.sphere.trigger()
    view = window.layouts.sliceWidget("Red").sliceView()
    QTest.mouseClick(view, Qt.MouseButton.LeftButton, pos=view.rect().center() + QtCore.QPoint(30, -15))
    settle()
    (sphere,) = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    mask = slicer.util.arrayFromSegmentBinaryLabelmap(sphere, "sphere_1", scan).T > 0
    nodes = run(window, "Fill a region", samples=2, seed=5, steps=2)
    filled = voxels_of(nodes["inpainted"])
    assert np.array_equal(filled[~mask], before[~mask]) and (filled[mask] != before[mask]).any()
    said = window.dock.findChild(QtWidgets.QLabel, "outsideMask")
    assert said.isVisible() and said.property("text") == "Voxels changed outside the mask: 0."
