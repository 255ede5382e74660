"""What all tests share: one thread, windows off screen, the mark `slow`, `needs_data`, and a small task that
needs no model."""

from __future__ import annotations

import os
import sys

os.environ.setdefault("OMP_NUM_THREADS", "1")
if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    # Without it VTK asks for an X server first, and complains that there is none.
    os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")

from collections.abc import Callable, Iterator  # noqa: E402
from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402
import pytest  # noqa: E402

from braindiffusion.imaging.volume import Volume  # noqa: E402
from braindiffusion.paths import data_root  # noqa: E402
from braindiffusion.tasks import base  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]


def needs_data(name: str) -> pytest.MarkDecorator:
    """Skips a test where the scans `name` of docs/data.md are not there."""
    there = (data_root() / name).exists()
    return pytest.mark.skipif(not there, reason=f"needs '{name}' of docs/data.md in {data_root()}")


@pytest.fixture
def scan() -> Volume:
    """A bright box with a brighter spot, on an oblique grid of 1.5 x 1 x 2 mm."""
    data = np.zeros((20, 24, 16), np.float32)
    data[3:17, 3:21, 3:13] = 100.0
    data[12:15, 12:16, 6:9] = 180.0
    data += np.random.default_rng(0).normal(0, 2, data.shape).astype(np.float32) * (data > 0)
    turn = 0.2
    affine = np.eye(4)
    affine[:3, :3] = [[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]]
    affine[:3, :3] *= [1.5, 1.0, 2.0]
    affine[:3, 3] = [-14.0, -12.0, -16.0]
    return Volume(data, affine, {"source": "a test"})


@pytest.fixture
def scan_file(scan: Volume, tmp_path: Path) -> Path:
    import nibabel

    path = tmp_path / "scan.nii.gz"
    nibabel.save(nibabel.Nifti1Image(scan.data, scan.affine), path)
    return path


@pytest.fixture
def toy() -> Iterator[base.Task]:
    """The task `toy`, registered while the test runs."""
    from toy_task import TOY

    yield base.register(TOY)
    base.unregister(TOY.name)


@pytest.fixture
def make_task(toy: base.Task) -> Iterator[Callable[..., base.Task]]:
    """Registers a variant of the toy task under a name of its own."""
    from dataclasses import replace

    made: list[str] = []

    def make(name: str, **changes: object) -> base.Task:
        made.append(name)
        return base.register(replace(toy, name=name, **changes))  # type: ignore[arg-type]

    yield make
    for name in made:
        base.unregister(name)
