"""Fill a marked region of a T1 scan with plausible healthy tissue, several times (methods.md B2)."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

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
from .scan import Brain, Models, outside_brain, preview, recognised, variants_of

if TYPE_CHECKING:
    import numpy as np

    from ..imaging.volume import Volume
    from ..inpainting import Site
    from ..plan import Plan
    from ..result import Artifact, Result, Row

INVENTED = (
    "What fills the region is invented: a healthy brain might look so there, and nothing says that this "
    "person's did."
)
SOLVERS = {"guided": "dpmpp2m", "resample": "resample", "posterior": "dpmpp2m with posterior guidance"}
SPREAD_WINDOW = (0, 0.2)
SPREADS = {"spread": "Spread of the fillings", "error": "How far the filling may be off"}
COLUMNS = {
    "filling": "filling",
    "mask_ml": "mask (ml)",
    "filled_ml": "filled (ml)",
    "changed_outside": "voxels changed outside the mask",
    "seam": "edge (1: as around)",
}


class InpaintParameters(Drawn):
    """What a user may set."""

    seed: int = parameter(0, "Seed", "The same seed gives the same voxels.", ge=0, le=2**32 - 1)
    samples: int = parameter(
        5,
        "Fillings",
        "Fillings that are drawn: the first has the likeliest shape, the others lie about it in pairs. They "
        "differ less from each other than from the truth: with two or more, a map says how far the first may "
        "be off.",
        ge=1,
        le=16,
    )
    label: int = parameter(
        0,
        "Label",
        "Value in the mask that is filled, such as the number of a finding; 0 fills all that is marked.",
        ge=0,
        le=2**31 - 1,
        advanced=True,
    )
    widen: float = parameter(
        0.0,
        "Widen the mask",
        "Fill all that lies so near to the mask, too. A finding is often smaller than its lesion, and a rim "
        "that is left of it would be taken for the tissue that belongs there.",
        unit="mm",
        for_place=4.0,
        ge=0,
        le=20,
    )
    method: Literal["guided", "resample", "posterior"] = parameter(
        "resample",
        "Method",
        "resample and posterior fit an average brain to the scan and draw detail that agrees with the tissue "
        "around the mask; guided is a network that has learnt to fill holes.",
        advanced=True,
    )
    steps: int = sampler_steps(3)
    repeats: int = parameter(
        2,
        "Repeats of resample",
        "How often resample makes each step, so that the filling and the tissue around it agree.",
        ge=1,
        le=20,
        advanced=True,
    )
    age: float | None = age_of_person()
    sex: Literal["female", "male"] | None = sex_of_person()
    keep_samples: bool = parameter(
        True, "Keep the fillings", "Give each filling too, not the first and their mean alone.", advanced=True
    )
    model: str = parameter(
        "auto", "Model", "Name of the prior; auto takes the one that goes with the method.", advanced=True
    )

    def told(self) -> dict[str, Any]:
        return {"age": self.age, "sex": self.sex}

    def prior(self) -> str:
        """Name of the prior."""
        fitting = "t1-brain-2mm" if self.method == "guided" else "t1-brain-2mm-generate"
        return fitting if self.model == "auto" else self.model

    def usual(self) -> bool:
        """Whether fillings are made in the way whose error was measured."""
        return self.method == "resample" and self.prior() == "t1-brain-2mm-generate"


def memory(inputs: Mapping[str, Volume], parameters: InpaintParameters, batch: int, precision: str) -> int:
    """Peak bytes: torch, the images on their own grids, and activations per filling; posterior keeps those of
    every layer.
    """
    voxels = max((volume.data.size for volume in inputs.values()), default=0)
    each = 0.5e9 if precision == "bf16" else 0.9e9
    layers = 8 if parameters.method == "posterior" else 1
    return int(1.2e9 + (10 + parameters.samples) * 4 * voxels + batch * layers * each)


def run(
    inputs: Mapping[str, Volume], parameters: InpaintParameters, plan: Plan
) -> Generator[Progress, None, Result]:
    """Fill `inputs["mask"]` in `inputs["scan"]`. Raises Refused for a mask or a scan that cannot be used."""
    from ..inpainting import Site, hole_in, inpaint, shapes_of, unseen
    from ..masks import region_on, widened

    scan = inputs["scan"]
    region, notes = region_on(scan, inputs["mask"], parameters.label)
    region, wider = widened(scan, region, parameters.widen)
    notes += wider
    yield Progress(0.01, "Loading the models")
    models = Models.load(parameters.prior(), plan)
    yield Progress(0.03, "Hiding the region")
    hidden, stripped = unseen(scan, region)
    brain = yield from recognised(hidden, models, parameters.told(), plan, 0.05, 0.4)
    frame = brain.frame
    hole, site = hole_in(frame, region), Site.of(scan, frame, region, stripped)
    yield Progress(0.4, "Fitting an average brain")
    guided = parameters.method == "guided"
    tell = between(plan.tell, 0.4, 0.45)
    shapes = None if guided else shapes_of(models.prior, frame.image, hole, parameters.seeds(), tell)
    steps = inpaint(
        models.prior, frame.image, hole, parameters.seeds(), parameters.steps, parameters.told(),
        around=frame.expected, shapes=shapes, method=parameters.method, repeats=parameters.repeats,
        device=plan.device, precision=plan.precision, batch=plan.batch,
    )  # fmt: skip
    fillings = yield from following(
        steps, 0.45, 0.9, "Filling the region", partial(preview, frame=frame, title="Filled scan, preview")
    )
    yield Progress(0.9, "Joining the fillings with the scan")
    result = _result(scan, region, models, brain, site, fillings, parameters)
    result.notes[:0] = notes
    return result


def _result(
    scan: Volume,
    region: np.ndarray,
    models: Models,
    brain: Brain,
    site: Site,
    fillings: np.ndarray,
    parameters: InpaintParameters,
) -> Result:
    import numpy as np

    from ..filling_error import calibrated, within_range
    from ..result import Result

    data = np.asarray(scan.data, np.float32)
    joined = np.stack(site.put_in(brain.frame, fillings))
    variants = [site.on_scan(data, one) for one in joined]
    nothing, white = np.zeros_like(data), brain.frame.scale.white
    on_scan = {
        "inpainted": variants[0],
        "mean": site.on_scan(data, joined.mean(0)),
        "spread": site.on_scan(nothing, joined.std(0) / white),
    }
    error = share = None
    if parameters.usual():
        error = calibrated(models.prior, site, joined / white)
        share = within_range(models.prior.card.measured, len(joined))
    if error is not None:
        on_scan["error"] = site.on_scan(nothing, error)
    filled_ml, mask_ml = (float(where.sum()) * scan.voxel_ml for where in (site.region, region))
    images = {**{str(n): one for n, one in enumerate(variants, 1)}, "mean": on_scan["mean"]}
    rows: list[Row] = [
        {
            "filling": name,
            "mask_ml": round(mask_ml, 3),
            "filled_ml": round(filled_ml, 3),
            "changed_outside": int((image != data)[~region].sum()),
            "seam": _rounded(site.seam(image[site.box])),
        }
        for name, image in images.items()
    ]
    changed = sum(row["changed_outside"] for row in rows)
    provenance = models.provenance(brain, SOLVERS[parameters.method], parameters.steps) | {
        "seeds": parameters.seeds(),
        "mask_ml": round(mask_ml, 3),
        "filled_ml": round(filled_ml, 3),
        "voxels_changed": int((variants[0] != data).sum()),
        "voxels_outside_changed": changed,
    }
    volumes = {role: scan.with_data(array) for role, array in on_scan.items()}
    kept = variants if parameters.keep_samples else []
    artifacts = [*_artifacts(volumes, rows), *variants_of(scan, kept, "Fillings", "filling")]
    notes = [f"Voxels changed outside the mask: {changed}.", *_warnings(mask_ml, filled_ml), INVENTED]
    if share is not None:
        notes.append(
            f"In healthy regions of other brains the truth lay between the lowest and the highest of "
            f"{len(joined)} fillings in {share:.0%} of the voxels."
        )
    return Result("inpaint", artifacts, notes=notes, provenance=provenance, **models.judgement(brain))


def _warnings(mask_ml: float, filled_ml: float) -> list[str]:
    from ..inpainting import LARGEST_ML

    notes = outside_brain(mask_ml, filled_ml)
    if filled_ml > LARGEST_ML:
        notes.append(
            f"The region of {filled_ml:.0f} ml is larger than those that the model has learnt to fill (up to "
            f"{LARGEST_ML:.0f} ml)."
        )
    return notes


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _artifacts(volumes: Mapping[str, Volume], rows: list[Row]) -> list[Artifact]:
    from ..result import Artifact

    gray = {"unit": "as the scan"}
    warm = {"window": list(SPREAD_WINDOW), "colors": "heat", "unit": "white matter"}
    return [
        Artifact(
            "inpainted", "volume", volumes["inpainted"], display=gray | {"title": "Filled scan"}, of="scan"
        ),
        Artifact(
            "mean", "volume", volumes["mean"], display=gray | {"title": "Mean of the fillings"}, of="scan"
        ),
        *(
            Artifact(role, "volume", volumes[role], display=warm | {"title": title}, of="scan")
            for role, title in SPREADS.items()
            if role in volumes
        ),
        Artifact("fillings", "table", rows=rows, display={"columns": COLUMNS}, of="inpainted"),
    ]


TASK = Task(
    name="inpaint",
    title="Fill a region",
    summary="Fill a marked region of a T1-weighted brain with plausible healthy tissue, several times.",
    parameters=InpaintParameters,
    run=run,
    inputs=(
        Input("scan", "Scan", "A T1-weighted head or brain without contrast agent."),
        Input(
            "mask",
            "Mask",
            "The region to fill, such as a tumour or a finding: what is not 0 in a label map or mask.",
            kind="labels",
        ),
    ),
    memory=memory,
)
