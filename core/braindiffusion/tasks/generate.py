"""Generate brains from age, sex, ventricular and brain volume (methods.md B1.1, A21), at 2 mm or 1 mm."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..paths import resources
from ..telling import between
from .base import Drawn, Progress, Task, following, parameter

if TYPE_CHECKING:
    import numpy as np

    from ..healing import Partway
    from ..imaging.volume import Volume
    from ..models.loading import Model
    from ..plan import Plan
    from ..result import Artifact, Result, Row

MODEL = "t1-brain-2mm-generate"
DETAIL_MODEL = "t1-brain-1mm"
CLOSE = {"ventricles": (5.0, 0.25), "brain": (40.0, 0.05)}
"""How far a measured volume may be from the one that was asked for: ml, or that share of it."""
_DETAIL_BYTES = {"bf16": 1.0e9, "fp32": 1.6e9}
"""Of drawing the detail of one brain, by precision."""
PREVIEWS = 20
"""How often at most a run shows what it has so far: it is watched for its own sake."""


def covariate(name: str, default_label: str, default_unit: str, most: float) -> Any:
    """The parameter of a covariate, None for unknown. Its label, unit and range are those of the card of the
    shipped model; without one, as before the first training, only what is given here is known.
    """
    from ..diffusion.covariate import Covariate
    from ..models.card import folder_of, read_card

    shipped = (resources() / "models" / MODEL / "card.json").is_file()
    card = {c.name: c for c in read_card(folder_of(MODEL)).conditions()} if shipped else {}
    known = card.get(name, Covariate(name, default_label, default_unit, 0, most))
    trained = f"{known.low:g} to {known.high:g}"
    help = f"Left open it is drawn by chance; the model was trained on {trained} {known.unit}."
    middle = round((known.low + known.high) / 2)
    made = parameter(
        None, known.label, help, unit=known.unit, ge=0, le=max(most, known.high), examples=[middle]
    )
    made.json_schema_extra["range"] = [known.low, known.high]
    return made


class GenerateParameters(Drawn):
    """What a user may set."""

    age: float | None = covariate("age", "Age", "years", 120)
    sex: Literal["female", "male"] | None = parameter(None, "Sex", "Left open it is drawn by chance.")
    ventricles: float | None = covariate("ventricles", "Ventricular volume", "ml", 300)
    brain: float | None = covariate("brain", "Brain volume", "ml", 2500)
    samples: int = parameter(4, "Brains", "How many brains are made, one seed for each.", ge=1, le=64)
    seed: int = parameter(0, "Seed", "The same seed gives the same voxels.", ge=0, le=2**32 - 1)
    voxel_size: Literal[2, 1] = parameter(
        2,
        "Voxel size",
        "At 1 mm a second network draws the detail that 2 mm leave open, which takes longer; volumes are "
        "measured before.",
        unit="mm",
    )
    steps: int = parameter(
        20,
        "Steps",
        "Steps of the sampler; more is slower and a little more precise.",
        ge=2,
        le=200,
        advanced=True,
    )
    guidance: float = parameter(
        1.0,
        "Guidance",
        "Weight of the covariates; above 1 they are followed more closely, with less variety and in twice "
        "the time.",
        ge=0,
        le=10,
        advanced=True,
    )
    model: str = parameter(MODEL, "Model", "Name of the prior.", advanced=True)

    def told(self) -> dict[str, Any]:
        return {"age": self.age, "sex": self.sex, "ventricles": self.ventricles, "brain": self.brain}


def memory(inputs: Mapping[str, Volume], parameters: GenerateParameters, batch: int, precision: str) -> int:
    """Peak bytes: torch, the brains thrice, and activations for each sample that is computed at once. Detail
    is drawn for one brain after the other.
    """
    brains = 3 * parameters.samples * 4 * 80 * 96 * 80
    at_once = batch * (1 if parameters.guidance in (0, 1) else 2) * (0.5e9 if precision == "bf16" else 0.9e9)
    if parameters.voxel_size == 2:
        return int(1.4e9 + brains + at_once)
    return int(1.4e9 + 9 * brains + max(at_once, _DETAIL_BYTES[precision]))


def run(
    inputs: Mapping[str, Volume], parameters: GenerateParameters, plan: Plan
) -> Generator[Progress, None, Result]:
    """Generate and measure. Takes no image."""
    from ..generating import generate
    from ..models.loading import load_model
    from ..segment import ANATOMY_MODEL, Segmenter
    from ..sharpening import sharpen

    yield Progress(0.01, "Loading the models")
    prior, anatomist = load_model(parameters.model), load_model(ANATOMY_MODEL)
    detailer = load_model(DETAIL_MODEL) if parameters.voxel_size == 1 else None
    segmenter = Segmenter.load(plan.device, plan.precision, anatomist)
    steps = generate(
        prior, parameters.told(), parameters.seeds(), parameters.steps, weight=parameters.guidance,
        device=plan.device, precision=plan.precision, batch=plan.batch,
    )  # fmt: skip
    drawn = 0.7 if detailer is None else 0.3
    brains = yield from following(steps, 0.05, drawn, "Generating", _preview, PREVIEWS)
    rows = yield from _measured(brains, segmenter, parameters, plan, (drawn, drawn + 0.28))
    if detailer is not None:
        seeds = parameters.seeds()
        steps = sharpen(detailer, list(brains), seeds, device=plan.device, precision=plan.precision)
        brains = yield from following(steps, drawn + 0.28, 0.98, "Drawing detail at 1 mm", _preview)
    return _result(brains, rows, prior, anatomist, detailer, parameters)


def _measured(
    brains: np.ndarray,
    segmenter: Any,
    parameters: GenerateParameters,
    plan: Plan,
    shares: tuple[float, float],
) -> Generator[Progress, None, list[Row]]:
    """One row for each brain: what was asked for and what was measured, in ml."""
    from ..generating import measured

    rows = []
    first, last = shares
    for n, (brain, seed) in enumerate(zip(brains, parameters.seeds(), strict=True)):
        low, high = (first + (last - first) * (n + done) / len(brains) for done in (0, 1))
        yield Progress(low, f"Measuring brain {n + 1} of {len(brains)}")
        found = measured(brain, segmenter, between(plan.tell, low, high))
        asked = parameters.told()
        rows.append(
            {
                "sample": n + 1,
                "seed": seed,
                "age": asked["age"],
                "sex": asked["sex"],
                "ventricles_asked_ml": asked["ventricles"],
                "ventricles_ml": round(found["ventricles"], 1),
                "ventricles_dark_ml": round(found["dark_ventricles"], 1),
                "brain_asked_ml": asked["brain"],
                "brain_ml": round(found["brain"], 1),
                "intracranial_ml": round(found["intracranial"], 1),
            }
        )
    return rows


def _result(
    brains: np.ndarray,
    rows: list[Row],
    prior: Model,
    anatomist: Model,
    detailer: Model | None,
    parameters: GenerateParameters,
) -> Result:
    from ..diffusion.covariate import outside
    from ..result import Result

    strange = outside(prior.covariates, parameters.told())
    missed = missing(rows)
    cautions = [model.card.caution for model in (prior, anatomist, detailer) if model and model.card.caution]
    met = "The brains measure what was asked for." if _asked(rows) else "The brains were drawn and measured."
    provenance = {
        "model": prior.card.identity,
        "anatomy_model": anatomist.card.identity,
        **({"detail_model": detailer.card.identity} if detailer else {}),
        "solver": "dpmpp2m",
        "steps": parameters.steps,
        "guidance": parameters.guidance,
        "seeds": parameters.seeds(),
    }
    return Result(
        "generate",
        _artifacts(brains, rows),
        plausible=not (missed or strange or cautions),
        verdict=" ".join([*cautions, *(missed or [met])]),
        notes=[f"{sentence[:-1]}; the result is an extrapolation." for sentence in strange],
        provenance=provenance,
    )


def _asked(rows: list[Row]) -> bool:
    return any(row[f"{name}_asked_ml"] is not None for row in rows for name in CLOSE)


def missing(rows: list[Row]) -> list[str]:
    """A sentence for each volume that was asked for and that some brains of the table miss (`CLOSE`)."""
    sentences = []
    for name, (ml, share) in CLOSE.items():
        asked = [row for row in rows if row[f"{name}_asked_ml"] is not None]
        far = [
            abs(row[f"{name}_ml"] - row[f"{name}_asked_ml"])
            for row in asked
            if abs(row[f"{name}_ml"] - row[f"{name}_asked_ml"]) > max(ml, share * row[f"{name}_asked_ml"])
        ]
        if far:
            label = "ventricular" if name == "ventricles" else "brain"
            sentences.append(
                f"The {label} volume of {len(far)} of {len(asked)} brains is not what was asked for "
                f"(by up to {max(far):.0f} ml)."
            )
    return sentences


def _preview(step: Partway) -> Volume:
    """The first brain that is under way: the mean of several would never sharpen."""
    from ..generating import in_template_space

    return in_template_space(step.x0[0, 0].float().cpu().numpy().clip(0), "Generated brain, preview")


def _artifacts(brains: np.ndarray, rows: list[Row]) -> list[Artifact]:
    from ..generating import in_template_space
    from ..report_samples import VOLUME_COLUMNS, scatter
    from ..result import Artifact

    grey = {"window": [0, 1.2], "unit": "white matter"}
    display = grey | {"title": "Generated brains", "index": "sample"}
    volumes = [in_template_space(brain) for brain in brains]
    artifacts = [Artifact("brains", "sequence", volumes=volumes, display=display)]
    if len(brains) > 1:
        heat = {"window": [0, 0.3], "colors": "heat", "unit": "white matter"}
        mean, spread = in_template_space(brains.mean(0)), in_template_space(brains.std(0))
        artifacts += [
            Artifact("mean", "volume", mean, display=grey | {"title": "Mean of the brains"}),
            Artifact("spread", "volume", spread, display=heat | {"title": "SD of the brains"}),
        ]
    table = Artifact("volumes", "table", rows=rows, display={"columns": VOLUME_COLUMNS}, of="brains")
    return [*artifacts, table, Artifact("scatter", "plot", draw=partial(scatter, rows), of="brains")]


def _picture(result: Result, path: Path) -> None:
    from ..report_samples import brains_picture

    brains_picture(result, path)


TASK = Task(
    name="generate",
    title="Generate brains",
    summary="Make T1-weighted brains of people who do not exist, of a given age, sex and size.",
    parameters=GenerateParameters,
    run=run,
    memory=memory,
    picture=_picture,
)
