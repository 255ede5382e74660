"""Paint pathology on a healthy T1 scan: tissue labels become their image (methods.md B2.2)."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from ..pathology import RIM, TISSUES, Tissue, tissues
from .base import Drawn, Input, Progress, Task, following, parameter, sampler_steps
from .scan import Brain, Models, outside_brain, preview, recognised, variants_of

if TYPE_CHECKING:
    import numpy as np

    from ..imaging.volume import Volume
    from ..inpainting import Site
    from ..plan import Plan
    from ..result import Artifact, Result, Row

SIMULATED = (
    "The pathology is painted, and how it looks was learnt from simulated tissue, not from patients; nothing "
    "is pushed aside by it."
)
BRIGHT = (
    "The rim is as bright as after contrast agent, though the scan is one without; nothing else of the scan "
    "enhances."
)
COLUMNS = {
    "painting": "painting",
    "tissue": "tissue",
    "label": "label",
    "volume_ml": "volume (ml)",
    "before": "mean before (white matter is 1)",
    "asked": "asked for",
    "after": "mean after",
    "low": "expected from",
    "high": "expected to",
    "within": "share of voxels in that range",
}


def _brightness(n: int, highest: float | None = None) -> Any:
    tissue = TISSUES[n]
    low, high = (tissue.low if n != RIM else 0.7), highest or tissue.high
    return parameter(
        None,
        f"Brightness of {tissue.name}",
        f"Mean intensity of {tissue.name}; empty draws it for each painting.",
        unit="of white matter",
        advanced=True,
        ge=low,
        le=high,
    )


class PaintParameters(Drawn):
    """What a user may set."""

    seed: int = parameter(0, "Seed", "The same seed gives the same voxels.", ge=0, le=2**32 - 1)
    samples: int = parameter(
        3,
        "Paintings",
        "Paintings that are drawn; each has its own brightness and texture.",
        ge=1,
        le=16,
    )
    contrast_agent: bool = parameter(
        True,
        "Rim with contrast agent",
        "Paint an enhancing rim brighter than white matter, as after contrast agent; off, as a scan without "
        "it shows it.",
    )
    steps: int = sampler_steps(8)
    necrotic_core: float | None = _brightness(0)
    oedema: float | None = _brightness(1)
    lesion: float | None = _brightness(2)
    enhancing_rim: float | None = _brightness(3)
    keep_samples: bool = parameter(
        True, "Keep the paintings", "Give each painting, not the first alone.", advanced=True
    )
    model: str = parameter("t1-brain-2mm-paint", "Model", "Name of the model.", advanced=True)

    def wanted(self) -> list[float | None]:
        """How bright each tissue is meant to be, in the order of TISSUES."""
        return [self.necrotic_core, self.oedema, self.lesion, self.enhancing_rim]


def memory(inputs: Mapping[str, Volume], parameters: PaintParameters, batch: int, precision: str) -> int:
    """Peak bytes: torch, the images on their own grids, and activations per painting."""
    voxels = max((volume.data.size for volume in inputs.values()), default=0)
    each = 0.4e9 if precision == "bf16" else 0.7e9
    return int(1.2e9 + (10 + parameters.samples) * 4 * voxels + batch * each)


def run(
    inputs: Mapping[str, Volume], parameters: PaintParameters, plan: Plan
) -> Generator[Progress, None, Result]:
    """Paint `inputs["mask"]` on `inputs["scan"]`. Raises Refused for a mask or a scan that cannot be used."""
    from ..inpainting import Site, hole_in
    from ..painting import draw_levels, paint, shares_in, tissues_on
    from ..segment import is_stripped, stripped_mask

    scan = inputs["scan"]
    painted, notes = tissues_on(scan, inputs["mask"])
    yield Progress(0.01, "Loading the models")
    models = Models.load(parameters.model, plan)
    brain = yield from recognised(scan, models, {}, plan, 0.03, 0.5)
    frame, region = brain.frame, painted > 0
    hole_in(frame, region, rim=0)
    site = Site.of(scan, frame, region, stripped_mask(scan) if is_stripped(scan) else None)
    shares = shares_in(frame, painted)
    shown = tissues(parameters.contrast_agent)
    levels = draw_levels(shown, parameters.wanted(), parameters.seeds())
    steps = paint(
        models.prior, frame.image, shares, levels, parameters.seeds(), parameters.steps,
        device=plan.device, precision=plan.precision, batch=plan.batch,
    )  # fmt: skip
    show = partial(preview, frame=frame, title="Painted scan, preview")
    images = yield from following(steps, 0.5, 0.9, "Painting", show)
    yield Progress(0.9, "Laying the paintings on the scan")
    result = _result(scan, models, brain, _Painting(site, painted, shares, shown, levels, images), parameters)
    result.notes[:0] = notes
    return result


@dataclass(frozen=True)
class _Painting:
    """What was painted: where, `tissues_on` the scan and its shares of the model's voxels, which tissues and
    how bright, and the images on the model grid.
    """

    site: Site
    painted: np.ndarray
    shares: np.ndarray
    tissues: tuple[Tissue, ...]
    levels: np.ndarray
    images: np.ndarray


def _result(
    scan: Volume, models: Models, brain: Brain, made: _Painting, parameters: PaintParameters
) -> Result:
    import numpy as np

    from ..painting import laid_on, table_of
    from ..result import Result

    data, site, frame = np.asarray(scan.data, np.float32), made.site, brain.frame
    laid = laid_on(site, frame, made.painted, made.shares, made.levels, made.images)
    rows = table_of(site, frame, made.painted, made.tissues, made.levels, laid)
    variants = [site.on_scan(data, one) for one in laid]
    changed = sum(int((one != data)[made.painted == 0].sum()) for one in variants)
    used = site.on_scan(np.zeros(data.shape, np.uint8), made.painted[site.box])
    by_value = np.array([0, *(tissue.label for tissue in TISSUES)], np.uint8)
    mask_ml, painted_ml = (float(np.count_nonzero(a)) * scan.voxel_ml for a in (made.painted, used))
    notes = [f"Voxels changed outside the mask: {changed}.", *outside_brain(mask_ml, painted_ml), SIMULATED]
    if parameters.contrast_agent and any(row["tissue"] == TISSUES[RIM].name for row in rows):
        notes.append(BRIGHT)
    provenance = models.provenance(brain, "dpmpp2m", parameters.steps) | {
        "seeds": parameters.seeds(),
        "levels": made.levels.round(3).tolist(),
        "mask_ml": round(mask_ml, 3),
        "painted_ml": round(painted_ml, 3),
        "voxels_changed": int((variants[0] != data).sum()),
        "voxels_outside_changed": changed,
    }
    artifacts = _artifacts(scan.with_data(variants[0]), scan.with_data(by_value[used]), rows)
    artifacts += variants_of(scan, variants if parameters.keep_samples else [], "Paintings", "painting")
    return Result("paint", artifacts, notes=notes, provenance=provenance, **models.judgement(brain))


def _artifacts(first: Volume, labels: Volume, rows: list[Row]) -> list[Artifact]:
    from ..result import Artifact

    gray = {"unit": "as the scan"}
    there = {row["label"]: row["tissue"] for row in rows}
    return [
        Artifact("painted", "volume", first, display=gray | {"title": "Painted scan"}, of="scan"),
        Artifact(
            "labels",
            "labels",
            labels,
            display={
                "title": "Painted tissues",
                "names": {str(label): name for label, name in there.items()},
            },
            of="painted",
        ),
        Artifact("tissues", "table", rows=rows, display={"columns": COLUMNS}, of="painted"),
    ]


TASK = Task(
    name="paint",
    title="Paint pathology",
    summary="Paint tissue labels (necrotic core, oedema, lesion, enhancing rim) on a healthy T1-weighted "
    "brain, several times.",
    parameters=PaintParameters,
    run=run,
    inputs=(
        Input("scan", "Scan", "A T1-weighted head or brain without contrast agent."),
        Input(
            "mask",
            "Mask",
            "What is painted: a segmentation whose segments are named after tissues, or a label map with 1 "
            "necrotic core, 2 oedema, 3 lesion, 4 enhancing rim.",
            kind="segments",
        ),
    ),
    memory=memory,
)
