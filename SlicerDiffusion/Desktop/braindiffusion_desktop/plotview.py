"""The view for charts: draws the vtkMRMLPlotChartNode of a vtkMRMLPlotViewNode. The wheel zooms, the left
button pans.
"""

from __future__ import annotations

from typing import Any

import vtk
from PySide6 import QtWidgets

from .blit import RenderWidget
from .frames import Frame, TitleBar
from .observe import Observations

_TEXT_PX, _TITLE_PX = 13, 15
_MARGIN = 0.08  # of the range, so that no point lies on the frame


class PlotView(RenderWidget):
    """What Slicer calls qMRMLPlotView, for series of points and lines against numbers."""

    def __init__(self, node: Any, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self.node = node
        self.watch = Observations()
        self._seen = Observations()
        self._renderer = vtk.vtkRenderer()
        self._renderer.SetBackground(1, 1, 1)
        self.render_window.AddRenderer(self._renderer)
        actor = vtk.vtkContextActor()
        self._renderer.AddActor(actor)
        self.chart = vtk.vtkChartXY()
        self._scene = actor.GetScene()
        self._scene.AddItem(self.chart)
        self._scene.SetRenderer(self._renderer)
        self.style_ = vtk.vtkContextInteractorStyle()
        self.style_.SetScene(self._scene)
        self.vtk_interactor.SetInteractorStyle(self.style_)
        self.watch.observe(node, (vtk.vtkCommand.ModifiedEvent,), self.refresh)
        self.refresh()

    def mrmlPlotViewNode(self) -> Any:
        return self.node

    def fit(self) -> None:
        """See all points."""
        self.refresh()

    def refresh(self, *_: Any) -> None:
        """Draw the chart as it is now."""
        self._seen.clear()
        self.chart.ClearPlots()
        shown = self.node.GetPlotChartNode() if self.node.GetScene() is not None else None
        self.chart.SetVisible(shown is not None)
        if shown is not None:
            self._seen.observe(shown, (vtk.vtkCommand.ModifiedEvent,), self.refresh)
            self._name(shown)
            for index in range(shown.GetNumberOfPlotSeriesNodes()):
                self._draw(shown.GetNthPlotSeriesNode(index))
            self._range()
        self.scheduleRender()

    def _name(self, shown: Any) -> None:
        self.chart.SetTitle(shown.GetTitle() or "")
        self.chart.GetTitleProperties().SetFontSize(_TITLE_PX)
        self.chart.SetShowLegend(True)
        self.chart.GetLegend().SetHorizontalAlignment(vtk.vtkChartLegend.LEFT)  # above the line there is room
        for place, title in (
            (vtk.vtkAxis.BOTTOM, shown.GetXAxisTitle()),
            (vtk.vtkAxis.LEFT, shown.GetYAxisTitle()),
        ):
            axis = self.chart.GetAxis(place)
            axis.SetTitle(title or "")
            axis.GetTitleProperties().SetFontSize(_TEXT_PX)
            axis.GetLabelProperties().SetFontSize(_TEXT_PX)

    def _draw(self, series: Any) -> None:
        table = series.GetTableNode() if series is not None else None
        names = (series.GetXColumnName(), series.GetYColumnName()) if table is not None else ()
        if table is None or any(table.GetTable().GetColumnByName(name) is None for name in names):
            return
        line = series.GetLineStyle() != series.LineStyleNone
        plot = self.chart.AddPlot(vtk.vtkChart.LINE if line else vtk.vtkChart.POINTS)
        plot.SetInputData(table.GetTable(), *names)
        plot.SetLabel(series.GetName())
        plot.SetColorF(*series.GetColor())
        if not line:
            plot.SetMarkerStyle(vtk.vtkPlotPoints.CIRCLE)
            plot.SetMarkerSize(series.GetMarkerSize())

    def _range(self) -> None:
        """All of both axes, with a margin; where all values are one, that value in the middle."""
        self.chart.RecalculateBounds()
        for place in (vtk.vtkAxis.BOTTOM, vtk.vtkAxis.LEFT):
            axis = self.chart.GetAxis(place)
            values = [value for plot in self._plots() for value in _values(plot, place)]
            if values:
                low, high = min(values), max(values)
                margin = _MARGIN * (high - low) or max(1.0, 0.1 * abs(high))
                axis.SetBehavior(vtk.vtkAxis.FIXED)
                axis.SetRange(low - margin, high + margin)
                axis.AutoScale()

    def _plots(self) -> list[Any]:
        return [self.chart.GetPlot(index) for index in range(self.chart.GetNumberOfPlots())]

    def finalize(self) -> None:
        if self._alive:
            self._seen.clear()
            self.watch.clear()
            super().finalize()


def _values(plot: Any, place: int) -> list[float]:
    """What a plot has along an axis."""
    array = plot.GetData().GetInputArrayToProcess(0 if place == vtk.vtkAxis.BOTTOM else 1, plot.GetInput())
    return [array.GetTuple1(index) for index in range(array.GetNumberOfTuples())]


class PlotBar(TitleBar):
    """The title of a chart."""

    def __init__(self, view: PlotView) -> None:
        super().__init__(view.node)
        self.row.addStretch(1)
        self.menu.addAction("Fit to window", view.fit)

    def paint(self, node: Any) -> None:
        super().paint(node)
        self._label.setText("Chart")


class PlotWidget(Frame):
    """What Slicer calls qMRMLPlotWidget."""

    def __init__(self, node: Any) -> None:
        view = PlotView(node)
        super().__init__(PlotBar(view), view)

    def plotView(self) -> PlotView:
        return self.view

    def mrmlPlotViewNode(self) -> Any:
        return self.view.node
