"""Turn one person's brain into another's, step by step (methods.md A07)."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import TYPE_CHECKING

from ..telling import between
from .base import Input, Parameters, Progress, Task, following, parameter
from .generate import MODEL
from .scan import Brain, Models, recognised

if TYPE_CHECKING:
    from ..healing import Partway
    from ..imaging.volume import Volume
    from ..plan import Plan
    from ..result import Result

INVENTED = "The brains between the first and the last belong to nobody."


class MorphParameters(Parameters):
    """What a user may set."""

    frames: int = parameter(9, "Brains", "How many brains, the two scans included.", ge=2, le=33)
    steps: int = parameter(
        20,
        "Steps",
        "Steps of the sampler there and back; more is slower and a little more precise.",
        ge=2,
        le=200,
        advanced=True,
    )
    model: str = parameter(MODEL, "Model", "Name of the prior.", advanced=True)

    def shares(self) -> list[float]:
        """How far each brain is on the way, 0 to 1."""
        return [n / (self.frames - 1) for n in range(self.frames)]


def memory(inputs: Mapping[str, Volume], parameters: MorphParameters, batch: int, precision: str) -> int:
    """Peak bytes: torch, the scans some ten times over, the brains, and activations for each at once."""
    voxels = sum(volume.data.size for volume in inputs.values())
    brains = 4 * parameters.frames * 4 * 80 * 96 * 80
    return int(1.4e9 + 10 * 4 * voxels + brains + batch * (0.5e9 if precision == "bf16" else 0.9e9))


def run(
    inputs: Mapping[str, Volume], parameters: MorphParameters, plan: Plan
) -> Generator[Progress, None, Result]:
    """Go from `inputs["scan"]` to `inputs["other"]`. Raises Refused for what the model may not judge."""
    from ..editing import morph
    from ..generating import in_template_space
    from ..result import Artifact, Result

    yield Progress(0.01, "Loading the models")
    models = Models.load(parameters.model, plan)
    brains: list[Brain] = []
    for name, low, high in (("scan", 0.05, 0.2), ("other", 0.2, 0.35)):
        brains.append((yield from recognised(inputs[name], models, {}, plan, low, high)))
    sizes = [brain.anatomy.volumes() for brain in brains]
    own = [{name: size[name] for name in ("ventricles", "brain")} for size in sizes]
    steps = morph(
        models.prior, [brain.frame.image for brain in brains], own, parameters.shares(), parameters.steps,
        device=plan.device, precision=plan.precision, batch=plan.batch,
        tell=between(plan.tell, 0.35, 0.45),
    )  # fmt: skip
    yield Progress(0.35, "Finding the brains' shapes")
    made = yield from following(steps, 0.45, 0.98, "Morphing", _preview)
    display = {"window": [0, 1.2], "unit": "white matter", "title": "From one brain to the other"}
    volumes = [in_template_space(image) for image in made]
    artifact = Artifact("morph", "sequence", volumes=volumes, display=display | {"index": "step"})
    cautions = models.cautions()
    plausible = all(brain.verdict.plausible for brain in brains) and not cautions
    judged = [brain.verdict.summary for brain in brains]
    provenance = {
        "model": models.prior.card.identity,
        "anatomy_model": models.anatomist.card.identity,
        "solver": "invert and dpmpp2m",
        "steps": parameters.steps,
        "shares": parameters.shares(),
        "to_model_grid": [brain.frame.rigid.tolist() for brain in brains],
    }
    verdict = " ".join([*cautions, *dict.fromkeys(judged)])
    return Result("morph", [artifact], plausible, verdict, [INVENTED], provenance)


def _preview(step: Partway) -> Volume:
    """The last brain that is under way."""
    from ..generating import in_template_space

    return in_template_space(step.x0[-1, 0].float().cpu().numpy().clip(0), "Brain on the way, preview")


TASK = Task(
    name="morph",
    title="Morph two brains",
    summary="Turn one person's brain into another's, as a sequence to step through.",
    parameters=MorphParameters,
    run=run,
    inputs=(
        Input("scan", "From", "A T1-weighted head or brain without contrast agent."),
        Input("other", "To", "The same of another person, or of the same at another time."),
    ),
    memory=memory,
    samples=lambda parameters: parameters.frames,
)
