"""The frozen implant set: real lesion shapes put into held-out normal brains, where the truth is known to the
voxel.

Shapes come from patients whose shapes no training ever saw (`training.shapes.held_out`), and nothing here is
shared with the lesion simulator that trained the healer (methods.md B3.9). A lesion multiplies the tissue
below it, on the scan's own 1 mm grid. `implants.json` beside this file freezes the set: a test makes it again
and compares.

    python -m braindiffusion.evaluation.implants        writes the manifest anew
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from zlib import crc32

import nibabel as nib
import numpy as np
from scipy.ndimage import affine_transform, binary_dilation, gaussian_filter
from scipy.spatial.transform import Rotation

from ..imaging.volume import Volume
from ..paths import data_root
from ..training.brains import participants
from ..training.shapes import TEST_CASE, components, held_out, masks

MANIFEST = Path(__file__).with_name("implants.json")
SEED = 2_024_11
COPIES = 4
VOLUME_ML, CONTRAST, EDGE_MM = (0.1, 20.0), (0.10, 0.60), (0.0, 2.0)
GAP_MM = 5
"""Least distance between two lesions of one brain."""


@dataclass(frozen=True)
class Lesion:
    """What was implanted. volume_ml is the truth mask's; contrast is the relative change at the core (-0.2:
    20 % darker); edge_mm is the border's Gaussian sigma; position is its middle in native RAS mm; patient and
    piece say whose shape it is.
    """

    patient: str
    piece: int
    volume_ml: float
    contrast: float
    edge_mm: float
    position: tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class Implanted:
    """One brain with lesions. image: on the scan's grid; truth: uint8 [X, Y, Z], number of the lesion, 0
    elsewhere; brain: bool [X, Y, Z], where the scan is not zero; normal brains have no lesions.
    """

    subject: str
    index: int
    image: Volume
    truth: np.ndarray
    brain: np.ndarray
    lesions: tuple[Lesion, ...]

    @property
    def name(self) -> str:
        return f"{self.subject}-{self.index}" if self.lesions else self.subject


@dataclass(frozen=True)
class Shape:
    """A real lesion: bool [x, y, z] at 1 mm."""

    patient: str
    piece: int
    mask: np.ndarray

    @property
    def volume_ml(self) -> float:
        return float(self.mask.sum()) / 1000


def shapes(root: Path) -> list[Shape]:
    """Held-out patients' lesions of at least 0.1 ml; never the test case's."""
    library = []
    for patient, mask in masks(root):
        if held_out(patient) and patient != TEST_CASE:
            library += [Shape(patient, n, piece) for n, piece in enumerate(components(mask, 0.1))]
    return library


def val_brains(root: Path) -> list[str]:
    """Names of the brains that the set is made of."""
    return [row["participant_id"] for row in participants(root, "val")]


def scan(root: Path, subject: str) -> Volume:
    """A brain of t1_brains as it is, float32."""
    image = nib.load(root / "t1_brains" / f"{subject}_T1w_brain.nii.gz")
    return Volume(image.get_fdata(dtype=np.float32), image.affine, {"source": subject})  # type: ignore[attr-defined]


def normal(root: Path, subject: str) -> Implanted:
    """A val brain without lesions."""
    volume = scan(root, subject)
    return Implanted(subject, 0, volume, np.zeros(volume.shape, np.uint8), volume.data > 0, ())


def implanted(root: Path, subject: str, index: int, library: Sequence[Shape]) -> Implanted:
    """Copy `index` (from 1) of a val brain with one to three lesions, the same every time."""
    volume = scan(root, subject)
    rng = np.random.default_rng([SEED, crc32(subject.encode()), index])
    brain, tissue = volume.data > 0, _tissue(volume.data)
    image, truth = volume.data.copy(), np.zeros(volume.shape, np.uint8)
    lesions: list[Lesion] = []
    for _ in range(int(rng.integers(1, 4))):
        free = tissue & ~binary_dilation(truth > 0, iterations=GAP_MM) if lesions else tissue
        lesion, soft, box = _lesion(rng, library, free, volume.affine)
        image[box] *= 1 + lesion.contrast * soft * free[box]
        lesions.append(lesion)
        truth[box][(soft >= 0.5) & free[box]] = len(lesions)
    meta = {**volume.meta, "synthetic": True}
    return Implanted(subject, index, Volume(image, volume.affine, meta), truth, brain, tuple(lesions))


def every_case(root: Path, copies: int = COPIES) -> Iterator[Implanted]:
    """All normal and implanted val brains, brain by brain."""
    library = shapes(root)
    for subject in val_brains(root):
        yield normal(root, subject)
        for index in range(1, copies + 1):
            yield implanted(root, subject, index, library)


def manifest(root: Path) -> dict:
    """What the set is made of, as `implants.json` holds it."""
    cases = {
        case.name: [asdict(lesion) for lesion in case.lesions] for case in every_case(root) if case.lesions
    }
    rules = {"volume_ml": VOLUME_ML, "contrast": CONTRAST, "edge_mm": EDGE_MM, "gap_mm": GAP_MM}
    return {"seed": SEED, "copies": COPIES, "rules": rules, "cases": cases}


def _tissue(data: np.ndarray) -> np.ndarray:
    """Grey and white matter, roughly: what is brighter than fluid. A factor on dark fluid would be a lesion
    that is none.
    """
    smooth = gaussian_filter(data, 0.7)
    return (data > 0) & (smooth > 0.42 * np.percentile(data[data > 0], 80))


def _lesion(
    rng: np.random.Generator, library: Sequence[Shape], free: np.ndarray, affine: np.ndarray
) -> tuple[Lesion, np.ndarray, tuple[slice, ...]]:
    """One lesion inside `free`: what it is, its soft mask (core 1) and the box of the scan that the mask
    fills.
    """
    wanted = float(np.exp(rng.uniform(*np.log(VOLUME_ML))))
    contrast = float(np.exp(rng.uniform(*np.log(CONTRAST))) * rng.choice([-1, 1]))
    edge = float(rng.uniform(*EDGE_MM))
    places = np.argwhere(free)
    fitting = [shape for shape in library if wanted / 8 <= shape.volume_ml <= wanted * 8]
    while True:
        shape = fitting[int(rng.integers(len(fitting)))]
        turn = Rotation.random(random_state=np.random.RandomState(rng.integers(2**31))).as_matrix()
        centre = places[int(rng.integers(len(places)))]
        scale = (wanted / shape.volume_ml) ** (1 / 3)
        for _ in range(5):
            soft, box = _placed(shape.mask, turn, scale, edge, centre, free.shape)
            core = (soft >= 0.5) & free[box]
            volume = float(core.sum()) * abs(float(np.linalg.det(affine[:3, :3]))) / 1000
            if abs(volume / wanted - 1) < 0.1 and VOLUME_ML[0] <= volume <= VOLUME_ML[1]:
                middle = np.argwhere(core).mean(0) + [side.start for side in box]
                position = (affine @ np.append(middle, 1))[:3].round(1)
                where = (float(position[0]), float(position[1]), float(position[2]))
                lesion = Lesion(
                    shape.patient, shape.piece, round(volume, 3), round(contrast, 4), round(edge, 3), where
                )
                return lesion, soft, box
            if volume < 0.4 * wanted:
                break
            scale *= (wanted / volume) ** (1 / 3)


def _placed(
    mask: np.ndarray, turn: np.ndarray, scale: float, edge: float, centre: np.ndarray, shape: tuple[int, ...]
) -> tuple[np.ndarray, tuple[slice, ...]]:
    """`mask` turned and scaled about its middle, its border blurred, core 1; cut to the scan of `shape`."""
    half = int(np.ceil(np.linalg.norm(mask.shape) / 2 * scale + 3 * edge)) + 2
    matrix = turn.T / scale
    offset = (np.array(mask.shape) - 1) / 2 - matrix @ np.full(3, half)
    solid = affine_transform(mask.astype(np.float32), matrix, offset, (2 * half + 1,) * 3, order=1) > 0.5
    soft = gaussian_filter(solid.astype(np.float32), edge) if edge > 0.2 else solid.astype(np.float32)
    soft /= max(float(soft.max()), 1e-6)
    low, high = np.maximum(centre - half, 0), np.minimum(centre + half + 1, shape)
    inner = tuple(slice(int(a), int(b)) for a, b in zip(low - centre + half, high - centre + half))
    return soft[inner], tuple(slice(int(a), int(b)) for a, b in zip(low, high))


def text(content: dict) -> str:
    """The manifest file's text, one case a line."""
    rows = [f"  {json.dumps(name)}: {json.dumps(lesions)}" for name, lesions in content["cases"].items()]
    head = [f" {json.dumps(key)}: {json.dumps(value)}," for key, value in content.items() if key != "cases"]
    return "\n".join(["{", *head, ' "cases": {', ",\n".join(rows), " }", "}"]) + "\n"


if __name__ == "__main__":
    MANIFEST.write_text(text(manifest(data_root())))
