"""The module's panel beside real views of the scene, off screen; for tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from desktop_events import settle
from desktop_host import MODULE, core, host_core  # noqa: F401
from module_runs import logic  # noqa: F401


class Views:
    """Views in a layout manager, as the window has them."""

    def __init__(self, manager: Any, qtbot: Any):
        self.manager, self.qtbot = manager, qtbot
        self.manager.setLayout(3)
        self.settle()

    def settle(self) -> None:
        """Let everything happen that waits for its turn."""
        for _ in range(4):
            self.qtbot.wait(20)

    def composite(self, name: str) -> Any:
        return self.manager.sliceWidget(name).sliceLogic().GetSliceCompositeNode()

    def shows(self, name: str) -> tuple[str | None, str | None]:
        """Names of the volumes behind and in front in a slice view."""
        import slicer

        shown = self.composite(name)
        ids = (shown.GetBackgroundVolumeID(), shown.GetForegroundVolumeID())
        return tuple(slicer.mrmlScene.GetNodeByID(one).GetName() if one else None for one in ids)

    def text(self, name: str) -> str:
        """All that stands in the corners and at the edges of a slice view; "3D" is the first 3D view."""
        if name == "3D":
            texts = self.manager.threeDWidget(0).threeDView().cornerAnnotation()
        else:
            texts = self.manager.sliceWidget(name).sliceView().cornerAnnotation()
        return " ".join(filter(None, (texts.GetText(place) for place in range(8)))).strip()

    def marked(self) -> set[str]:
        """Names of the slice views that say that they show made-up voxels."""
        return {name for name in self.manager.sliceViewNames() if "SYNTHETIC" in self.text(name)}


@pytest.fixture(scope="module")
def manager(qapp: Any) -> Iterator[Any]:
    """One layout manager for all tests of a file: to make views takes long."""
    from braindiffusion_desktop.layouts import LayoutManager

    host_core()
    made = LayoutManager()
    made.viewport.resize(900, 600)
    made.viewport.show()
    yield made
    made.finalize()
    made.viewport.close()
    made.viewport.deleteLater()
    made.deleteLater()
    settle()


@pytest.fixture
def views(core: Any, manager: Any, qtbot: Any) -> Views:  # noqa: F811
    """Views of an empty scene, as the window has them."""
    core.setLayoutManager(manager)
    return Views(manager, qtbot)


@pytest.fixture
def widget(views: Views, logic: Any) -> Iterator[Any]:  # noqa: F811
    """The module's widget object, with its panel shown and an engine that computes nothing."""
    made, panel = load()
    yield made
    panel.cleanup()
    panel.deleteLater()
    settle()


def load() -> tuple[Any, Any]:
    """The module's widget object and the QWidget with its panel, made from the packages that tests know."""
    import slicer

    from braindiffusion_desktop import modulebase

    vars(slicer.modules).pop("slicerdiffusion", None)  # the host would import the packages anew
    _, made, panel = modulebase.load(MODULE)
    panel.resize(420, 1000)
    panel.show()
    panel.enter()
    return made, panel


def run(widget: Any, qtbot: Any, **values: Any) -> Any:
    """Press Run and wait for the end, also for the views."""
    widget.session.panel.page.setValues(values)
    widget.session.runs.button.click()
    return shown(widget, qtbot, widget.session.runs.job)


def shown(widget: Any, qtbot: Any, job: Any) -> Any:
    """Wait for the end of a job, and until the views show what came of it."""
    qtbot.waitUntil(lambda: job.finished, timeout=20000)
    if job.state == "done":
        qtbot.waitUntil(lambda: widget.session.result.inViews == job.work.id, timeout=20000)
    for _ in range(4):
        qtbot.wait(20)
    return job


def find(widget: Any, name: str) -> Any:
    """The widget of this name in the panel."""
    import slicer

    return slicer.util.findChild(widget.parent, name)


def status(widget: Any) -> str:
    """What the panel says about the run."""
    return str(widget.session.runs.status.property("text"))
