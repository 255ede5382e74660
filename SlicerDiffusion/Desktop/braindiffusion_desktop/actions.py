"""The tool bar and the menus of the window."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import slicer
import vtk
from PySide6 import QtCore, QtGui, QtWidgets

from . import about, console, icons, theme
from .observe import Observations

Qt = QtCore.Qt
_STANDARD = {3: "Four views", 2: "3D above three slices", 6: "One axial slice", 4: "3D alone"}
_OF_MODULES = {5610: "Compare side by side", 5611: "Compare in three planes", 5612: "Compare with a chart"}
_FIRST_OF_MODULES = slicer.vtkMRMLLayoutNode.SlicerLayoutUserView


class Actions(QtCore.QObject):
    """Makes the actions of a window, and keeps those with a check mark as the scene is."""

    def __init__(self, window: Any) -> None:
        super().__init__(window)
        self._window = window
        self._watch = Observations()
        self._icons: list[tuple[QtGui.QAction, Callable[[QtGui.QColor], QtGui.QIcon]]] = []
        self._interaction = slicer.app.applicationLogic().GetInteractionNode()
        self._crosshair_node = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
        self.tools = window.addToolBar("Tools")
        self.tools.setObjectName("tools")
        self.tools.setMovable(False)
        self.tools.setIconSize(QtCore.QSize(22, 22))
        self.layouts: dict[int, QtGui.QAction] = {}
        self._layout_group = QtGui.QActionGroup(self)
        self._layouts_end: QtGui.QAction | None = None
        self._make()
        self._fill_tools()
        self._fill_menus()
        self._observe()
        self.refresh_layouts()
        window.theme.changed.connect(self.paint_icons)

    # -- making

    def _action(
        self,
        words: str,
        do: Callable[..., Any],
        keys: str = "",
        icon: str = "",
        tip: str = "",
        check: bool = False,
    ) -> QtGui.QAction:
        action = QtGui.QAction(words, self._window)
        if keys:
            action.setShortcut(QtGui.QKeySequence(keys))
        shortcut = action.shortcut().toString(QtGui.QKeySequence.SequenceFormat.NativeText)
        tip = tip or words.rstrip("….")
        action.setToolTip(f"{tip} ({shortcut})" if shortcut else tip)
        if icon:
            self._icons.append((action, lambda color, name=icon: icons.icon(name, color)))
        if check:
            action.setCheckable(True)
            action.toggled.connect(do)
        else:
            action.triggered.connect(lambda *_: do())
        return action

    def _make(self) -> None:
        window, files, layouts = self._window, self._window.files, self._window.layouts
        make = self._action
        self.open = make("Open scan…", files.ask_scan, "Ctrl+O", "folder", "Open a scan; or drop it here")
        self.open_dicom = make("Open DICOM folder…", files.ask_dicom, "Ctrl+Shift+O")
        self.open_sample = make("Open the sample patient", files.open_sample)
        self.open_scene = make("Open scene…", files.ask_scene)
        self.save_scene = make("Save scene…", files.ask_save_scene, "Ctrl+S")
        self.close_scene = make("Close scene", window.ask_close_scene, "Ctrl+W")
        self.screenshot = make("Export screenshot…", files.ask_screenshot, "Ctrl+Shift+S", "camera")
        self.quit = make("Quit", window.close, "Ctrl+Q")
        tip = "Brightness and contrast: drag over a slice with the left button"
        self.adjust = make("Brightness and contrast", self._set_adjust, "Ctrl+B", "window level", tip, True)
        tip = "Crosshair; move the mouse with Shift held down to go to a place in all views"
        self.crosshair = make("Crosshair", self._set_crosshair, "Ctrl+K", "crosshair", tip, True)
        self.fit = make("Fit to window", layouts.fit, "Ctrl+0", "fit", "Fit all views to the window")
        tip = "Let slices of one orientation move together"
        self.link = make("Link slices", layouts.set_linked, "Ctrl+L", "link", tip, True)
        self.link.setChecked(layouts.is_linked())
        tip = "Place a sphere as a mask: click its middle in a slice, drag to set its radius"
        self.sphere = make("Sphere", window.spheres.turn, "Ctrl+Shift+M", "sphere", tip, True)
        window.spheres.turned.connect(self._sphere_turned)
        self.undo = window.spheres.undo.createUndoAction(window, "Undo")
        self.undo.setShortcut(QtGui.QKeySequence(QtGui.QKeySequence.StandardKey.Undo))
        self.redo = window.spheres.undo.createRedoAction(window, "Redo")
        self.redo.setShortcut(QtGui.QKeySequence(QtGui.QKeySequence.StandardKey.Redo))
        self.documentation = make("Documentation", about.open_documentation, "F1")
        self.documentation.setEnabled(about.documentation() is not None)
        self.report = make("Copy system report", self._copy_report)
        self.about = make("About BrainDiffusion", lambda: about.show(window))
        self.console = make("Python console", window.show_console, "Ctrl+3", check=True)
        self.console.setEnabled(console.is_installed())
        if not console.is_installed():
            self.console.setToolTip(console.HOW_TO_INSTALL)

    def _fill_tools(self) -> None:
        tools = self.tools
        tools.addAction(self.open)
        tools.addSeparator()
        self._layouts_end = tools.addSeparator()
        tools.addActions([self.adjust, self.crosshair, self.fit, self.link])
        tools.addAction(self.sphere)
        self._radius = tools.addWidget(self._window.spheres.spin)
        self.offer_sphere(False)
        tools.addSeparator()
        tools.addAction(self.screenshot)
        button = tools.widgetForAction(self.open)
        button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)

    def _fill_menus(self) -> None:
        bar = self._window.menuBar()
        file = bar.addMenu("&File")
        file.addActions([self.open, self.open_dicom, self.open_scene])
        self.recent = file.addMenu("Recent")
        self.recent.aboutToShow.connect(self.fill_recent)
        file.addAction(self.open_sample)
        file.addSeparator()
        file.addActions([self.save_scene, self.close_scene, self.screenshot])
        file.addSeparator()
        file.addAction(self.quit)
        bar.addMenu("&Edit").addActions([self.undo, self.redo, self.sphere])
        view = bar.addMenu("&View")
        view.setToolTipsVisible(True)
        self.layout_menu = view.addMenu("Layout")
        view.addActions([self.fit, self.link, self.crosshair, self.adjust])
        view.addSeparator()
        self._fill_theme_menu(view.addMenu("Colours"))
        self.panel_place = view.addSeparator()
        view.addAction(self.console)
        self.view_menu = view
        helps = bar.addMenu("&Help")
        helps.addActions([self.documentation, self.report, self.about])

    def _fill_theme_menu(self, menu: QtWidgets.QMenu) -> None:
        group = QtGui.QActionGroup(self)
        for choice, words in zip(theme.CHOICES, ("As the system", "Light", "Dark")):
            action = menu.addAction(words, lambda choice=choice: self._window.theme.choose(choice))
            action.setCheckable(True)
            action.setChecked(choice == self._window.theme.choice)
            group.addAction(action)

    def offer_sphere(self, offered: bool) -> None:
        """Show or hide the tool for spheres: it is of use where a task takes a mask."""
        self.sphere.setVisible(offered)
        self.sphere.setEnabled(offered)
        self._sphere_turned(offered and self._window.spheres.on)

    def _sphere_turned(self, on: bool) -> None:
        self.sphere.setChecked(on)
        self._radius.setVisible(on)

    # -- layouts

    def refresh_layouts(self, *_: Any) -> None:
        """An action for each layout: Slicer's standard ones, and those that modules have registered."""
        node = self._window.layouts.layoutLogic().GetLayoutNode()
        registered = [number for number in node.GetLayoutIndices() if number > _FIRST_OF_MODULES]
        titles = _STANDARD | {number: _OF_MODULES.get(number, f"Layout {number}") for number in registered}
        new = [number for number in titles if number not in self.layouts]
        for number in new:
            action = self.layouts[number] = self._layout_action(number, titles[number])
            self.tools.insertAction(self._layouts_end, action)
            self.layout_menu.addAction(action)
        if new:
            self.paint_icons()
        shown = self.layouts.get(self._window.layouts.layout)
        if shown is not None:
            shown.setChecked(True)

    def _layout_action(self, number: int, title: str) -> QtGui.QAction:
        keys = f"Alt+{len(self._layout_group.actions()) + 1}"
        action = self._action(title, lambda: self._window.layouts.setLayout(number), keys)
        action.setCheckable(True)
        self._layout_group.addAction(action)
        return action

    def paint_icons(self, *_: Any) -> None:
        color = QtWidgets.QApplication.palette().buttonText().color()
        for action, draw in self._icons:
            action.setIcon(draw(color))
        node = self._window.layouts.layoutLogic().GetLayoutNode()
        for number, action in self.layouts.items():
            action.setIcon(icons.layout_icon(node.GetLayoutDescription(number), color))

    # -- the scene

    def _observe(self) -> None:
        changed = vtk.vtkCommand.ModifiedEvent
        layouts = self._window.layouts
        self._watch.observe(
            self._interaction, (self._interaction.InteractionModeChangedEvent,), self._interaction_changed
        )
        self._watch.observe(self._crosshair_node, (changed,), self._crosshair_changed)
        self._watch.observe(layouts.layoutLogic().GetLayoutNode(), (changed,), self.refresh_layouts)
        layouts.layoutChanged.connect(self.refresh_layouts)

    def _set_adjust(self, on: bool) -> None:
        node = self._interaction
        node.SetCurrentInteractionMode(node.AdjustWindowLevel if on else node.ViewTransform)

    def _interaction_changed(self, *_: Any) -> None:
        node = self._interaction
        self.adjust.setChecked(node.GetCurrentInteractionMode() == node.AdjustWindowLevel)
        if self.adjust.isChecked():  # one tool has the left button
            self.sphere.setChecked(False)

    def _set_crosshair(self, on: bool) -> None:
        node = self._crosshair_node
        if on != (node.GetCrosshairMode() != node.NoCrosshair):
            node.SetCrosshairMode(node.ShowBasic if on else node.NoCrosshair)

    def _crosshair_changed(self, *_: Any) -> None:
        node = self._crosshair_node
        self.crosshair.setChecked(node.GetCrosshairMode() != node.NoCrosshair)

    # -- the rest

    def fill_recent(self) -> None:
        self.recent.clear()
        for path in self._window.core.settings().recent_files():
            action = self.recent.addAction(Path(path).name, lambda path=path: self._window.files.open(path))
            action.setToolTip(path)
        self.recent.setToolTipsVisible(True)
        if not self.recent.actions():
            self.recent.addAction("Nothing yet").setEnabled(False)

    def _copy_report(self) -> None:
        QtGui.QGuiApplication.clipboard().setText(about.system_report())
        self._window.statusBar().showMessage("The system report is on the clipboard.", 5000)

    def finalize(self) -> None:
        self._watch.clear()
