"""Small scans for tests: a textured head that tapers off on all sides, oblique grids, files and damage."""

from __future__ import annotations

import gzip
from itertools import permutations, product
from pathlib import Path

import nibabel as nib
import numpy as np

SHAPE = (24, 28, 20)


def head(shape: tuple[int, ...] = SHAPE, seed: int = 0) -> np.ndarray:
    """A textured ellipsoid on a background of 0, [X, Y, Z] float32."""
    grid = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    radius = np.sqrt(sum(g**2 for g in grid))
    texture = np.random.default_rng(seed).normal(0, 8, shape)
    return np.where(radius < 0.8, 200 - 100 * radius + texture, 0).astype(np.float32)


def oblique(
    spacing: tuple[float, ...] = (1.0, 1.2, 2.5),
    axes: tuple[int, ...] = (0, 1, 2),
    signs: tuple[int, ...] = (1, 1, 1),
) -> np.ndarray:
    """A rotated affine, off centre, whose axis i runs mainly along RAS axis axes[i] with the given sign."""
    a, b, c = 0.3, -0.2, 0.15
    turn = (
        np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
        @ np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
        @ np.array([[np.cos(c), 0, np.sin(c)], [0, 1, 0], [-np.sin(c), 0, np.cos(c)]])
    )
    affine = np.eye(4)
    for column, (axis, sign) in enumerate(zip(axes, signs, strict=True)):
        affine[:3, column] = turn[:, axis] * sign * spacing[column]
    affine[:3, 3] = [-31.7, 54.3, 12.9]
    return affine


def all_orientations() -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """The 48 ways in which three voxel axes can run along the patient's."""
    return [(axes, signs) for axes in permutations(range(3)) for signs in product((1, -1), repeat=3)]


def save_nifti(
    path: Path,
    data: np.ndarray,
    affine: np.ndarray | None = None,
    *,
    sform: int = 1,
    qform: int = 1,
    **header: object,
) -> Path:
    """Write with nibabel; further arguments are fields of the header, set at last."""
    affine = np.diag([1.5, 1.5, 1.5, 1.0]) if affine is None else affine
    image = nib.Nifti1Image(data, affine)
    image.set_sform(affine, code=sform)
    image.set_qform(affine, code=qform)
    image.header.set_xyzt_units("mm")
    for field, value in header.items():
        image.header[field] = value
    nib.save(image, path)
    return path


def patch(path: Path, offset: int, replacement: bytes) -> Path:
    """Overwrite bytes of a file, as damage does."""
    content = bytearray(path.read_bytes())
    content[offset : offset + len(replacement)] = replacement
    path.write_bytes(bytes(content))
    return path


def cut(path: Path, share: float = 0.5) -> Path:
    """Keep the first part of a file only."""
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


def compress(path: Path) -> Path:
    """The same content, gzipped, as `<name>.gz`."""
    packed = path.with_name(path.name + ".gz")
    packed.write_bytes(gzip.compress(path.read_bytes()))
    return packed
