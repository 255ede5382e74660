"""Where the engine and its resources are, and where the folders of runs go."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path

# A setting of the application: another folder for runs than the user's own data folder.
RUNS_SETTING = "BrainDiffusion/RunsFolder"
# What is kept: scenes refer to the files of their runs.
_KEEP_DAYS, _KEEP_BYTES = 30, 10 * 2**30
# While a run goes on it has `inputs`; where they are older, the program ended before the run did.
_LONGEST_RUN_DAYS = 1
_RUN = re.compile(r"\d{8}-\d{6}-")
_LIB = Path(__file__).resolve().parent


def core() -> Path | None:
    """Folder to put on the engine's path; None where the engine is installed as a package.

    A built Slicer extension has `BrainDiffusion/core/` beside the module, a checkout `core/` beside its
    folder.
    """
    for folder in (_LIB.parent / "BrainDiffusion", _LIB.parent.parent):
        if (folder / "core" / "braindiffusion" / "__init__.py").is_file():
            return folder / "core"
    return None


def resources() -> Path:
    """Folder with tasks, models and samples, as `braindiffusion.paths.resources` finds it."""
    package = _package()
    inside = package / "resources"
    return inside if inside.is_dir() else package.parents[1] / "resources"


def _package() -> Path:
    folder = core()
    if folder is not None:
        return folder / "braindiffusion"
    spec = importlib.util.find_spec("braindiffusion")  # looks for it, imports nothing
    if spec is None or spec.origin is None:
        raise FileNotFoundError(
            "The engine 'braindiffusion' is neither beside the module nor installed; install BrainDiffusion "
            "anew."
        )
    return Path(spec.origin).parent


def sample() -> Path:
    """The made-up sample patient, a T1-weighted head."""
    return resources() / "samples" / "sample-patient.nii.gz"


def runsFolder() -> Path:
    """The folder of all runs, made where there is none: that of the setting, else in the user's own data.

    It outlives the program. Where it cannot be written to, runs go to the temporary folder: a run whose files
    are lost later is better than none.
    """
    import qt
    import slicer

    data = str(qt.QStandardPaths.writableLocation(qt.QStandardPaths.GenericDataLocation) or "")
    wanted = [str(slicer.app.settings().value(RUNS_SETTING, "") or "")]
    wanted += [str(Path(data, "BrainDiffusion", "runs"))] if data else []
    for home in map(Path, filter(None, wanted)):
        try:
            home.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        plain = _plain(home)
        if plain is not None and os.access(plain, os.W_OK):
            return plain
    home = Path(str(slicer.app.temporaryPath) or tempfile.gettempdir(), "BrainDiffusion")
    home.mkdir(parents=True, exist_ok=True)
    return home


def _plain(folder: Path) -> Path | None:
    """A folder's name that libraries below the engine can open; None where there is none.

    On Windows they know ASCII only; there most folders have a short name, too.
    """
    if sys.platform != "win32" or str(folder).isascii():
        return folder
    import ctypes

    short = ctypes.create_unicode_buffer(1024)
    ctypes.windll.kernel32.GetShortPathNameW(str(folder), short, len(short))
    return Path(short.value) if short.value and short.value.isascii() else None


def newRunFolder() -> Path:
    """A new folder for one run: `result` for what the engine writes, `inputs` for what it reads."""
    folder = Path(tempfile.mkdtemp(prefix=time.strftime("%Y%m%d-%H%M%S-"), dir=runsFolder()))
    (folder / "inputs").mkdir()
    return folder


def oldRuns() -> list[Path]:
    """Folders of runs that need not be kept: too old, or the oldest of more than fits. None that goes on."""
    found = [folder for folder in runsFolder().iterdir() if _RUN.match(folder.name) and folder.is_dir()]
    ages = {folder: (time.time() - folder.stat().st_mtime) / 86400 for folder in found}
    old, size = [], 0
    for folder in sorted(found, key=lambda one: ages[one]):
        unfinished = (folder / "inputs").is_dir()
        if unfinished and ages[folder] < _LONGEST_RUN_DAYS:
            continue
        size += sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())
        if unfinished or ages[folder] > _KEEP_DAYS or size > _KEEP_BYTES:
            old.append(folder)
    return old


def removeOldRuns() -> None:
    """Make room, one folder in a turn of the event loop: each may take its time."""
    _removeNext(oldRuns())


def _removeNext(folders: list[Path]) -> None:
    import qt

    if folders:
        shutil.rmtree(folders.pop(), ignore_errors=True)  # what is open elsewhere goes at another start
        qt.QTimer.singleShot(0, lambda: _removeNext(folders))
