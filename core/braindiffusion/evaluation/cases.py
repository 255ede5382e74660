"""Brains as the evaluation uses them: framed as the task would frame them, with their truth, in folds for
cross-fitting.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from ..imaging import align, grid, intensity
from ..imaging import frame as frame_module
from ..imaging.frame import Frame
from ..imaging.intensity import Ground, TissueScale
from ..imaging.volume import Volume
from ..paths import resources
from ..segment import stripped_mask
from ..training.brains import participants
from . import implants
from .setting import Arrays, Setting, key_of, shared_out, sources

FOLDS = 6


@dataclass(frozen=True, eq=False)
class Case:
    """One brain. truth: uint8 [X, Y, Z] on the scan's grid, number of the lesion; brain: bool there, where
    the scan is not zero.

    A normal brain has no lesions, and index 0.
    """

    subject: str
    index: int
    frame: Frame
    truth: np.ndarray
    brain: np.ndarray
    lesions: tuple[implants.Lesion, ...]

    @property
    def name(self) -> str:
        return f"{self.subject}-{self.index}"

    @property
    def normal(self) -> bool:
        return not self.lesions

    @property
    def image(self) -> np.ndarray:
        """As the models see it, [80, 96, 80]."""
        return self.frame.image

    @property
    def voxel_ml(self) -> float:
        return float(abs(np.linalg.det(self.frame.affine[:3, :3]))) / 1000

    def at_voxels(self, array: np.ndarray) -> np.ndarray:
        """A map on the model grid at the voxels of the brain (N,), float32, by linear interpolation."""
        return grid.sample_at(array, np.linalg.inv(self.frame.index), self.brain)


def val_cases(setting: Setting) -> list[Case]:
    """Every val brain, normal and with implants; few of them when quick."""
    return _cases(setting, range((1 if setting.quick else implants.COPIES) + 1))


def normal_cases(setting: Setting) -> list[Case]:
    """Every val brain as it is."""
    return _cases(setting, range(1))


def _cases(setting: Setting, copies: Iterable[int]) -> list[Case]:
    subjects = implants.val_brains(setting.root)[: 3 if setting.quick else None]
    wanted = [(subject, index) for subject in subjects for index in copies]
    missing = [pair for pair in wanted if not _file(setting, *pair).exists()]
    if missing:
        shared_out(setting, "Framing val scans", partial(_prepare, setting), missing)
    return [_load(setting, *pair) for pair in wanted]


def folds(subjects: Sequence[str], count: int = FOLDS) -> dict[str, int]:
    """The fold of every brain: all copies of a brain share it."""
    return {subject: n % count for n, subject in enumerate(sorted(set(subjects)))}


def lesion_shaped(
    case: Case,
    rng: np.random.Generator,
    library: Sequence[implants.Shape],
    wanted_ml: float,
    places: np.ndarray,
) -> np.ndarray:
    """A region of about `wanted_ml` in the shape of some lesion of `library`, turned at random, about one of
    the voxels `places` [N, 3]: bool [X, Y, Z] on the scan's grid, cut to the brain.
    """
    fitting = [shape for shape in library if wanted_ml / 8 <= shape.volume_ml <= wanted_ml * 8]
    shape = fitting[int(rng.integers(len(fitting)))]
    turn = Rotation.random(random_state=np.random.RandomState(rng.integers(2**31))).as_matrix()
    centre = places[int(rng.integers(len(places)))]
    scale = (wanted_ml / shape.volume_ml / case.voxel_ml / 1000) ** (1 / 3)
    soft, box = implants._placed(shape.mask, turn, scale, 0.0, centre, case.brain.shape)
    region = np.zeros(case.brain.shape, bool)
    region[box] = (soft >= 0.5) & case.brain[box]
    return region


def training_maps(setting: Setting) -> Arrays:
    """The training population, [48, 80, 96, 80] each: `model` as the models see them, and in affine template
    space `images` and, bool, `inside`. Images are float16.
    """
    names = [row["participant_id"] for row in participants(setting.root, "train")][
        : 12 if setting.quick else None
    ]
    missing = [name for name in names if not _train_file(setting, name).exists()]
    if missing:
        shared_out(setting, "Framing training brains", partial(_prepare_train, setting), missing)
    rows = [_train_arrays(setting, name) for name in names]
    return {key: np.stack([row[key] for row in rows]) for key in ("model", "images", "inside")}


def _code() -> str:
    """Hash of what decides how a scan is framed and what is implanted."""
    return key_of(
        *sources(frame_module, align, grid, intensity, implants),
        implants.MANIFEST,
        resources() / "template" / "mni152_2mm.npz",
    )


def _file(setting: Setting, subject: str, index: int) -> Path:
    return setting.folder / "cache" / f"case-{subject}-{index}-{_code()}.npz"


def _train_file(setting: Setting, name: str) -> Path:
    return setting.folder / "cache" / f"train-{name}-{_code()}.npz"


_LIBRARY: list[implants.Shape] = []


def _made(root: Path, subject: str, index: int) -> implants.Implanted:
    if index == 0:
        return implants.normal(root, subject)
    if not _LIBRARY:
        _LIBRARY.extend(implants.shapes(root))
    return implants.implanted(root, subject, index, _LIBRARY)


def _prepare(setting: Setting, pair: tuple[str, int]) -> None:
    subject, index = pair

    def make() -> Arrays:
        case = _made(setting.root, subject, index)
        return {"truth": case.truth, "brain": case.brain, **frame_arrays(framed(case.image))}

    setting.cached(f"case-{subject}-{index}", _code(), make)


def _prepare_train(setting: Setting, name: str) -> None:
    _train_arrays(setting, name)


def _train_arrays(setting: Setting, name: str) -> Arrays:
    def make() -> Arrays:
        frame = framed(implants.scan(setting.root, name))
        image = grid.sample(frame.image, frame.template_index, grid.GRID_SHAPE)
        inside = grid.sample(frame.mask.astype(np.float32), frame.template_index, grid.GRID_SHAPE) > 0.5
        return {"model": frame.image.astype(np.float16), "images": image.astype(np.float16), "inside": inside}

    return setting.cached(f"train-{name}", _code(), make)


def framed(volume: Volume) -> Frame:
    """The frame that the task gives a skull-stripped scan."""
    return Frame.fit(volume.data, volume.affine, stripped_mask(volume))


def _load(setting: Setting, subject: str, index: int) -> Case:
    with np.load(_file(setting, subject, index)) as arrays:
        frame, truth, brain = frame_of(arrays), arrays["truth"], arrays["brain"]
    rows = _frozen().get(f"{subject}-{index}", [])
    lesions = tuple(implants.Lesion(**{**row, "position": tuple(row["position"])}) for row in rows)
    return Case(subject, index, frame, truth, brain, lesions)


def _frozen() -> dict:
    import json

    return json.loads(implants.MANIFEST.read_text(encoding="utf-8"))["cases"]


def frame_arrays(frame: Frame) -> Arrays:
    """A frame as arrays, for the cache."""
    parts = {f.name: getattr(frame, f.name) for f in fields(Frame)}
    scale, ground = parts.pop("scale"), parts.pop("ground")
    arrays = {name: np.asarray(part) for name, part in parts.items()}
    arrays["scale"] = np.array([scale.grey, scale.white])
    return arrays | {"ground": np.array([ground.background, ground.lowest])}


def frame_of(arrays: Arrays) -> Frame:
    """The frame that `frame_arrays` took apart."""
    parts = {f.name: arrays[f.name] for f in fields(Frame)}
    grey, white = parts.pop("scale")
    ground = Ground(*(float(value) for value in parts.pop("ground")))
    shape = tuple(int(n) for n in parts.pop("shape"))
    scale = TissueScale(float(grey), float(white))
    return Frame(shape=shape, scale=scale, ground=ground, **parts)  # type: ignore[arg-type]
