"""What the window says of itself: what it is and is not for, where the documentation is, on what it runs."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import slicer
from PySide6 import QtCore, QtGui, QtWidgets

RESEARCH_USE = "Research use only – not for diagnosis"
_PACKAGES = (
    "braindiffusion",
    "slicer-core",
    "vtk",
    "PySide6-Essentials",
    "torch",
    "monai",
    "SimpleITK",
    "numpy",
)
_TEXT = """<h3>BrainDiffusion {version}</h3>
<p>Diffusion models for brain scans: where does a scan differ from what a model knows of normal brains?</p>
<p><b>For research only. It is not a medical device, and nothing that it shows may be used for diagnosis or
treatment.</b> Pictures that a model has made are marked as SYNTHETIC.</p>
<p>Documentation: {documentation}</p>
<p>Apache License 2.0. The views are those of 3D Slicer (slicer-core), drawn by VTK.</p>"""
_IN_SOURCE = "in the folder docs of the project's source"


def _version_of(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def documentation() -> Path | None:
    """The folder of the documentation; None where the project is installed without it."""
    docs = Path(__file__).resolve().parents[3] / "docs"
    return docs if docs.is_dir() else None


def open_documentation() -> None:
    folder = documentation()
    if folder is not None:
        QtGui.QDesktopServices.openUrl(QtCore.QUrl.fromLocalFile(str(folder)))


def system_report() -> str:
    """Versions, processor, memory and graphics, to send with a question; nothing of patients or users."""
    platform_name = QtGui.QGuiApplication.platformName()
    lines = [
        f"System: {platform.platform()}, {os.cpu_count()} cores, {_memory()}",
        f"Python: {sys.version.split()[0]}, Qt {QtCore.qVersion()} on '{platform_name}'",
        f"OpenGL: {opengl() or 'none'}",
    ]
    return "\n".join(lines + [f"{name}: {_version_of(name)}" for name in _PACKAGES])


def _memory() -> str:
    if not hasattr(os, "sysconf"):
        return "memory unknown"
    return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.1f} GiB"


def opengl() -> str:
    """Who draws the views ("OpenGL renderer string" of the first one that has drawn); empty if nobody."""
    manager = slicer.app.layoutManager()
    for frame in manager.frames() if manager is not None else ():
        told = frame.view.renderWindow().ReportCapabilities()
        for line in told.splitlines():
            if line.startswith("OpenGL renderer string"):
                return line.partition(":")[2].strip()
    return ""


def show(window: Any) -> QtWidgets.QMessageBox:
    """The About box; it does not stop the window."""
    box = QtWidgets.QMessageBox(window)
    box.setWindowTitle("About BrainDiffusion")
    box.setTextFormat(QtCore.Qt.TextFormat.RichText)
    folder = documentation()
    where = _IN_SOURCE if folder is None else f'<a href="{folder.as_uri()}">{folder}</a>'
    box.setText(_TEXT.format(version=_version_of("braindiffusion"), documentation=where))
    box.setTextInteractionFlags(QtCore.Qt.TextInteractionFlag.TextBrowserInteraction)
    box.setAttribute(QtCore.Qt.WidgetAttribute.WA_DeleteOnClose)
    box.open()
    return box
