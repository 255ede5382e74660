"""One MRML scene for all tests of the window and of the Slicer module, off screen.

`from desktop_host import core` gives a test module the fixture `core`: the only CoreApp of the process, with
an empty scene before and after each test, `qt`, `ctk` and the qMRML widgets installed, and a QApplication.
What is imported from here is skipped with a reason where slicer-core or PySide6 is absent.
"""

from __future__ import annotations

import atexit
import os
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
if not os.environ.get("DISPLAY"):
    os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")

ROOT = Path(__file__).resolve().parents[1]
MODULE = ROOT / "SlicerDiffusion" / "SlicerDiffusion.py"
for _folder in (ROOT / "SlicerDiffusion" / "Desktop", ROOT / "SlicerDiffusion"):
    if str(_folder) not in sys.path:
        sys.path.insert(0, str(_folder))

pytest.importorskip("slicer", reason="needs slicer-core (pip install '.[desktop]')")
pytest.importorskip("PySide6", reason="needs PySide6 (pip install '.[desktop]')")

from PySide6 import QtCore, QtWidgets  # noqa: E402, F401
from PySide6.QtCore import Qt  # noqa: E402, F401
from PySide6.QtTest import QTest  # noqa: E402, F401


@cache
def host_core() -> Any:
    """The only CoreApp of this process; VTK's and Slicer's singletons cannot be made twice."""
    from braindiffusion_desktop import modulebase, pythonqt
    from braindiffusion_desktop.core import CoreApp

    if QtWidgets.QApplication.instance() is None:
        host_core.application = QtWidgets.QApplication(["tests"])
    folder = tempfile.TemporaryDirectory(prefix="braindiffusion-settings-")
    app = CoreApp(settings=Path(folder.name) / "desktop.json")
    app.settings().setValue("BrainDiffusion/RunsFolder", str(Path(folder.name) / "runs"))
    pythonqt.install()
    modulebase.install()
    atexit.register(folder.cleanup)
    atexit.register(app.close)
    return app


@pytest.fixture
def core(qapp: Any) -> Iterator[Any]:
    """The application core with an empty scene."""
    app = host_core()
    layouts = app.layoutManager()
    app.scene.Clear(False)
    yield app
    app.setLayoutManager(layouts)
    app.scene.Clear(False)
