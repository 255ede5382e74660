"""The chart of what was measured against what was asked for, beside the images in the window."""

# ruff: noqa: F811 (fixtures are imported)
from __future__ import annotations

import numpy as np
import pytest

from braindiffusion_desktop.guard import unsaved
from braindiffusion_desktop.plotview import PlotWidget
from desktop_events import drag, picture, settle, wait, wheel
from desktop_host import Qt, QTest, QtWidgets, core  # noqa: F401 (a fixture)
from desktop_window import slicer, window  # noqa: F401 (a fixture)
from made_up_tasks import tasks  # noqa: F401 (a fixture)

pytestmark = pytest.mark.usefixtures("tasks")


def panel(window, name):
    return window.dock.findChild(QtWidgets.QWidget, name)


@pytest.fixture
def plot(window):
    """The view of the chart, after brains were generated and the button was pressed."""
    window.resize(1300, 800)
    session = window.module.session
    session.panel.chooseTask("generate")
    session.panel.page.setValues({"samples": 5, "seed": 3})
    window.run_button().click()
    wait(lambda: session.runs.job.finished and session.result.inViews == session.runs.job.work.id)
    button = panel(window, "chart")
    assert button.isVisible()
    QTest.mouseClick(button, Qt.MouseButton.LeftButton)
    wait(lambda: window.layouts.layout == 5612 and session.result._making is None)
    settle()
    (widget,) = [frame for frame in window.layouts.frames() if isinstance(frame, PlotWidget)]
    window.layouts.draw()
    return widget.plotView()


def points(plot):
    """Across and up of the points that are drawn, as [n, 2]."""
    drawn = next(
        plot.chart.GetPlot(n)
        for n in range(plot.chart.GetNumberOfPlots())
        if plot.chart.GetPlot(n).IsA("vtkPlotPoints") and not plot.chart.GetPlot(n).IsA("vtkPlotLine")
    )
    arrays = [drawn.GetData().GetInputArrayToProcess(axis, drawn.GetInput()) for axis in (0, 1)]
    return np.array([[array.GetTuple1(n) for n in range(array.GetNumberOfTuples())] for array in arrays]).T


def axes(plot):
    return [(plot.chart.GetAxis(n).GetMinimum(), plot.chart.GetAxis(n).GetMaximum()) for n in (1, 0)]


def test_each_brain_is_a_point_at_what_was_asked_for_and_measured(window, plot):
    np.testing.assert_allclose(points(plot), [[20 + 5 * n, 21 + 5 * n] for n in range(5)])
    (left, right), (low, high) = axes(plot)
    assert left < 20 and right > 41 and low < 20 and high > 41, "every point and the line lie inside"
    shown = picture(plot).astype(int)
    blue = (shown[..., 2] - shown[..., 0]) > 80
    assert blue.sum() > 5 * 30, "the points are seen"
    assert "SYNTHETIC" in plot.chart.GetTitle() and plot.chart.GetAxis(1).GetTitle() == "asked for (ml)"


def test_the_wheel_zooms_and_dragging_pans(window, plot):
    (left, right), _ = axes(plot)
    wheel(plot, 2)
    zoomed = axes(plot)[0]
    assert zoomed != (left, right)
    drag(plot, Qt.MouseButton.LeftButton, (60, 0))
    assert axes(plot)[0] != zoomed
    plot.fit()
    assert axes(plot)[0] == pytest.approx((left, right))


def test_the_images_stand_above_the_chart_and_follow_the_slider(window, plot):
    names = [frame.view.node.GetLayoutName() for frame in window.layouts.frames()]
    assert names == ["OriginalAxial", "ResultAxial", "MapAxial", "BrainDiffusionChart"]
    panel(window, "step").setValue(4)
    assert window.layouts.sliceWidget("OriginalAxial").mrmlSliceNode().GetLayoutLabel() == "Brain 4"
    assert window.actions_.layouts[5612].isChecked() and "chart" in window.actions_.layouts[5612].text()


def test_a_chart_is_neither_saved_nor_asked_for(window, plot, tmp_path):
    assert window.files.save_scene(tmp_path / "brains.mrb")
    assert not unsaved()
    window.files.close_scene()
    settle()
    window.files.open(tmp_path / "brains.mrb")
    settle(20)
    assert not slicer.util.getNodesByClass("vtkMRMLPlotChartNode")
    window.module.session.history.buttons["Show"].click()
    wait(lambda: window.module.session.result._making is None)
    panel(window, "chart").click()
    wait(lambda: window.module.session.result._making is None)
    assert len(slicer.util.getNodesByClass("vtkMRMLPlotChartNode")) == 1
