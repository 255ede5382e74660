"""Where the engine and its resources are, and where the folders of runs go."""

from __future__ import annotations

import importlib.util
import tempfile
import time
from pathlib import Path

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


def newRunFolder() -> Path:
    """A new folder for one run: `result` for what the engine writes, `inputs` for what it reads."""
    import slicer

    home = Path(str(slicer.app.temporaryPath) or tempfile.gettempdir(), "BrainDiffusion")
    home.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=time.strftime("%Y%m%d-%H%M%S-"), dir=home))
    (folder / "inputs").mkdir()
    return folder
