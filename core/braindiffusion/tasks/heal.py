"""Heal a T1 scan: its healthy counterpart, a heat map of where the two differ, and a table of findings
(methods.md B3.9, A29).
"""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from .base import Input, Parameters, Progress, Task, parameter

if TYPE_CHECKING:
    import numpy as np

    from ..healing import Healed, Partway
    from ..imaging.frame import Frame
    from ..imaging.volume import Volume
    from ..models.card import Card
    from ..plan import Plan
    from ..result import Artifact, Result
    from ..segment import Segmentation

MISSES = (
    "T1 alone shows few multiple sclerosis lesions and hardly any fresh stroke: a clean map does not exclude "
    "them. The map is the difference to a healthy prior, never a diagnosis."
)
FEATHER_VOXELS = 2
"""Width in model voxels (2 mm) of the border over which healed voxels replace the scan's."""
PREVIEWS = 6
"""How often at most a run shows what it has so far."""


class HealParameters(Parameters):
    """What a user may set."""

    seed: int = parameter(0, "Seed", "The same seed gives the same voxels.", ge=0, lt=2**32 - 64)
    samples: int = parameter(
        4,
        "Samples",
        "Healthy counterparts that are drawn; their spread shows how sure the model is.",
        ge=1,
        le=16,
    )
    steps: int = parameter(
        8,
        "Steps",
        "Steps of the sampler; more is slower and a little more precise.",
        ge=2,
        le=100,
        advanced=True,
    )
    method: Literal["guided", "partial"] = parameter(
        "guided",
        "Method",
        "guided follows the scan; partial noises and denoises it, and keeps lesions or loses anatomy.",
        advanced=True,
    )
    age: float | None = parameter(None, "Age", "Age of the person, if known.", unit="years", ge=0, le=120)
    sex: Literal["female", "male"] | None = parameter(None, "Sex", "Sex of the person, if known.")
    threshold: float | None = parameter(
        None,
        "Threshold",
        "|z| above which a place is a finding; empty takes the calibrated one.",
        unit="z",
        gt=0,
        le=50,
        advanced=True,
    )
    model: str = parameter("t1-brain-2mm", "Model", "Name of the prior.", advanced=True)


def memory(inputs: Mapping[str, Volume], parameters: HealParameters, batch: int, precision: str) -> int:
    """Peak bytes: the torch libraries, the scan on its own grid some twelve times over, and activations per
    sample.
    """
    voxels = max((volume.data.size for volume in inputs.values()), default=0)
    return int(1.2e9 + 12 * 4 * voxels + batch * (0.5e9 if precision == "bf16" else 0.9e9))


def run(
    inputs: Mapping[str, Volume], parameters: HealParameters, plan: Plan
) -> Generator[Progress, None, Result]:
    """Heal `inputs["scan"]`. Raises Refused for what the model may not judge."""
    scan = inputs["scan"]
    yield Progress(0.01, "Loading the models")
    import numpy as np
    import torch

    from ..findings import measure
    from ..healing import heal
    from ..heatmap import NormalMaps, heat, regions
    from ..imaging.grid import VOXEL_ML
    from ..models.loading import load_model
    from ..nets.anatomy import normalise
    from ..plausibility import faces_cut, judge
    from ..segment import ANATOMY_MODEL, Segmenter

    model = load_model(parameters.model)
    normal = NormalMaps.load(model.file(f"normal-{parameters.method}.safetensors"))
    anatomist = load_model(ANATOMY_MODEL)
    segmenter = Segmenter.load(plan.device, plan.precision, anatomist)
    yield Progress(0.05, "Finding and aligning the brain")
    data = np.asarray(scan.data, np.float32)
    frame = segmenter.frame(scan)
    yield Progress(0.15, "Recognising its anatomy")
    anatomy = segmenter.segment(frame, data)
    told = {"age": parameters.age, "sex": parameters.sex}
    sizes = anatomy.volumes() | {"intracranial": float(frame.mask.sum() * VOXEL_ML)}
    verdict = judge(frame, sizes, _outside(model, told), faces_cut(frame))

    seeds = [parameters.seed + n for n in range(parameters.samples)]
    steps = heal(
        model, frame.image, seeds, parameters.steps, told,
        method=parameters.method, around=frame.expected,
        device=plan.device, precision=plan.precision, batch=plan.batch,
    )  # fmt: skip
    healed = yield from _following(steps, 0.2, 0.75, "Healing", frame)
    yield Progress(0.77, "Comparing with normal brains")
    warm = heat(frame.image, healed, frame, normal)
    judged = _judged(anatomy, verdict.large_ventricles)
    z, signed = warm.z * judged, warm.signed * judged
    threshold = parameters.threshold or normal.threshold
    numbered, count = regions(z, threshold)

    yield Progress(0.82, "Naming the findings")
    structures = segmenter.segment_model(normalise(torch.from_numpy(healed.mean)), frame).labels
    yield Progress(0.88, "Bringing the results to the scan's grid")
    native = frame.to_native(numbered.astype(np.int16), order=0)
    agreeing = (np.sign(frame.image - healed.samples) == np.sign(signed)).mean(0)
    rows = measure(numbered, count, signed, agreeing, structures, frame, native, scan.voxel_ml)
    on_grid, changed = composite(data, frame, healed.mean, numbered > 0)
    on_scan = {
        "healed": on_grid,
        "heatmap": frame.to_native(z),
        "spread": frame.to_native(warm.spread),
        "findings_labels": native,
        "anatomy": anatomy.labels_on(scan.shape, scan.affine),
    }
    volumes = {role: scan.with_data(array) for role, array in on_scan.items()}
    provenance = {
        "model": _identity(model.card),
        "anatomy_model": _identity(anatomist.card) | {"confidence": round(anatomy.confidence, 3)},
        "solver": "dpmpp2m",
        "steps": parameters.steps,
        "seeds": seeds,
        "threshold": threshold,
        "calibration": {"brains": normal.brains, "threshold": normal.threshold},
        "voxels_changed": int(changed.sum()),
        "voxels_outside_changed": int((on_grid != data)[~changed].sum()),
        "figures": verdict.figures,
        "to_model_grid": frame.rigid.tolist(),
    }
    cautions = [card.caution for card in (model.card, anatomist.card) if card.caution]
    return _result(volumes, rows, verdict, threshold, provenance, cautions)


def composite(
    data: np.ndarray, frame: Frame, healed: np.ndarray, region: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The scan [X, Y, Z] with `healed` [80, 96, 80] in `region`, feathered, and where voxels changed (bool).

    Healed voxels replace the scan's inside: adding a residual would leave the lesion's edge behind. Elsewhere
    every voxel is the input's, bit for bit.
    """
    import numpy as np
    from scipy.ndimage import distance_transform_edt

    if not region.any():
        return data.copy(), np.zeros(data.shape, bool)
    distance = distance_transform_edt(~region)
    feather = np.clip(1 - (distance - 1) / (FEATHER_VOXELS + 1), 0, 1).astype(np.float32) * frame.mask
    weight = frame.to_native(feather)
    # Weighted before it is sampled, and by the brain's share after it: no background is mixed in at the edge.
    ours = frame.to_native(feather * frame.scale.to_native(healed) * np.exp(frame.log_bias))
    share = frame.to_native(frame.mask.astype(np.float32))
    changed = (weight > 0) & (share > 0.5)
    weight, ours = weight[changed] / share[changed], ours[changed] / share[changed]
    blended = data.copy()
    blended[changed] = (1 - weight) * data[changed] + ours
    return blended, changed


def _identity(card: Card) -> dict[str, Any]:
    return {"name": card.name, "sha256": card.sha256}


def _following(
    steps: Generator[Partway, None, Healed], low: float, high: float, stage: str, frame: Frame
) -> Generator[Progress, None, Healed]:
    """Pass on steps of healing as progress between `low` and `high`, some with a preview; their return value
    is the value.
    """
    shown = 0
    while True:
        try:
            step = next(steps)
        except StopIteration as end:
            return end.value
        due = math.ceil(step.share * PREVIEWS)
        preview = _preview(step, frame) if due > shown else None
        shown = due
        yield Progress(low + (high - low) * step.share, stage, preview)


def _preview(step: Partway, frame: Frame) -> Volume:
    """The samples' mean so far on the model grid, placed in the scan's space and in the scan's units."""
    import numpy as np

    from ..imaging.volume import Volume

    native = frame.scale.to_native(step.mean()) * np.exp(frame.log_bias) * frame.mask
    meta = {"title": "Healed scan, preview", "synthetic": True}
    return Volume(native.astype(np.float32), frame.affine @ frame.index, meta)


def _outside(model: Any, told: Mapping[str, Any]) -> str | None:
    for covariate in model.covariates:
        value = told.get(covariate.name)
        if value is not None and covariate.is_outside(covariate.value_of(value)):
            return covariate.outside_message(covariate.value_of(value)) + "."
    return None


def _judged(anatomy: Segmentation, large_ventricles: bool) -> np.ndarray:
    """Where the map is shown, float32 [80, 96, 80]: everywhere, but for ventricles outside the training range
    and their borders.
    """
    import numpy as np
    from scipy.ndimage import binary_dilation

    from ..anatomy import VENTRICLES

    if not large_ventricles:
        return np.ones(anatomy.labels.shape, np.float32)
    ventricles = np.isin(anatomy.labels, VENTRICLES)
    return (~binary_dilation(ventricles, iterations=2)).astype(np.float32)


def _result(
    volumes: Mapping[str, Volume],
    rows: list[dict[str, Any]],
    verdict: Any,
    threshold: float,
    provenance: dict[str, Any],
    cautions: list[str],
) -> Result:
    from ..anatomy import STRUCTURES
    from ..report import FINDING_COLUMNS, HEAT_WINDOW
    from ..result import Artifact, Result

    names = {s.index: f"{s.side} {s.name}".strip() for s in STRUCTURES if s.index}
    numbers = {row["number"]: f"{row['number']}: {row['side']} {row['structure']}" for row in rows}

    def volume(
        role: str, kind: Literal["volume", "labels"], display: dict[str, Any], synthetic: bool = True
    ) -> Artifact:
        return Artifact(role, kind, volumes[role], display=display, of="scan", synthetic=synthetic)

    window = list(HEAT_WINDOW)
    artifacts = [
        volume("healed", "volume", {"unit": "as the scan", "title": "Healed scan"}),
        volume(
            "heatmap",
            "volume",
            {
                "window": window,
                "colors": "heat",
                "unit": "z",
                "threshold": threshold,
                "title": "Difference to a healthy prior",
            },
        ),
        volume(
            "spread",
            "volume",
            {"window": [0, 0.2], "colors": "heat", "unit": "white matter", "title": "Spread of the samples"},
        ),
        volume("findings_labels", "labels", {"names": numbers, "title": "Findings"}),
        volume("anatomy", "labels", {"names": names, "title": "Anatomy of the scan"}, synthetic=False),
        Artifact("findings", "table", rows=rows, display={"columns": FINDING_COLUMNS}, of="heatmap"),
    ]
    judgement = " ".join([*cautions, verdict.summary])
    return Result("heal", artifacts, verdict.plausible and not cautions, judgement, [MISSES], provenance)


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
)
