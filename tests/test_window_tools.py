"""What surrounds the views: tools that follow the scene, pictures, colours, console, about."""

# ruff: noqa: F811 (fixtures are imported)
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from desktop_host import Qt, QtWidgets, core  # noqa: F401 (a fixture)

# isort: split
from PySide6 import QtGui

from braindiffusion_desktop import about, app, console, screenshots, theme
from desktop_events import head_with_spot, picture, settle, wait
from desktop_window import drop, opened, scan_path, slicer, window  # noqa: F401 (fixtures)


def test_every_layout_has_a_button_with_a_picture_of_it(window):
    actions = window.actions_.layouts
    assert {3, 2, 6, 4, 5610, 5611} <= set(actions)
    pictures: dict[int, bytes] = {}
    for number, action in actions.items():
        action.trigger()
        settle()
        assert window.layouts.layout == number and action.isChecked()
        image = action.icon().pixmap(48, 48).toImage()
        pictures[number] = bytes(image.constBits())
        assert action.toolTip()
    assert len({pictures[number] for number in (3, 2, 6, 4, 5610, 5611)}) == 6
    window.layouts.setLayout(3)
    assert actions[3].isChecked() and not actions[2].isChecked()


def test_a_layout_from_the_tool_bar_shows_the_result_in_views_that_are_new(window, scan_path):
    drop(window, scan_path)
    opened(window)
    window.run_button().click()
    wait(lambda: window.layouts.layout == 5610, 60)
    settle()
    legend = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLColorLegendDisplayNode")

    def height() -> float:
        return legend.GetSize()[1] * window.layouts.frames()[-1].view.height()

    small = height()
    window.actions_.layouts[6].trigger()
    settle()
    legend = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLColorLegendDisplayNode")
    assert height() == pytest.approx(small, rel=0.3), "a larger view has no larger legend"
    window.actions_.layouts[5611].trigger()
    settle()
    shown = [frame.mrmlSliceCompositeNode().GetBackgroundVolumeID() for frame in window.layouts.frames()]
    assert len(shown) == 9 and None not in shown
    legend = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLColorLegendDisplayNode")
    for frame in window.layouts.frames():
        assert set(frame.sliceView().letters()) == {"left", "right", "top", "bottom"}
        height = frame.view.height()
        top = (legend.GetPosition()[1] * (1 - legend.GetSize()[1]) + legend.GetSize()[1]) * height
        assert top + 18 < height / 2 - 10, "a legend and its title stand below the letter on the right"


def test_tools_change_the_scene_and_follow_it(window):
    tools = window.actions_
    mode = slicer.app.applicationLogic().GetInteractionNode()
    tools.adjust.trigger()
    assert mode.GetCurrentInteractionMode() == mode.AdjustWindowLevel
    mode.SetCurrentInteractionMode(mode.ViewTransform)
    assert not tools.adjust.isChecked()
    crosshair = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    tools.crosshair.trigger()
    assert crosshair.GetCrosshairMode() == crosshair.ShowBasic
    crosshair.SetCrosshairMode(crosshair.NoCrosshair)
    assert not tools.crosshair.isChecked()
    assert tools.link.isChecked()
    tools.link.trigger()
    assert not window.layouts.sliceWidget("Red").mrmlSliceCompositeNode().GetLinkedControl()
    tools.link.trigger()
    slicer.app.show_volume(head_with_spot("RAS"))
    view = window.layouts.sliceWidget("Red").sliceView()
    field = view.node.GetFieldOfView()[0]
    view.node.SetFieldOfView(*(0.3 * value for value in view.node.GetFieldOfView()))
    tools.fit.trigger()
    assert view.node.GetFieldOfView()[0] == pytest.approx(field, rel=0.2)


def test_a_screenshot_is_what_the_views_show(window, tmp_path):
    slicer.app.show_volume(head_with_spot("RAS"))
    settle()
    assert window.files.save_screenshot(tmp_path / "shot.png")
    saved = QtGui.QImage(str(tmp_path / "shot.png"))
    assert saved.size() == window.layouts.viewport.size()
    assert not window.files.save_screenshot(tmp_path / "no folder" / "shot.png")
    assert "could not be saved" in window.banner.text


def test_pictures_of_all_layouts(window, tmp_path):
    slicer.app.show_volume(head_with_spot("RAS"))
    before = window.layouts.layout
    paths = screenshots.take(window, tmp_path)
    assert {path.name for path in paths} >= {"window-four-views.png", "window-compare.png"}
    assert len({path.read_bytes() for path in paths}) == len(paths)
    assert window.layouts.layout == before


# -- colours


def _contrast(
    palette: QtGui.QPalette, text: QtGui.QPalette.ColorRole, ground: QtGui.QPalette.ColorRole
) -> float:
    """Contrast of WCAG 2, 1 to 21."""

    def light(role: QtGui.QPalette.ColorRole) -> float:
        color = palette.color(role)
        parts = np.array([color.redF(), color.greenF(), color.blueF()])
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    low, high = sorted((light(text), light(ground)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("dark", [False, True])
def test_text_can_be_read_in_light_and_dark(dark):
    role = QtGui.QPalette.ColorRole
    palette = theme.palette(dark)
    for text, ground in (
        (role.WindowText, role.Window),
        (role.Text, role.Base),
        (role.ButtonText, role.Button),
    ):
        assert _contrast(palette, text, ground) >= 7
    assert _contrast(palette, role.HighlightedText, role.Highlight) >= 4.5
    assert _contrast(palette, role.PlaceholderText, role.Base) >= 4.5
    assert _contrast(palette, role.Link, role.Window) >= 4.5


def test_the_window_is_light_or_dark_as_chosen_and_remembers_it(window):
    def brightness() -> float:
        return float(np.median(picture(window.dock)))

    window.theme.choose("light")
    settle()
    light, button = brightness(), bytes(window.actions_.fit.icon().pixmap(24, 24).toImage().constBits())
    window.theme.choose("dark")
    settle()
    assert light > 180 > 90 > brightness()
    assert bytes(window.actions_.fit.icon().pixmap(24, 24).toImage().constBits()) != button
    assert window.core.settings().value("theme") == "dark"
    window.theme.choose("system")
    assert window.theme.dark == (QtWidgets.QApplication.styleHints().colorScheme() == Qt.ColorScheme.Dark)


# -- console, about, report


@pytest.mark.skipif(not console.is_installed(), reason="needs qtconsole (pip install '.[console]')")
def test_the_lines_of_the_documentation_work_in_the_console(window):
    window.actions_.console.trigger()
    settle()
    python = window.findChild(console.Console)
    assert python.isVisible()
    python.execute("logic = slicer.modules.slicerdiffusion.widgetRepresentation().self().logic")
    python.execute("volumes = slicer.util.getNodesByClass('vtkMRMLVolumeNode'); done = True")
    settle()
    assert python.value("logic") is window.module.logic and python.value("done") is True
    window.actions_.console.trigger()
    assert not python.isVisible()


def test_without_qtconsole_the_menu_says_how_to_get_it(core, monkeypatch):
    monkeypatch.setattr(console, "is_installed", lambda: False)
    window = app.start([])
    action = window.actions_.console
    assert not action.isEnabled() and "pip install" in action.toolTip()
    window.close()


def test_about_says_that_it_is_for_research_only_and_does_not_stop_the_window(window):
    box = about.show(window)
    assert "not a medical device" in box.text() and "research only" in box.text()
    box.close()


def test_the_system_report_helps_and_tells_nothing_of_the_user(window, scan_path):
    drop(window, scan_path)
    opened(window)
    window.actions_.report.trigger()
    report = QtWidgets.QApplication.clipboard().text()
    for word in ("slicer-core", "Qt ", "OpenGL", "Python: 3", "cores"):
        assert word in report
    assert "OpenGL: none" not in report
    assert str(Path.home()) not in report and "anna" not in report
