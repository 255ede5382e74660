"""Heal a T1 scan: healthy counterpart, map of the difference, table of findings (methods.md B3.9, A29)."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from functools import partial
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import field_validator

from ..telling import between
from .base import (
    Drawn,
    Input,
    Progress,
    Task,
    age_of_person,
    following,
    parameter,
    sampler_steps,
    sex_of_person,
)
from .scan import Brain, Models, preview, recognised

if TYPE_CHECKING:
    import numpy as np

    from ..healing import Healed
    from ..imaging.volume import Volume
    from ..normal import NormalMaps
    from ..plan import Plan
    from ..result import Artifact, Result

MISSES = (
    "T1 alone shows few multiple sclerosis lesions and hardly any fresh stroke: a clean map does not exclude "
    "them. The map is the difference to a healthy prior, never a diagnosis."
)
UNCALIBRATED = (
    "The noise was set to another level than that at which normal brains were compared: z is not calibrated."
)


_FOREIGN = 1.5
"""Times the typical |z| of normal brains from which on a scan is none of their kind."""


class HealParameters(Drawn):
    """What a user may set."""

    seed: int = parameter(0, "Seed", "The same seed gives the same voxels.", ge=0, le=2**32 - 1)
    samples: int = parameter(
        4,
        "Samples",
        "Healthy counterparts that are drawn; their spread shows how sure the model is.",
        ge=1,
        le=16,
    )
    steps: int = sampler_steps(8)
    method: Literal["guided", "partial"] = parameter(
        "guided",
        "Method",
        "guided follows the scan; partial noises and denoises it, and keeps lesions or loses anatomy.",
        advanced=True,
    )
    age: float | None = age_of_person()
    sex: Literal["female", "male"] | None = sex_of_person()
    threshold: float | None = parameter(
        None,
        "Threshold",
        "|z| above which a place is a finding; without it, the calibrated one is taken.",
        unit="z",
        examples=[4],
        gt=0,
        le=50,
        advanced=True,
    )
    start: float = parameter(
        5.0,
        "Noise of guided",
        "Noise (sigma; white matter is 1) at which guided begins. Thresholds are calibrated at 5.",
        ge=0.5,
        le=50,
        advanced=True,
    )
    levels: str = parameter(
        "0.15, 0.3, 0.6",
        "Noise of partial",
        "Noise (sigma; white matter is 1) to which partial takes the scan, one level or several. "
        "Thresholds are calibrated at these.",
        advanced=True,
    )
    keep_samples: bool = parameter(
        False, "Keep the samples", "Give each healthy counterpart too, not their mean alone.", advanced=True
    )
    model: str = parameter("t1-brain-2mm", "Model", "Name of the prior.", advanced=True)

    @field_validator("levels", mode="before")
    @classmethod
    def _levels(cls, value: Any) -> str:
        given = str(value).replace(",", " ").split() if isinstance(value, (str, Real)) else value
        try:
            levels = [float(level) for level in given]
        except (TypeError, ValueError):
            levels = []
        if not levels or len(levels) > 8 or not all(0.02 <= level <= 10 for level in levels):
            raise ValueError("must be one to eight numbers between 0.02 and 10, such as 0.15, 0.3")
        return ", ".join(f"{level:g}" for level in levels)

    def noise(self) -> tuple[float, ...]:
        """The levels of partial as numbers."""
        return tuple(map(float, self.levels.split(",")))

    def other_noise(self) -> bool:
        """Whether the method works at another noise than that of the maps of normal brains."""
        name = "levels" if self.method == "partial" else "start"
        return getattr(self, name) != HealParameters.model_fields[name].default

    def told(self) -> dict[str, Any]:
        return {"age": self.age, "sex": self.sex}


def memory(inputs: Mapping[str, Volume], parameters: HealParameters, batch: int, precision: str) -> int:
    """Peak bytes: torch, the scan on its own grid some twelve times over, and activations per sample."""
    voxels = max((volume.data.size for volume in inputs.values()), default=0)
    return int(1.2e9 + 12 * 4 * voxels + batch * (0.5e9 if precision == "bf16" else 0.9e9))


def run(
    inputs: Mapping[str, Volume], parameters: HealParameters, plan: Plan
) -> Generator[Progress, None, Result]:
    """Heal `inputs["scan"]`. Raises Refused for what the model may not judge."""
    from ..normal import NormalMaps

    scan = inputs["scan"]
    yield Progress(0.01, "Loading the models")
    models = Models.load(parameters.model, plan)
    normal = NormalMaps.load(models.prior.file(f"normal-{parameters.method}.npz"))
    brain = yield from recognised(scan, models, parameters.told(), plan, 0.05, 0.2)
    healed = yield from _healed(models, brain, parameters, plan)
    yield Progress(0.77, "Comparing with normal brains")
    found = _compared(normal, brain, healed, parameters.threshold, plan)
    yield Progress(0.82, "Naming the findings")
    structures = _structures(models, brain, healed, plan)
    yield Progress(0.88, "Bringing the results to the scan's grid")
    return _result(scan, models, brain, healed, found, structures, parameters)


@dataclass(frozen=True)
class _Found:
    """The heat map, and the regions above `threshold`, numbered from 1, all [80, 96, 80]; the maps of normal
    brains that it was made with; and how far the scan differs from them as a whole (`heatmap.level`).
    """

    z: np.ndarray
    signed: np.ndarray
    spread: np.ndarray
    numbered: np.ndarray
    count: int
    threshold: float
    normal: NormalMaps
    level: float

    def doubts(self) -> list[str]:
        """What to think of a scan that differs from normal brains nearly everywhere."""
        from ..heatmap import raised

        usual = self.normal.level
        if self.level <= _FOREIGN * usual:
            return []
        higher = raised(self.normal.threshold, self.level, usual)
        return [
            "The scan differs from normal brains nearly everywhere, as one of another scanner or protocol "
            f"does (typical z {self.level:.1f}, at most {usual:.1f} in normal brains): most findings may be "
            f"false. A threshold of {higher:.1f} would make up for it."
        ]


def _healed(
    models: Models, brain: Brain, parameters: HealParameters, plan: Plan
) -> Generator[Progress, None, Healed]:
    from ..healing import heal

    steps = heal(
        models.prior, brain.frame.image, parameters.seeds(), parameters.steps, parameters.told(),
        method=parameters.method, levels=parameters.noise(), start=parameters.start,
        around=brain.frame.expected, device=plan.device, precision=plan.precision, batch=plan.batch,
    )  # fmt: skip
    show = partial(preview, frame=brain.frame, title="Healed scan, preview")
    return (yield from following(steps, 0.2, 0.75, "Healing", show))


def _compared(
    normal: NormalMaps, brain: Brain, healed: Healed, threshold: float | None, plan: Plan
) -> _Found:
    from ..heatmap import heat, level, regions
    from ..plausibility import judged_where

    image = brain.frame.image
    place = normal.place(image, between(plan.tell, 0.77, 0.82))
    warm = heat(image, healed, place, normal)
    judged = judged_where(brain.anatomy.labels, brain.verdict)
    z = warm.z * judged
    threshold = threshold or normal.threshold
    typical = level(warm.z, image > 0)
    return _Found(z, warm.signed * judged, warm.spread, *regions(z, threshold), threshold, normal, typical)


def _structures(models: Models, brain: Brain, healed: Healed, plan: Plan) -> np.ndarray:
    """Labels [80, 96, 80] of the healed brain: where a finding would be, were it not there."""
    import torch

    from ..nets.anatomy import normalise

    seen = normalise(torch.from_numpy(healed.mean))
    return models.segmenter.segment_model(seen, brain.frame, between(plan.tell, 0.82, 0.88)).labels


def _result(
    scan: Volume,
    models: Models,
    brain: Brain,
    healed: Healed,
    found: _Found,
    structures: np.ndarray,
    parameters: HealParameters,
) -> Result:
    import numpy as np

    from ..findings import measure
    from ..healing import composites
    from ..result import Result

    frame = brain.frame
    native = frame.to_native(found.numbered.astype(np.int16), order=0)
    agreeing = (np.sign(frame.image - healed.samples) == np.sign(found.signed)).mean(0)
    rows = measure(
        found.numbered, found.count, found.signed, agreeing, structures, frame, native, scan.voxel_ml
    )
    kept = healed.samples if parameters.keep_samples else ()
    (on_grid, *samples), changed = composites(brain.data, frame, [healed.mean, *kept], found.numbered > 0)
    on_scan = {
        "healed": on_grid,
        "heatmap": frame.to_native(found.z),
        "spread": frame.to_native(found.spread),
        "findings_labels": native,
        "anatomy": brain.anatomy.labels_on(scan.shape, scan.affine),
    }
    volumes = {role: scan.with_data(array) for role, array in on_scan.items()}
    artifacts = _artifacts(volumes, [scan.with_data(array) for array in samples], rows, found.threshold)
    provenance = models.provenance(brain, "dpmpp2m", parameters.steps) | {
        "seeds": parameters.seeds(),
        "threshold": found.threshold,
        "calibration": {"brains": found.normal.brains, "threshold": found.normal.threshold},
        "typical_z": {"scan": round(found.level, 3), "normal_brains": found.normal.level},
        "voxels_changed": int(changed.sum()),
        "voxels_outside_changed": int((on_grid != brain.data)[~changed].sum()),
    }
    notes = [MISSES, *([UNCALIBRATED] if parameters.other_noise() else [])]
    judgement = models.judgement(brain, *found.doubts())
    return Result("heal", artifacts, notes=notes, provenance=provenance, **judgement)


def _artifacts(
    volumes: Mapping[str, Volume], samples: list[Volume], rows: list[dict[str, Any]], threshold: float
) -> list[Artifact]:
    from ..anatomy import STRUCTURES
    from ..report import FINDING_COLUMNS, HEAT_WINDOW
    from ..result import Artifact

    names = {s.index: f"{s.side} {s.name}".strip() for s in STRUCTURES if s.index}
    codes = {s.index: [*s.code, s.side] for s in STRUCTURES if s.code}
    numbers = {row["number"]: f"{row['number']}: {row['side']} {row['structure']}" for row in rows}

    displays: dict[str, tuple[Literal["volume", "labels"], dict[str, Any]]] = {
        "healed": ("volume", {"unit": "as the scan", "title": "Healed scan"}),
        "heatmap": ("volume", {"window": list(HEAT_WINDOW), "colors": "heat", "unit": "z",
                               "threshold": threshold, "title": "Difference to a healthy prior"}),
        "spread": ("volume", {"window": [0, 0.2], "colors": "heat", "unit": "white matter",
                              "title": "Spread of the samples"}),
        "findings_labels": ("labels", {"names": numbers, "title": "Findings"}),
        "anatomy": ("labels", {"names": names, "codes": codes, "title": "Anatomy of the scan"}),
    }  # fmt: skip
    artifacts = [
        Artifact(role, kind, volumes[role], display=display, of="scan", synthetic=role != "anatomy")
        for role, (kind, display) in displays.items()
    ]
    artifacts.append(
        Artifact("findings", "table", rows=rows, display={"columns": FINDING_COLUMNS}, of="heatmap")
    )
    if samples:
        display = {"unit": "as the scan", "title": "Samples of the healed scan", "index": "sample"}
        artifacts.append(Artifact("samples", "sequence", volumes=samples, display=display, of="scan"))
    return artifacts


def _picture(result: Result, path: Path) -> None:
    from ..report import heal_picture

    heal_picture(result, path)


TASK = Task(
    name="heal",
    title="Heal a scan",
    summary="Show where a T1-weighted brain differs from what a diffusion model knows of normal brains.",
    parameters=HealParameters,
    run=run,
    inputs=(Input("scan", "Scan", "A T1-weighted head or brain without contrast agent."),),
    memory=memory,
    picture=_picture,
    first=True,
)
