"""How a map is seen: threshold with its outline, opacity, colours, which map, as a cloud in 3D."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import cloud, colors, legend, marks, view
from .outline import Outline
from .presenters import volume as volumes

# The slider's moves within this time are drawn once.
_COALESCE_MS = 15


class OverlayPanel:
    """Widgets for the maps of one run; `thresholdChanged(value)` is called while the slider moves."""

    def __init__(self, thresholdChanged: Callable[[float], None]):
        import ctk
        import qt
        import slicer

        self._changed = thresholdChanged
        self._parts = view.Parts()
        self._outline: Outline | None = None
        self._waiting = self._busy = self._over = False
        self._watch = slicer.util.VTKObservationMixin()
        self.widget = qt.QWidget()
        form = qt.QFormLayout(self.widget)
        form.setContentsMargins(0, 0, 0, 0)
        self.threshold = ctk.ctkSliderWidget()
        self.threshold.setObjectName("threshold")
        self.threshold.setToolTip(
            "The outline is drawn around places where the map of the findings is at least this high, also "
            "while another map is shown. z is the difference in standard deviations of healthy brains. The "
            "findings and their volumes stay those of the run."
        )
        self.threshold.valueChanged.connect(lambda: self._onThreshold())
        form.addRow("Threshold:", self.threshold)
        self._thresholdTitle = form.labelForField(self.threshold)
        self.opacity = ctk.ctkSliderWidget()
        self.opacity.setObjectName("opacity")
        for name, value in (("minimum", 0.0), ("maximum", 100.0), ("singleStep", 5.0), ("suffix", " %")):
            self.opacity.setProperty(name, value)
        self.opacity.setProperty("decimals", 0)
        self.opacity.setProperty("value", 100 * view.OPACITY)
        self.opacity.setToolTip("How much of the scan the map covers.")
        self.opacity.valueChanged.connect(lambda: self._onOpacity())
        form.addRow("Opacity:", self.opacity)
        self.colors = qt.QComboBox()
        self.colors.setObjectName("colors")
        self.colors.setToolTip("Colours of the map; the legend in the views tells what they stand for.")
        for label, _ in colors.MAPS.values():
            self.colors.addItem(label)
        self.colors.currentIndexChanged.connect(lambda: self._onColors())
        form.addRow("Colours:", self.colors)
        self.outline = self._box("Outline", True, "Draw a line around what is at or above the threshold.")
        self.above = self._box("Colours only above the threshold", False, "Hide what the outline leaves out.")
        self.other = self._box("Show the other map", False, "")
        self.cloud = self._box("Show the map as a cloud in 3D", False, "Volume rendering of the map.")
        for box in (self.outline, self.above, self.other, self.cloud):
            form.addRow(box)

    def cleanup(self) -> None:
        self._over = True
        self._watch.removeObservers()
        self._dropOutline()

    @property
    def overlay(self) -> Any:
        """The map that is shown; None where there is none."""
        maps = self._parts.maps
        return maps[1] if self.other.property("checked") and len(maps) > 1 else maps[0] if maps else None

    @property
    def runThreshold(self) -> float | None:
        """The threshold at which the run made its findings; None where the map does not tell."""
        own = _display(self._parts.maps[0]).get("threshold") if self._parts.maps else None
        return float(own) if isinstance(own, (int, float)) else None

    @property
    def unit(self) -> str:
        return str(_display(self._parts.maps[0]).get("unit") or "") if self._parts.maps else ""

    def value(self) -> float:
        return float(self.threshold.property("value"))

    def opacityShare(self) -> float:
        return float(self.opacity.property("value")) / 100

    def show(self, parts: view.Parts) -> None:
        """Take over the maps of a run, with its own threshold and colours."""
        known = bool(parts.maps and self._parts.maps) and parts.maps[0] is self._parts.maps[0]
        self._dropOutline()
        self._watch.removeObservers()
        self._parts = parts
        self.widget.setEnabled(bool(parts.maps))
        self.widget.setVisible(bool(parts.maps))
        if not parts.maps:
            return
        # What only tells of a spread has no threshold, and nothing to draw a line around.
        for part in (self._thresholdTitle, self.threshold, self.outline, self.above):
            part.setVisible(self.runThreshold is not None)
        self._busy = True
        try:
            self._offerOther(parts.maps[1:])
            self.cloud.setChecked(cloud.isShown(parts.maps[0]))
            shown = colors.nameOf(parts.maps[0].GetDisplayNode().GetColorNode())
            self.colors.setCurrentIndex(list(colors.MAPS).index(shown) if shown in colors.MAPS else 0)
            if not known:
                self.above.setChecked(False)
                self._setRange(parts.maps[0])
        finally:
            self._busy = False
        self._watchViews()
        self._update()

    def _offerOther(self, others: list[Any]) -> None:
        """Offer the run's second map in place of the first one."""
        self.other.setVisible(bool(others))
        self.other.setChecked(bool(others) and bool(view.viewsShowing(others[0])))
        if others:
            title = str(_display(others[0]).get("title", "the other map"))
            self.other.setText(f"Show instead: {title[:1].lower()}{title[1:]}")
            self.other.setToolTip(f"{title}, in {_display(others[0]).get('unit', 'its own unit')}.")

    def _box(self, text: str, checked: bool, help_: str) -> Any:
        import qt

        box = qt.QCheckBox(text)
        box.setObjectName(text)
        box.setChecked(checked)
        box.setToolTip(help_)
        box.toggled.connect(lambda: self._onBox(box))
        return box

    def _setRange(self, overlay: Any) -> None:
        display = _display(overlay)
        shown = overlay.GetDisplayNode()
        low, high = display.get("window") or (shown.GetWindowLevelMin(), shown.GetWindowLevelMax())
        start = display.get("threshold")
        start = float(start) if start is not None else float(low)
        self.threshold.setProperty("decimals", 2)
        self.threshold.setProperty("singleStep", (high - low) / 60)
        # Widened first, so that neither end is ever beyond the other.
        self.threshold.setProperty(
            "maximum", max(float(high), start, float(self.threshold.property("minimum")))
        )
        self.threshold.setProperty("minimum", min(float(low), start))
        self.threshold.setProperty("maximum", max(float(high), start))
        self.threshold.setProperty("suffix", f" {display['unit']}" if display.get("unit") else "")
        self.threshold.setProperty("value", start)

    # What the user does.

    def _onThreshold(self) -> None:
        if not self._busy and self._parts.maps:
            self._changed(self.value())
            self._later()

    def _onOpacity(self) -> None:
        if not self._busy:
            view.setOpacity(self._parts.maps, self.opacityShare())

    def _onColors(self) -> None:
        if self._busy:
            return
        name = list(colors.MAPS)[max(0, self.colors.property("currentIndex"))]
        for overlay in self._there():
            overlay.GetDisplayNode().SetAndObserveColorNodeID(colors.mapNode(name).GetID())
            legend.refresh(overlay)

    def _onBox(self, box: Any) -> None:
        if self._busy or not self._there():
            return
        if box is self.other:
            self._swap()
        elif box is self.cloud:
            cloud.show(self._parts.maps[0], box.property("checked"), self.value())
        self._update()

    def _swap(self) -> None:
        """Show the other map wherever one of this run's maps is shown."""
        there = self._there()
        if self.overlay not in there:
            return
        known = {overlay.GetID() for overlay in there}
        for composite in view.composites().values():
            if composite.GetForegroundVolumeID() in known:
                composite.SetForegroundVolumeID(self.overlay.GetID())

    # What is drawn.

    def _there(self) -> list[Any]:
        return [overlay for overlay in self._parts.maps if overlay.GetScene() is not None]

    def _later(self, *_: Any) -> None:
        import qt

        if not self._waiting:
            self._waiting = True
            qt.QTimer.singleShot(_COALESCE_MS, self._update)

    def _update(self) -> None:
        """Draw outline, colours and cloud for the threshold as it is now."""
        self._waiting = False
        main = self._parts.maps[0] if self._parts.maps else None
        if self._over or main is None:
            return
        if main.GetScene() is None or main.GetImageData() is None or main.GetDisplayNode() is None:
            self._dropOutline()
            self.widget.setEnabled(False)
            self.widget.setToolTip("The map was deleted from the scene.")
            return
        shown = main.GetDisplayNode()
        above = self.above.property("checked")
        self._explainAbove()
        volumes.cutBelow(main, self.value() if above else shown.GetWindowLevelMin())
        cloud.setThreshold(main, self.value())
        if not self.outline.property("checked") or self.runThreshold is None:
            self._dropOutline()
            return
        if self._outline is None or self._outline.node.GetScene() is None:
            self._outline = Outline(main)
        self._outline.update(self.value())
        shownIn = [name for overlay in self._there() for name in view.viewsShowing(overlay)]
        self._outline.showIn(list(dict.fromkeys(shownIn)))

    def _explainAbove(self) -> None:
        """The threshold is one of the first map: the colours of another one do not follow it."""
        other = self.overlay is not self._parts.maps[0]
        self.above.setEnabled(not other)
        self.above.setToolTip(
            "The map that is shown has no threshold; the outline is that of the map of the findings."
            if other
            else "Hide what the outline leaves out."
        )

    def _dropOutline(self) -> None:
        if self._outline is not None:
            self._outline.remove()
            self._outline = None

    def _watchViews(self) -> None:
        """The outline follows the map: where the map is shown, and where it is not."""
        import slicer
        import vtk

        for composite in view.composites().values():
            self._watch.addObserver(composite, vtk.vtkCommand.ModifiedEvent, self._later)
        scene = slicer.mrmlScene
        self._watch.addObserver(scene, scene.NodeAddedEvent, self._onNodeAdded)
        self._watch.addObserver(scene, scene.NodeRemovedEvent, self._later)

    def _onNodeAdded(self, *_: Any) -> None:
        import vtk

        for composite in view.composites().values():
            if not self._watch.hasObserver(composite, vtk.vtkCommand.ModifiedEvent, self._later):
                self._watch.addObserver(composite, vtk.vtkCommand.ModifiedEvent, self._later)
                self._later()


def _display(node: Any) -> dict[str, Any]:
    return marks.recordOf(node).get("artifact", {}).get("display") or {}
