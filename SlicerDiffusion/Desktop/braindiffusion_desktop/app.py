"""Starts the window: `braindiffusion-desktop [scan]`."""

from __future__ import annotations

import argparse
import ctypes.util
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .window import Window

_BEGUN = time.time()
_QT_LIBRARIES = "libgl1 libegl1 libgl1-mesa-dri libxkbcommon0 libfontconfig1 libdbus-1-3"
_XCB_LIBRARIES = "libxcb-cursor0 libxcb-icccm4 libxcb-keysyms1 libxkbcommon-x11-0"
_NO_PLATFORM = (
    "No window can be opened: Qt finds no display that works. Check DISPLAY or WAYLAND_DISPLAY, install "
    f"{_XCB_LIBRARIES}, or work off screen with QT_QPA_PLATFORM=offscreen."
)
_NO_DISPLAY = (
    "There is no display to open a window on. Pictures need none: braindiffusion-desktop --demo FOLDER; "
    "nor does healing a scan: braindiffusion heal."
)


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="braindiffusion-desktop",
        description="Diffusion models for brain scans, in a window of their own. Research use only.",
    )
    parser.add_argument("scan", nargs="?", help="a scan, a folder of DICOM files or a scene (.mrb, .mrml)")
    parser.add_argument("--scene", metavar="FILE", help="open this scene first")
    parser.add_argument(
        "--demo", nargs="?", const="demo", metavar="FOLDER",
        help="heal the sample patient; its files go to FOLDER/result (demo/result), without a display also "
        "pictures of the window to FOLDER",
    )  # fmt: skip
    parser.add_argument(
        "--screenshots",
        metavar="FOLDER",
        help="heal the sample patient, picture each layout and the other tasks, end",
    )
    parser.add_argument(
        "--time", action="store_true", help="say how long the window took to be ready, and end"
    )
    return parser.parse_args(argv)


def choose_graphics() -> None:
    """Without a display (Linux): Qt off screen, and VTK on EGL, which is there without an X server."""
    if not sys.platform.startswith("linux"):
        return
    if not os.environ.get("DISPLAY"):
        # VTK would first ask for an X server, also on Wayland, and complain that there is none.
        os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")
        if not os.environ.get("WAYLAND_DISPLAY"):
            os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")


def missing() -> str:
    """What the window needs and this computer lacks, as one sentence; empty where nothing is missing."""
    try:
        import slicer  # noqa: F401
        import vtk
        from PySide6 import QtWidgets  # noqa: F401
    except ModuleNotFoundError as error:
        return (
            f"The window needs PySide6 and slicer-core, and '{error.name}' is not installed: "
            "in the repository's folder, run python -m pip install '.[desktop]' (see README.md)."
        )
    except ImportError as error:
        return f"A library of the system is missing ({error}): apt-get install {_QT_LIBRARIES}"
    vtk.vtkObject.GlobalWarningDisplayOff()
    drawing = (
        vtk.vtkRenderWindow()
    )  # VTK takes the first of X, EGL and OSMesa that works, and the last unseen
    vtk.vtkObject.GlobalWarningDisplayOn()
    if drawing.IsA("vtkOSOpenGLRenderWindow") and ctypes.util.find_library("OSMesa") is None:
        return f"Nothing on this computer can draw with OpenGL: apt-get install {_QT_LIBRARIES}"
    return ""


def _application() -> Any:
    """The QApplication. Qt ends the process where no platform works: then with one clear sentence."""
    from PySide6 import QtCore, QtWidgets

    existing = QtWidgets.QApplication.instance()
    if existing is not None:
        return existing

    def hear(kind: QtCore.QtMsgType, _context: Any, text: str) -> None:
        if kind == QtCore.QtMsgType.QtFatalMsg:
            print(
                _NO_PLATFORM if "platform" in text or "display" in text else text, file=sys.stderr, flush=True
            )
            os._exit(1)
        if "propagateSizeHints" not in text:  # said for each window by the platform "offscreen"
            print(text, file=sys.stderr)

    QtCore.qInstallMessageHandler(hear)
    QtWidgets.QApplication.setApplicationName("BrainDiffusion")
    QtWidgets.QApplication.setApplicationDisplayName("BrainDiffusion")
    QtWidgets.QApplication.setDesktopFileName("braindiffusion")
    return QtWidgets.QApplication(sys.argv[:1])


def _icon(folder: Path) -> Any:
    """The module's icon, in each size that there is a picture of."""
    from PySide6 import QtGui

    icon = QtGui.QIcon()
    for path in sorted(folder.glob("SlicerDiffusion*.png")):
        icon.addFile(str(path))
    return icon


def start(argv: list[str], interactive: bool = False) -> Window:
    """Make the application and its window, with the module in its panel and the scan of `argv` on its way.

    Does not enter the event loop. A second call in one process, after the first window was closed, makes
    a new one on the same scene.
    """
    options = parse(argv)
    choose_graphics()
    _application()
    import slicer

    from . import modulebase, pythonqt
    from .core import CoreApp
    from .window import Window, module_path

    core = getattr(slicer, "app", None) or CoreApp()
    pythonqt.install()
    modulebase.install()
    window = Window(core, interactive)
    window.load_module(module_path())
    window.setWindowIcon(_icon(module_path().parent / "Resources" / "Icons"))
    window.show()
    for path in (options.scene, options.scan):
        if path:
            window.files.open(path)
    return window


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    argv = sys.argv[1:] if argv is None else argv
    options = parse(argv)
    choose_graphics()
    lack = missing()
    if lack:
        print(lack, file=sys.stderr)
        return 1
    application = _application()
    on_screen = application.platformName() != "offscreen"
    if not on_screen and not (options.demo or options.screenshots or options.time):
        print(_NO_DISPLAY, file=sys.stderr)
        return 1
    window = start(argv, interactive=on_screen)
    _say_what_fails(window)
    code = 0
    if options.time:
        _say_time(window)
    elif (options.demo or options.screenshots) and window.module is None:
        print(window.banner.text, file=sys.stderr)
        code = 1
    else:
        if options.demo or options.screenshots:
            _demo(window, options, on_screen)
        code = application.exec()
    window.interactive = False
    window.close()
    window.core.close()
    return code


def _demo(window: Window, options: argparse.Namespace, on_screen: bool) -> None:
    """Begin the demo; without a display it ends by itself."""
    from .demo import Demo

    demo = Path(options.demo) if options.demo else None
    pictures = Path(options.screenshots) if options.screenshots else None if on_screen else demo
    results = demo / "result" if demo else None
    alone = bool(options.screenshots)
    Demo(window, pictures, results, end=alone or not on_screen, tour=alone).begin()


def _say_what_fails(window: Window) -> None:
    """What no code has foreseen is written to the log, and said to the user without a traceback."""
    before = sys.excepthook

    def say(kind: type[BaseException], error: BaseException, trace: Any) -> None:
        before(kind, error, trace)
        if issubclass(kind, Exception):
            window.banner.error(
                f"Something went wrong that should not ({kind.__name__}: {error}); the scene is as it was. "
                "Please send the log and Help ▸ Copy system report to the authors."
            )

    sys.excepthook = say


def _say_time(window: Window) -> None:
    """Print the seconds from the start of the process until all views have drawn."""
    from PySide6 import QtWidgets

    views = [frame.view for frame in window.layouts.frames()]
    while not all(view.frames for view in views):
        QtWidgets.QApplication.processEvents()
    print(f"The window was ready {process_age():.2f} s after the start.")


def process_age() -> float:
    """Seconds since this process began; on systems without /proc since this file was imported."""
    try:
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        uptime = float(Path("/proc/uptime").read_text().split()[0])
    except OSError:
        return time.time() - _BEGUN
    return uptime - ticks / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    sys.exit(main())
