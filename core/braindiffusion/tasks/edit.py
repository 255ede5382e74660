"""Edit a real brain: the same person with larger ventricles, or older (methods.md A06, C20)."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from pydantic import model_validator

from ..telling import between
from .base import Input, Parameters, Progress, Task, age_of_person, following, parameter, sex_of_person
from .generate import MODEL
from .scan import Brain, Models, recognised

if TYPE_CHECKING:
    import numpy as np

    from ..editing import Edited
    from ..healing import Partway
    from ..imaging.frame import Frame
    from ..imaging.volume import Volume
    from ..plan import Plan
    from ..result import Artifact, Result, Row
    from ..segment import Segmenter

INVENTED = (
    "The change is what the model has learnt to go with it in other people; nothing says that this person "
    "will look so."
)
COLUMNS = {
    "what": "what",
    "before": "before",
    "asked": "asked for",
    "after": "after",
    "dark_before": "before, by threshold",
    "dark_after": "after, by threshold",
}


class EditParameters(Parameters):
    """What a user may set."""

    age: float | None = age_of_person()
    sex: Literal["female", "male"] | None = sex_of_person()
    ventricles_by: float = parameter(
        0.0, "Change ventricles by", "Above 0 they are made larger.", unit="ml", ge=-200, le=200
    )
    brain_by: float = parameter(
        0.0, "Change brain by", "Above 0 it is made larger.", unit="ml", ge=-500, le=500
    )
    age_by: float = parameter(
        0.0, "Change age by", "Above 0 the person is made older.", unit="years", ge=-80, le=80
    )
    steps: int = parameter(
        20,
        "Steps",
        "Steps of the sampler there and back; more is slower and loses less on the way.",
        ge=2,
        le=200,
        advanced=True,
    )
    start: float = parameter(
        10.0,
        "Noise",
        "Noise (sigma; white matter is 1) to which the brain is taken; more allows larger changes.",
        ge=0.5,
        le=20,
        advanced=True,
    )
    model: str = parameter(MODEL, "Model", "Name of the prior.", advanced=True)

    @model_validator(mode="after")
    def _age_is_known(self) -> EditParameters:
        if self.age_by and self.age is None:
            raise ValueError("to change the age of a person, give the age in the scan too")
        return self

    def told(self) -> dict[str, Any]:
        return {"age": self.age, "sex": self.sex}

    def changes(self) -> dict[str, float]:
        """By how much each covariate shall change."""
        return {"ventricles": self.ventricles_by, "brain": self.brain_by, "age": self.age_by}


def memory(inputs: Mapping[str, Volume], parameters: EditParameters, batch: int, precision: str) -> int:
    """Peak bytes: torch, the scan on its own grid some fifteen times over, and activations of two brains."""
    voxels = max((volume.data.size for volume in inputs.values()), default=0)
    return int(1.4e9 + 15 * 4 * voxels + 2 * (0.5e9 if precision == "bf16" else 0.9e9))


def run(
    inputs: Mapping[str, Volume], parameters: EditParameters, plan: Plan
) -> Generator[Progress, None, Result]:
    """Change `inputs["scan"]`. Raises Refused for what the model may not judge."""
    from ..editing import edit

    scan = inputs["scan"]
    yield Progress(0.01, "Loading the models")
    models = Models.load(parameters.model, plan)
    brain = yield from recognised(scan, models, parameters.told(), plan, 0.05, 0.3)
    sizes = brain.anatomy.volumes()
    own = parameters.told() | {name: round(sizes[name], 1) for name in ("ventricles", "brain")}
    # An unknown value has nothing to change.
    changed = own | {
        name: round(max(own[name] + by, 0.0), 1)
        for name, by in parameters.changes().items()
        if own[name] is not None
    }
    measure = partial(_volumes, brain=brain, segmenter=models.segmenter)
    steps = edit(
        models.prior, brain.frame.image, own, changed, parameters.steps, start=parameters.start,
        measure=measure, device=plan.device, precision=plan.precision, tell=between(plan.tell, 0.3, 0.4),
    )  # fmt: skip
    yield Progress(0.3, "Finding the brain's shape")
    preview = partial(_preview, frame=brain.frame)
    edited = yield from following(steps, 0.4, 0.85, "Editing", preview)
    yield Progress(0.85, "Measuring what was changed")
    rows = _measured(brain, edited, own, changed, models.segmenter)
    yield Progress(0.92, "Bringing the result to the scan's grid")
    return _result(scan, brain, edited, rows, models, parameters, changed)


def _preview(step: Partway, frame: Frame) -> Volume:
    """The brain as it will be, so far, placed in the scan's space and in the scan's units."""
    import numpy as np

    from ..imaging.volume import Volume

    model = step.x0[-1, 0].float().cpu().numpy().clip(0)
    native = (frame.scanner_intensity(model) * frame.mask).astype(np.float32)
    return Volume(native, frame.affine @ frame.index, {"title": "Edited scan, preview", "synthetic": True})


def _volumes(image: np.ndarray, brain: Brain, segmenter: Segmenter) -> dict[str, float]:
    """Ventricles and brain in ml of the brain when it looks like `image` [80, 96, 80]."""
    import torch

    from ..nets.anatomy import normalise

    seen = segmenter.segment_model(normalise(torch.from_numpy(image)), brain.frame).volumes()
    return {name: seen[name] for name in ("ventricles", "brain")}


def _measured(
    brain: Brain,
    edited: Edited,
    own: Mapping[str, Any],
    changed: Mapping[str, Any],
    segmenter: Segmenter,
) -> list[Row]:
    """Ventricles and brain in ml, before and after, by the network; the ventricles by threshold too."""
    import numpy as np

    from ..generating import dark_ml

    after = _volumes(edited.image, brain, segmenter)
    to_template = np.linalg.inv(brain.frame.template_index)
    dark = {
        "dark_before": round(dark_ml(brain.frame.image, to_template), 1),
        "dark_after": round(dark_ml(edited.image, to_template), 1),
    }
    rows: list[Row] = [
        {
            "what": f"{name} (ml)",
            "before": round(own[name], 1),
            "asked": round(changed[name], 1),
            "after": round(after[name], 1),
        }
        for name in ("ventricles", "brain")
    ]
    rows[0] |= dark
    return rows


def _result(
    scan: Volume,
    brain: Brain,
    edited: Edited,
    rows: list[Row],
    models: Models,
    parameters: EditParameters,
    changed: Mapping[str, Any],
) -> Result:
    import numpy as np

    from ..diffusion.covariate import outside
    from ..editing import in_scan
    from ..result import Result

    frame = brain.frame
    on_grid, touched = in_scan(brain.data, frame, edited)
    difference = np.abs(edited.image - frame.image)
    provenance = models.provenance(brain, "invert and dpmpp2m", parameters.steps) | {
        "round_trip_error": round(edited.error, 4),
        "voxels_changed": int(touched.sum()),
        "voxels_outside_changed": int((on_grid != brain.data)[~touched].sum()),
    }
    strange = outside(models.prior.covariates, changed)
    lost = f"Encoding and decoding this brain without a change errs by {edited.error:.1%} of white matter"
    notes = [
        INVENTED,
        f"{lost} (root mean square); that error is not in the result.",
        *(f"{sentence[:-1]}; the result is an extrapolation." for sentence in strange),
    ]
    judgement = models.judgement(brain)
    judgement["plausible"] &= not strange
    artifacts = _artifacts(scan, on_grid, frame.to_native(difference), rows)
    return Result("edit", artifacts, notes=notes, provenance=provenance, **judgement)


def _artifacts(scan: Volume, edited: np.ndarray, difference: np.ndarray, rows: list[Row]) -> list[Artifact]:
    from ..editing import CHANGED
    from ..result import Artifact

    heat = {"window": [CHANGED, 0.5], "colors": "heat", "unit": "white matter", "title": "Difference"}
    grey = {"unit": "as the scan", "title": "Edited scan"}
    return [
        Artifact("edited", "volume", scan.with_data(edited), display=grey, of="scan"),
        Artifact("difference", "volume", scan.with_data(difference), display=heat, of="scan"),
        Artifact("changes", "table", rows=rows, display={"columns": COLUMNS}, of="edited"),
    ]


TASK = Task(
    name="edit",
    title="Edit a brain",
    summary="Show a person's brain as it would be with larger ventricles, another size or another age.",
    parameters=EditParameters,
    run=run,
    inputs=(Input("scan", "Scan", "A T1-weighted head or brain without contrast agent."),),
    memory=memory,
)
