"""Where the package finds what ships with it, and where a developer keeps the scans that do not."""

from __future__ import annotations

import os
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def resources() -> Path:
    """Folder with models, template, schemas and colours.

    A wheel carries it inside the package; a checkout and a Slicer extension have it beside `core/`.
    """
    inside = _PACKAGE / "resources"
    return inside if inside.is_dir() else _PACKAGE.parents[1] / "resources"


def data_root() -> Path:
    """Folder with the scans of `docs/data.md`: `BRAINDIFFUSION_DATA`, or `../shared/data` at a checkout."""
    beside = _PACKAGE.parents[2] / "shared" / "data"
    return Path(os.environ.get("BRAINDIFFUSION_DATA", beside))
