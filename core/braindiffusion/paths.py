"""Where the package finds what ships with it, and where a developer keeps the scans that do not."""

from __future__ import annotations

import os
from pathlib import Path

from .errors import BrainDiffusionError

_PACKAGE = Path(__file__).resolve().parent


def resources() -> Path:
    """Folder with models, template, schemas and colours.

    A wheel carries it inside the package; a checkout and a Slicer extension have it beside `core/`.
    """
    inside = _PACKAGE / "resources"
    return inside if inside.is_dir() else _PACKAGE.parents[1] / "resources"


def workplace() -> Path:
    """Where runs and pages go that a developer makes: the checkout, and the working directory outside one."""
    return Path() if (_PACKAGE / "resources").is_dir() else _PACKAGE.parents[1]


def data_root() -> Path:
    """Folder with the scans of `docs/data.md`: `BRAINDIFFUSION_DATA`, or `../shared/data` at a checkout."""
    beside = _PACKAGE.parents[2] / "shared" / "data"
    return Path(os.environ.get("BRAINDIFFUSION_DATA", beside))


def require_data(*names: str) -> Path:
    """The folder of `data_root`; raises BrainDiffusionError where it lacks one of the folders `names`."""
    root = data_root()
    for name in names:
        if not (root / name).is_dir():
            raise BrainDiffusionError(
                f"There is no folder '{root / name}' of scans; set BRAINDIFFUSION_DATA as docs/data.md says."
            )
    return root
