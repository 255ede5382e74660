"""Voxels to and from the engine: raw NRRD files. Where they lie goes beside them, in JSON.

A volume that is handed over is a copy, hardened under its parent transforms: what the engine reads lies in
the world's RAS millimetres, and so do its results. Writing is cut into steps, for the user's thread.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

from .job import Complaint

Matrix = list[list[float]]

# The engine's names of types, and those of ITK.
_TYPES = {
    "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4",
    "signed char": "i1", "unsigned char": "u1", "short": "i2", "unsigned short": "u2",
    "int": "i4", "unsigned int": "u4", "float": "f4", "double": "f8",
}  # fmt: skip
_NAMES = {
    "i1": "int8", "u1": "uint8", "i2": "int16", "u2": "uint16", "i4": "int32", "u4": "uint32",
    "i8": "int64", "u8": "uint64", "f4": "float", "f8": "double",
}  # fmt: skip
_STEP_BYTES = 8 * 2**20
_STEP_VOXELS = 100_000
# More voxels than so many times the volume's own are no sensible transform.
_MOST_GROWTH = 8


def refuseUnless3DScalar(node: Any) -> None:
    """Raises Complaint with one sentence where a node is no image that a task can take."""
    name = node.GetName()
    if node.IsA("vtkMRMLLabelMapVolumeNode"):
        raise Complaint(
            f"'{name}' is a label map, not a scan; choose the image that the labels were made on."
        )
    image = node.GetImageData() if node.IsA("vtkMRMLVolumeNode") else None
    if not node.IsA("vtkMRMLVolumeNode"):
        raise Complaint(f"'{name}' is not an image; choose a volume.")
    if image is None or image.GetNumberOfPoints() == 0:
        raise Complaint(f"'{name}' holds no voxels; load its file again.")
    if image.GetNumberOfScalarComponents() != 1:
        raise Complaint(
            f"'{name}' has {image.GetNumberOfScalarComponents()} values in each voxel (colours, vectors or "
            "several images in one file); choose a scan with one, or run the file itself on the command "
            "line, where --frame 0 takes its first image."
        )


def state(node: Any) -> tuple[Any, ...]:
    """What changes when the voxels of a volume, or the place where they lie, change."""
    parent = node.GetParentTransformNode()
    image = node.GetImageData()
    return (
        image.GetMTime() if image is not None else None,
        tuple(map(tuple, ijkToRas(node))),
        (parent.GetID(), parent.GetTransformToWorldMTime()) if parent is not None else None,
    )


def write(node: Any, path: Path) -> Generator[None, None, Matrix]:
    """Write a volume as it lies in the world, step by step; returns its affine, voxel index to RAS mm.

    The voxels are copied at the first step, so what the user does to the volume afterwards does not enter.
    """
    import slicer
    import vtk

    parent = node.GetParentTransformNode()
    if parent is None or parent.IsTransformToWorldLinear():
        toWorld = vtk.vtkMatrix4x4()
        slicer.vtkMRMLTransformNode.GetMatrixTransformBetweenNodes(parent, None, toWorld)
        matrix = vtk.vtkMatrix4x4()
        node.GetIJKToRASMatrix(matrix)
        vtk.vtkMatrix4x4.Multiply4x4(toWorld, matrix, matrix)
        copied = slicer.util.arrayFromVolume(node).copy()
        yield from _save(path, copied.dtype, copied.shape, _pieces(copied.reshape(-1)))
        return rows(matrix)
    reslice, extent, matrix = _bent(node, parent)
    yield from writeResampled(reslice, extent, path)
    return rows(matrix)


def writeResampled(reslice: Any, extent: tuple[int, ...], path: Path) -> Iterator[None]:
    """Write what a vtkImageReslice gives in `extent`, slab by slab."""
    shape = (extent[5] - extent[4] + 1, extent[3] - extent[2] + 1, extent[1] - extent[0] + 1)
    yield from _save(path, voxels(reslice.GetInput()).dtype, shape, _slabs(reslice, extent))


def read(path: str | Path) -> Generator[None, None, Any]:
    """Read a raw NRRD file step by step; returns its voxels as vtkImageData without geometry.

    Raises ValueError where the file is cut short or of another kind.
    """
    import numpy as np
    import vtk
    from vtk.util.numpy_support import get_vtk_array_type, vtk_to_numpy

    with open(path, "rb") as file:
        fields = _header(file)
        sizes = [int(size) for size in fields["sizes"].split()]
        if fields.get("encoding") != "raw" or len(sizes) != 3 or fields["type"] not in _TYPES:
            raise ValueError(f"'{path}' is not a raw NRRD file of three dimensions")
        kind = np.dtype(_TYPES[fields["type"]])
        image = vtk.vtkImageData()
        image.SetDimensions(sizes)
        image.AllocateScalars(get_vtk_array_type(kind), 1)
        voxels = vtk_to_numpy(image.GetPointData().GetScalars())
        foreign = fields.get("endian", sys.byteorder) != sys.byteorder
        for piece in _pieces(voxels):
            if file.readinto(piece) != piece.nbytes:
                raise ValueError(f"'{path}' is cut short")
            if foreign:
                piece.byteswap(inplace=True)
            yield
    return image


def shapeOf(path: str | Path) -> tuple[int, int, int]:
    """Voxels along i, j, k of a raw NRRD file."""
    with open(path, "rb") as file:
        i, j, k = map(int, _header(file)["sizes"].split())
    return i, j, k


def readAtOnce(path: str | Path) -> Any:
    """`read` without steps, for a small image."""
    steps = read(path)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def voxels(image: Any) -> Any:
    """The voxels [Z, Y, X] of vtkImageData, shared with it."""
    from vtk.util.numpy_support import vtk_to_numpy

    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions()[::-1])


def _header(file: Any) -> dict[str, str]:
    if not file.readline().startswith(b"NRRD"):
        raise ValueError(f"'{file.name}' is not an NRRD file")
    fields: dict[str, str] = {}
    for line in iter(file.readline, b""):
        text = line.decode("ascii", "replace").rstrip("\r\n")
        if not text:
            break
        name, colon, value = text.partition(":")
        if colon and not text.startswith("#") and not value.startswith("="):
            fields[name.strip().lower()] = value.strip().lower()
    if not {"type", "sizes"} <= set(fields):
        raise ValueError(f"'{file.name}' is cut short: its header is not whole")
    return fields


def _save(path: Path, kind: Any, shape: tuple[int, ...], pieces: Iterator[Any]) -> Iterator[None]:
    little = kind.newbyteorder("<")
    header = (
        f"NRRD0004\ntype: {_NAMES[kind.str[1:]]}\ndimension: 3\nspace: right-anterior-superior\n"
        f"sizes: {shape[2]} {shape[1]} {shape[0]}\nspace directions: (1,0,0) (0,1,0) (0,0,1)\n"
        "kinds: domain domain domain\nendian: little\nencoding: raw\nspace origin: (0,0,0)\n\n"
    )
    with path.open("wb") as file:
        file.write(header.encode("ascii"))
        for piece in pieces:
            file.write(piece.astype(little, copy=False).tobytes())
            yield


def _pieces(flat: Any) -> Iterator[Any]:
    step = max(1, _STEP_BYTES // flat.itemsize)
    for start in range(0, flat.size, step):
        yield flat[start : start + step]


def _bent(node: Any, parent: Any) -> tuple[Any, tuple[int, ...], Any]:
    """A filter that resamples a volume under a non-linear transform, the extent of its output, and the IJK to
    RAS matrix of that output: the volume's own lattice, continued by whole voxels to where the transform
    takes it.
    """
    import vtk

    ijkToRas = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(ijkToRas)
    rasToIjk = vtk.vtkMatrix4x4()
    node.GetRASToIJKMatrix(rasToIjk)
    image = vtk.vtkImageData()
    image.DeepCopy(node.GetImageData())
    image.SetOrigin(0, 0, 0)
    image.SetSpacing(1, 1, 1)
    reslice = vtk.vtkImageReslice()
    reslice.SetInputData(image)
    fromWorld = vtk.vtkGeneralTransform()
    parent.GetTransformFromWorld(fromWorld)
    reslice.SetResliceTransform(_chain(ijkToRas, fromWorld, rasToIjk))
    reslice.SetInterpolationModeToLinear()
    level = node.GetImageBackgroundScalarComponentAsDouble(0)
    reslice.SetBackgroundColor(level, level, level, level)
    toWorld = vtk.vtkGeneralTransform()
    parent.GetTransformToWorld(toWorld)
    extent = _reached(_chain(ijkToRas, toWorld, rasToIjk), image.GetExtent())
    _refuseIfHuge(node, image.GetExtent(), extent)
    reslice.SetOutputExtent(extent)
    reslice.SetOutputOrigin(0, 0, 0)
    reslice.SetOutputSpacing(1, 1, 1)
    corner = ijkToRas.MultiplyPoint((extent[0], extent[2], extent[4], 1.0))
    for row in range(3):
        ijkToRas.SetElement(row, 3, corner[row])
    return reslice, extent, ijkToRas


def _chain(*parts: Any) -> Any:
    import vtk

    transform = vtk.vtkGeneralTransform()
    transform.PostMultiply()
    for part in parts:
        transform.Concatenate(part)
    return transform


def _reached(transform: Any, extent: tuple[int, ...]) -> tuple[int, ...]:
    """The voxels, in the lattice of `extent`, over which a transform from IJK to IJK spreads the volume."""
    steps = [number / 12 for number in range(13)]
    axes = [
        [extent[2 * axis] + (extent[2 * axis + 1] - extent[2 * axis]) * step for step in steps]
        for axis in range(3)
    ]
    points = [transform.TransformPoint(i, j, k) for i in axes[0] for j in axes[1] for k in axes[2]]
    return tuple(
        bound
        for values in zip(*points)
        for bound in (math.floor(min(values) + 1e-3), math.ceil(max(values) - 1e-3))
    )


def _refuseIfHuge(node: Any, before: tuple[int, ...], after: tuple[int, ...]) -> None:
    def voxels(extent: tuple[int, ...]) -> int:
        return math.prod(extent[2 * axis + 1] - extent[2 * axis] + 1 for axis in range(3))

    if voxels(after) > _MOST_GROWTH * voxels(before):
        raise Complaint(
            f"The transform of '{node.GetName()}' spreads it over {voxels(after) / voxels(before):.0f} times "
            "as many voxels; check the transform, or harden it and crop the volume."
        )


def _slabs(reslice: Any, extent: tuple[int, ...]) -> Iterator[Any]:
    x0, x1, y0, y1, z0, z1 = extent
    thick = max(1, _STEP_VOXELS // ((x1 - x0 + 1) * (y1 - y0 + 1)))
    for z in range(z0, z1 + 1, thick):
        reslice.UpdateExtent((x0, x1, y0, y1, z, min(z + thick - 1, z1)))
        yield voxels(reslice.GetOutput()).reshape(-1)


def ijkToRas(node: Any) -> Matrix:
    """Where the voxels of a volume lie, its parent transforms left out."""
    import vtk

    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return rows(matrix)


def rows(matrix: Any) -> Matrix:
    """The rows of a vtkMatrix4x4."""
    return [[matrix.GetElement(row, column) for column in range(4)] for row in range(4)]
