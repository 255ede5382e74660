"""Slice and 3D views of the MRML scene: Slicer's displayable managers and interactor styles in a Qt widget.

Slices are seen the radiological way: axial from the feet, the patient's left on the right of the picture.
"""

from __future__ import annotations

from typing import Any

import slicer
import vtk
from PySide6 import QtCore, QtGui, QtWidgets

from .blit import RenderWidget
from .letters import EdgeLetters, VolumeNames
from .observe import Observations

Qt = QtCore.Qt
_SOFTWARE = ("llvmpipe", "softpipe", "swrast")  # Mesa's drivers for machines without a graphics card
_CLOSER = 1.3  # what is seen seldom fills the corners of its box, for which VTK leaves room
_SLICE_MANAGERS = (
    "vtkMRMLVolumeGlyphSliceDisplayableManager",
    "vtkMRMLModelSliceDisplayableManager",
    "vtkMRMLCrosshairDisplayableManager",
    "vtkMRMLOrientationMarkerDisplayableManager",
    "vtkMRMLRulerDisplayableManager",
    "vtkMRMLScalarBarDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager2D",
    "vtkMRMLMarkupsDisplayableManager",
    "vtkMRMLTransformsDisplayableManager2D",
    "vtkMRMLLinearTransformsDisplayableManager",
    "vtkMRMLColorLegendDisplayableManager",
)
_THREE_D_MANAGERS = (
    "vtkMRMLCameraDisplayableManager",
    "vtkMRMLViewDisplayableManager",
    "vtkMRMLModelDisplayableManager",
    "vtkMRMLThreeDReformatDisplayableManager",
    "vtkMRMLCrosshairDisplayableManager3D",
    "vtkMRMLOrientationMarkerDisplayableManager",
    "vtkMRMLRulerDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager3D",
    "vtkMRMLMarkupsDisplayableManager",
    "vtkMRMLTransformsDisplayableManager3D",
    "vtkMRMLVolumeRenderingDisplayableManager",
    "vtkMRMLLinearTransformsDisplayableManager",
    "vtkMRMLColorLegendDisplayableManager",
)


def _factory(cls: Any, managers: tuple[str, ...]) -> Any:
    """The factory of one kind of view, which knows these displayable managers."""
    factory = cls.GetInstance()
    for name in managers:
        if not factory.IsDisplayableManagerRegistered(name):
            factory.RegisterDisplayableManager(name)
    return factory


def _register(logic: Any, get: str, put: str) -> None:
    """Add a view's logic to those that the application logic knows."""
    application = slicer.app.applicationLogic()
    if getattr(application, get)() is None:
        getattr(application, put)(vtk.vtkCollection())
    logic.SetMRMLApplicationLogic(application)
    getattr(application, get)().AddItem(logic)
    logic.SetMRMLScene(slicer.mrmlScene)


def _are_models_cut() -> bool:
    """Whether there are models that slices are drawn through, besides those that are slices themselves."""
    models = slicer.util.getNodesByClass("vtkMRMLModelNode")
    return not all(map(slicer.vtkMRMLSliceLogic.IsSliceModelNode, models))


class MRMLView(RenderWidget):
    """What slice and 3D views share; `node` is the view node, `logic` the view's MRML logic."""

    def __init__(self, node: Any, factory: Any, style: Any, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self.node = node
        self.watch = Observations()
        self._renderer = vtk.vtkRenderer()
        self.render_window.AddRenderer(self._renderer)
        self.managers = slicer.vtkMRMLDisplayableManagerGroup()
        self.managers.SetRenderer(self._renderer)
        self.managers.Initialize(factory, self._renderer)
        self._watch_managers()
        self.style_ = style
        style.SetDisplayableManagers(self.managers)
        self._corners = vtk.vtkCornerAnnotation()
        self._corners.SetMaximumFontSize(14)
        self._corners.SetNonlinearFontScaleFactor(0.3)
        self._corners.GetTextProperty().ShadowOn()

    def _watch_managers(self) -> None:
        """Draw again when one of them has something new."""
        self.watch.observe(self.managers, (vtk.vtkCommand.UpdateEvent,), self.scheduleRender)

    def renderer(self) -> vtk.vtkRenderer:
        return self._renderer

    def cornerAnnotation(self) -> vtk.vtkCornerAnnotation:
        """Texts in the four corners, for whoever shows something in this view."""
        return self._corners

    def interactorStyle(self) -> Any:
        return self.style_

    def displayableManagerByClassName(self, name: str) -> Any:
        return self.managers.GetDisplayableManagerByClassName(name)

    def finalize(self) -> None:
        if self._alive:
            self.watch.clear()
            self.style_.SetInteractor(None)
            self.managers.SetMRMLDisplayableNode(None)
            for index in range(self.managers.GetDisplayableManagerCount()):
                self.managers.GetNthDisplayableManager(index).SetMRMLScene(None)
            self.logic.SetMRMLScene(None)
            super().finalize()


class SliceView(MRMLView):
    """Shows the slice of a vtkMRMLSliceNode, with letters at the edges and the names of what is shown.

    Signal `asked(QPoint)`: the right button was clicked, not dragged, at this place of the screen.
    """

    asked = QtCore.Signal(QtCore.QPoint)
    _has_models = _looks = False

    def __init__(self, node: Any, parent: QtWidgets.QWidget | None = None) -> None:
        factory = _factory(slicer.vtkMRMLSliceViewDisplayableManagerFactory, _SLICE_MANAGERS)
        super().__init__(node, factory, slicer.vtkMRMLSliceViewInteractorStyle(), parent)
        self._renderer.GetActiveCamera().ParallelProjectionOn()
        self._overlay = vtk.vtkRenderer()
        self._overlay.SetLayer(1)
        self._overlay.GetActiveCamera().ParallelProjectionOn()
        self.render_window.SetNumberOfLayers(2)
        self.render_window.AddRenderer(self._overlay)
        self._overlay.AddViewProp(self._corners)
        self._slice = self._make_slice_actor()
        self._renderer.AddViewProp(self._slice)
        self._letters = EdgeLetters(self._overlay)
        self._names = VolumeNames(self._overlay)

        self._pressed = QtCore.QPoint()

        self.logic = slicer.vtkMRMLSliceLogic()
        self.style_.SetSliceLogic(self.logic)
        _register(self.logic, "GetSliceLogics", "SetSliceLogics")
        self.logic.SetSliceNode(node)
        silent = vtk.vtkInteractorStyleUser()  # Slicer's style acts on events; this one must be there
        silent.AddObserver(vtk.vtkCommand.CharEvent, lambda *_: None)  # else it acts on some keys, too
        self.vtk_interactor.SetInteractorStyle(silent)
        self.style_.SetInteractor(self.vtk_interactor)
        self.managers.SetMRMLDisplayableNode(node)
        bar = self.displayableManagerByClassName("vtkMRMLScalarBarDisplayableManager")
        # The window of a map has a meaning: brightness and contrast are those of the scan behind it.
        bar.GetWindowLevelWidget().SetForegroundVolumeEditable(False)
        self.watch.observe(self.logic, (vtk.vtkCommand.ModifiedEvent,), self._update)
        self.watch.observe(node, (vtk.vtkCommand.ModifiedEvent,), self._update)
        self._update()

    def _watch_managers(self) -> None:
        update = (vtk.vtkCommand.UpdateEvent,)
        for index in range(self.managers.GetDisplayableManagerCount()):
            manager = self.managers.GetNthDisplayableManager(index)
            models = manager.IsA("vtkMRMLModelSliceDisplayableManager")
            self.watch.observe(manager, update, self._models_changed if models else self.scheduleRender)

    def _models_changed(self, *_: Any) -> None:
        if not self._looks:
            self._looks = True
            QtCore.QTimer.singleShot(0, self, self._look_at_models)

    def _look_at_models(self) -> None:
        """Draw again where there are models to be cut: each slice of each view is one, too, for 3D, and moves
        with every turn of a wheel.
        """
        self._looks = False
        before, self._has_models = self._has_models, _are_models_cut()
        if before or self._has_models:
            self.scheduleRender()

    @staticmethod
    def _make_slice_actor() -> vtk.vtkActor2D:
        mapper = vtk.vtkImageMapper()
        mapper.SetColorWindow(255)
        mapper.SetColorLevel(127.5)
        actor = vtk.vtkActor2D()
        actor.SetMapper(mapper)
        actor.GetProperty().SetDisplayLocationToBackground()
        actor.VisibilityOff()
        return actor

    def mousePressEvent(self, event: QtGui.QMouseEvent) -> None:
        self._pressed = event.globalPosition().toPoint()
        super().mousePressEvent(event)

    def mouseReleaseEvent(self, event: QtGui.QMouseEvent) -> None:
        super().mouseReleaseEvent(event)
        moved = (event.globalPosition().toPoint() - self._pressed).manhattanLength()
        if (
            event.button() == Qt.MouseButton.RightButton
            and moved < QtWidgets.QApplication.startDragDistance()
        ):
            self.asked.emit(self._pressed)

    def overlayRenderer(self) -> vtk.vtkRenderer:
        return self._overlay

    def sliceLogic(self) -> Any:
        return self.logic

    def mrmlSliceNode(self) -> Any:
        return self.node

    def mrmlSliceCompositeNode(self) -> Any:
        return self.logic.GetSliceCompositeNode()

    def letters(self) -> dict[str, str]:
        """The letters that are drawn now, by their edge."""
        return self._letters.read()

    def names(self) -> str:
        """The names of the volumes, as they are written in the lower left corner."""
        return self._names.read()

    def fit(self) -> None:
        self.logic.FitSliceToBackground()
        self.logic.SnapSliceOffsetToIJK()

    def resized(self, width: int, height: int, ratio: float) -> None:
        self.logic.ResizeSliceNode(width, height)
        self._letters.place(width, height, ratio)
        self._names.place(width, ratio)

    def _update(self, *_: Any) -> None:
        port = self.logic.GetImageDataConnection()
        mapper = self._slice.GetMapper()
        if port is None:
            mapper.RemoveAllInputConnections(0)
        elif mapper.GetNumberOfInputConnections(0) == 0 or mapper.GetInputConnection(0, 0) is not port:
            mapper.SetInputConnection(port)
        self._slice.SetVisibility(port is not None)
        self._letters.turn(self.node)
        self._letters.show(port is not None)
        self._names.write(self.mrmlSliceCompositeNode())
        self.scheduleRender()

    def finalize(self) -> None:
        if self._alive:
            slicer.app.applicationLogic().GetSliceLogics().RemoveItem(self.logic)
            self.style_.SetSliceLogic(None)
            super().finalize()


class ThreeDView(MRMLView):
    """Shows the scene in 3D from the camera of a vtkMRMLViewNode."""

    def __init__(self, node: Any, parent: QtWidgets.QWidget | None = None) -> None:
        factory = _factory(slicer.vtkMRMLThreeDViewDisplayableManagerFactory, _THREE_D_MANAGERS)
        super().__init__(node, factory, slicer.vtkMRMLThreeDViewInteractorStyle(), parent)
        self.style_.SetInteractor(self.vtk_interactor)
        self.vtk_interactor.SetInteractorStyle(vtk.vtkInteractorStyle3D())
        self._renderer.AddViewProp(self._corners)
        self.logic = slicer.vtkMRMLViewLogic()
        _register(self.logic, "GetViewLogics", "SetViewLogics")
        self.logic.AddViewNode(node.GetLayoutName())
        self._renderer.GradientBackgroundOn()
        self.managers.SetMRMLDisplayableNode(node)

    def _render(self) -> None:
        super()._render()
        if self.frames == 1:
            self._choose_ray_caster()

    def _choose_ray_caster(self) -> None:
        """Volumes are rendered where it is fast: OpenGL in software takes seconds for a picture."""
        told = self.render_window.ReportCapabilities()
        processor = "CPU" if any(name in told for name in _SOFTWARE) else "GPU"
        logic = slicer.modules.volumerendering.logic()
        logic.SetDefaultRenderingMethod(f"vtkMRML{processor}RayCastVolumeRenderingDisplayNode")

    def mrmlViewNode(self) -> Any:
        return self.node

    def viewLogic(self) -> Any:
        return self.logic

    def cameraNode(self) -> Any:
        return self.displayableManagerByClassName("vtkMRMLCameraDisplayableManager").GetCameraNode()

    def resetFocalPoint(self) -> None:
        """Turn about the middle of what is shown."""
        bounds = self._visible_bounds()
        if bounds:
            self.cameraNode().SetFocalPoint(*((bounds[i] + bounds[i + 1]) / 2 for i in (0, 2, 4)))

    def resetCamera(self) -> None:
        """See all of what is shown, from the same side."""
        bounds = self._visible_bounds()
        if bounds:
            self._renderer.ResetCamera(bounds)
            self._renderer.GetActiveCamera().Dolly(_CLOSER)
            self._renderer.ResetCameraClippingRange()
            self.scheduleRender()

    def fit(self) -> None:
        self.resetCamera()

    def _visible_bounds(self) -> tuple[float, ...] | None:
        """Of all but the box and its letters: they would make what is seen a little smaller each time."""
        box, letters = self.node.GetBoxVisible(), self.node.GetAxisLabelsVisible()
        self.node.SetBoxVisible(False)
        self.node.SetAxisLabelsVisible(False)
        bounds = self._renderer.ComputeVisiblePropBounds()
        self.node.SetBoxVisible(box)
        self.node.SetAxisLabelsVisible(letters)
        return bounds if bounds[0] <= bounds[1] else None

    def finalize(self) -> None:
        if self._alive:
            slicer.app.applicationLogic().GetViewLogics().RemoveItem(self.logic)
            super().finalize()
