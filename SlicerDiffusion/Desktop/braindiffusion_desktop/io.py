"""A scan or label map from any file or DICOM folder into the scene, through the gate of the engine.

What the gate refuses is refused here, in its words; what it repairs is said on the node. The voxels lie on
the file's own grid, also where its axes are not at right angles.
"""

from __future__ import annotations

import json
import os
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import slicer
import vtk
from PySide6 import QtCore
from vtk.util import numpy_support

from .kept import remember
from .readers import stem
from .synthetic import SYNTHETIC

if TYPE_CHECKING:
    from braindiffusion.errors import Unanswered

SOURCE = "BrainDiffusion.Source"
"""Attribute of a node: the file or folder that its voxels were read from."""
READ = "BrainDiffusion.Read"
"""Attribute of a node, in JSON: `sha256` of that file; `process` that read it, time stamp of the `voxels` and
their `affine` then, so that a later change shows.
"""
STATED = "BrainDiffusion.Stated"
"""Attribute of a node, in JSON: `frame` and `orientation` as the user stated them for a file that leaves them
open.
"""
NOTES = "BrainDiffusion.Notes"
"""Attribute of a node: the gate's sentences, one a line."""

_LOOK_MS = 30
_SAMPLES = 1e6
_going: set[Loading] = set()


@dataclass(frozen=True)
class Scan:
    """What was read, not yet in the scene.

    image: the voxels (vtkImageData), float32 or an integer type for labels, without geometry. affine: (4, 4)
    voxel index -> RAS mm. window: darkest and brightest value that is told apart. sha256: of the
    file or the series. stated: what the user said where the file leaves it open.
    """

    path: Path
    image: Any
    affine: np.ndarray
    window: tuple[float, float]
    notes: tuple[str, ...]
    synthetic: bool
    labels: bool
    sha256: str | None = None
    stated: dict[str, Any] = field(default_factory=dict)


def read_scan(
    path: str | Path, *, labels: bool = False, frame: int | None = None, orientation: str | None = None
) -> Scan:
    """Read a NIfTI, NRRD, MHA or MGZ file or a folder of DICOM files; in any thread, as no node is touched.

    labels: the file is a label map. frame, orientation: as `braindiffusion.inspect`. Raises
    braindiffusion.errors.Refused with one sentence for the user, and of that kind Unanswered where a frame or
    an orientation must be stated.
    """
    from braindiffusion.errors import Refused
    from braindiffusion.imaging import gate

    path = Path(path).expanduser().absolute()
    verdict = gate.inspect(path, frame=frame, orientation=orientation, labels=labels, own_grid=True)
    if verdict.volume is None:
        raise verdict.unanswered or Refused(verdict.reason or f"{path.name} cannot be used.")
    volume = verdict.volume
    synthetic = bool(volume.meta.get("synthetic"))
    image, window = _image(volume.data), _window(volume.data)
    stated = {"frame": frame, "orientation": volume.meta.get("orientation")}
    stated = {key: value for key, value in stated.items() if value is not None}
    digest = volume.meta.get("sha256")
    return Scan(path, image, volume.affine, window, verdict.notes, synthetic, labels, digest, stated)


def _image(data: np.ndarray) -> Any:
    """Voxels [X, Y, Z] as vtkImageData; made here because it takes too long for the window's thread."""
    if data.dtype.kind in "iu" and data.dtype.itemsize == 8:
        data = data.astype(np.int32)  # 3D Slicer draws none longer
    image = vtk.vtkImageData()
    image.SetDimensions(data.shape)
    image.AllocateScalars(numpy_support.get_vtk_array_type(data.dtype), 1)
    voxels = numpy_support.vtk_to_numpy(image.GetPointData().GetScalars())
    voxels.reshape(data.shape[::-1])[...] = data.T
    return image


def _window(data: np.ndarray) -> tuple[float, float]:
    """The range of grey values without the darkest and brightest 0.1 %, as Slicer's automatic window."""
    step = max(1, round((data.size / _SAMPLES) ** (1 / 3)))
    low, high = np.percentile(data[::step, ::step, ::step], (0.1, 99.9))
    return (float(low), float(high)) if high > low else (float(data.min()), float(data.max()))


def add_scan(scan: Scan, *, name: str | None = None, show: bool = True) -> Any:
    """Put what was read into the scene, and show it in the slice views; returns the volume node."""
    kind = "LabelMap" if scan.labels else "Scalar"
    scene = slicer.mrmlScene
    unique = scene.GenerateUniqueName(name or stem(str(scan.path)) or "scan")
    node = scene.AddNewNodeByClass(f"vtkMRML{kind}VolumeNode", unique)
    to_ras = vtk.vtkMatrix4x4()
    slicer.util.updateVTKMatrixFromArray(to_ras, scan.affine)
    node.SetIJKToRASMatrix(to_ras)
    _add_display(node, scan.window)
    node.SetAndObserveImageData(scan.image)
    remember(node, scan.path)
    node.SetAttribute(SOURCE, str(scan.path))
    node.SetAttribute(READ, _read_now(node, scan))
    node.SetAttribute(STATED, json.dumps(scan.stated) if scan.stated else None)
    node.SetAttribute(NOTES, "\n".join(scan.notes) or None)
    node.SetAttribute(SYNTHETIC, "YES" if scan.synthetic else None)
    if show:
        slicer.app.show_volume(node)
    return node


def _read_now(node: Any, scan: Scan) -> str:
    voxels, affine = node.GetImageData().GetMTime(), scan.affine.tolist()
    return json.dumps({"sha256": scan.sha256, "process": os.getpid(), "voxels": voxels, "affine": affine})


def _add_display(node: Any, window: tuple[float, float]) -> None:
    """Add a display node while there are no voxels: it would find its window in all of them, for too long."""
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    if display.IsA("vtkMRMLScalarVolumeDisplayNode"):
        display.AutoWindowLevelOff()
        display.SetWindowLevelMinMax(*window)


def load_scan(path: str | Path, *, name: str | None = None, show: bool = True, **options: Any) -> Any:
    """Read a scan and add it to the scene; the caller waits. Options and errors as `read_scan`."""
    return add_scan(read_scan(path, **options), name=name, show=show)


class Loading:
    """A scan that is being read in a thread, while the window stays alive."""

    def __init__(
        self,
        path: str | Path,
        loaded: Callable[[Any], None],
        refused: Callable[[str], None],
        *,
        ask: Callable[[Unanswered], None] | None = None,
        name: str | None = None,
        show: bool = True,
        **options: Any,
    ) -> None:
        """Begin. `loaded(node)` or `refused(sentence)` is called from the event loop, once.

        ask: called instead of `refused` where the user can state what the file leaves open. Options as
        `read_scan`. What is wrong with the window itself is raised from the event loop.
        """
        self.path = Path(path)
        self._loaded, self._refused, self._ask = loaded, refused, ask
        self._name, self._show = name, show
        self._answers: queue.SimpleQueue[Scan | Exception] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._read, kwargs=options, daemon=True, name="read scan")
        self._timer = QtCore.QTimer()
        self._timer.timeout.connect(self._look)
        self._thread.start()
        self._timer.start(_LOOK_MS)
        _going.add(self)  # the caller need not keep it

    def _read(self, **options: Any) -> None:
        try:
            self._answers.put(read_scan(self.path, **options))
        except Exception as error:  # it is raised, or told to the user, where the result is awaited
            self._answers.put(error)

    def _look(self) -> None:
        from braindiffusion.errors import BrainDiffusionError, Unanswered

        try:
            answer = self._answers.get_nowait()
        except queue.Empty:
            return
        self.cancel()
        if isinstance(answer, Unanswered) and self._ask is not None:
            self._ask(answer)
        elif isinstance(answer, BrainDiffusionError):
            self._refused(str(answer))
        elif isinstance(answer, Exception):
            raise answer
        else:
            self._loaded(add_scan(answer, name=self._name, show=self._show))

    def cancel(self) -> None:
        """Forget it: nothing is called and nothing comes into the scene. The thread reads to its end."""
        self._timer.stop()
        _going.discard(self)

    @property
    def going(self) -> bool:
        """Whether the answer is still awaited."""
        return self._timer.isActive()
