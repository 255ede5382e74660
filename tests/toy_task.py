"""Tasks for the tests, without model and torch: one that calls what is bright a finding, one that paints in a
mask, and one that needs no image.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Literal

import numpy as np

from braindiffusion.imaging.volume import Volume
from braindiffusion.plan import Plan
from braindiffusion.report import FINDING_COLUMNS, heal_picture
from braindiffusion.result import Artifact, Result
from braindiffusion.tasks.base import Input, Parameters, Progress, Task, parameter


class ToyParameters(Parameters):
    seed: int = parameter(0, "Seed", "The same seed gives the same voxels.", ge=0, lt=2**63)
    samples: int = parameter(4, "Samples", "How many samples are drawn.", ge=1, le=16)
    method: Literal["guided", "partial"] = parameter("guided", "Method", "How the scan is healed.")
    age: float | None = parameter(None, "Age", "Age of the person.", unit="years", gt=0, le=120)
    sharpen: bool = parameter(False, "Sharpen", "Sharpen by 10 % more.", advanced=True)
    noise_level: float = parameter(1.0, "Noise level", "Noise that is added.", advanced=True, ge=0)


def run(
    inputs: Mapping[str, Volume], parameters: ToyParameters, plan: Plan
) -> Generator[Progress, None, Result]:
    scan = inputs["scan"]
    yield Progress(0.0, "Thinking")
    noise = np.random.default_rng(parameters.seed).normal(size=scan.data.shape).astype(np.float32)
    heat = np.clip((scan.data - 100) / 10, 0, None) + 0.1 * np.abs(noise)
    found = (heat > 4).astype(np.int16)
    yield Progress(0.5, "Looking")
    peak = np.unravel_index(heat.argmax(), heat.shape)
    x, y, z = scan.affine[:3, :3] @ peak + scan.affine[:3, 3]
    row = {
        "number": 1, "volume_ml": found.sum() * 0.003, "peak_z": heat.max(), "x_mm": x, "y_mm": y, "z_mm": z,
        "side": "right", "structure": "white matter",
    }  # fmt: skip
    yield Progress(0.9, "Writing it up")
    return Result(
        "toy",
        [
            Artifact("healed", "volume", scan.with_data(np.minimum(scan.data, 100)), of="scan"),
            Artifact(
                "heatmap",
                "volume",
                scan.with_data(heat),
                of="scan",
                display={"window": [2, 8], "threshold": 4.0, "unit": "z"},
            ),
            Artifact("findings_labels", "labels", scan.with_data(found), of="scan"),
            Artifact("findings", "table", rows=[row], of="scan", display={"columns": FINDING_COLUMNS}),
        ],
        verdict="The scan looks like a box.",
        notes=["A box is no brain."],
        provenance={"solver": "none", "steps": 1, "model": {"name": "toy", "sha256": "0" * 64}},
    )


TOY = Task(
    name="toy",
    title="Toy",
    summary="Find what is bright.",
    parameters=ToyParameters,
    run=run,
    inputs=(Input("scan", "Scan", "image file or DICOM folder"),),
    picture=heal_picture,
    uses_torch=False,
)


class PaintParameters(Parameters):
    value: float = parameter(50.0, "Value", "What the mask is filled with.")


def paint(
    inputs: Mapping[str, Volume], parameters: PaintParameters, plan: Plan
) -> Generator[Progress, None, Result]:
    scan = inputs["scan"]
    yield Progress(0.5, "Painting")
    voxels = scan.data.copy()
    if "mask" in inputs:
        voxels[inputs["mask"].data > 0] = parameters.value
    return Result("paint", [Artifact("painted", "volume", scan.with_data(voxels), of="scan")])


PAINT = Task(
    name="paint",
    title="Paint",
    summary="Fill a mask.",
    parameters=PaintParameters,
    run=paint,
    inputs=(
        Input("mask", "Mask", "Where to paint.", required=False, kind="labels"),
        Input("scan", "Scan", "What to paint on."),
    ),
    uses_torch=False,
)


def imagine(
    inputs: Mapping[str, Volume], parameters: PaintParameters, plan: Plan
) -> Generator[Progress, None, Result]:
    yield Progress(0.5, "Imagining")
    box = np.full((6, 5, 4), parameters.value, np.float32)
    box[1:3, 1:3, 1:3] += 1
    made = Volume(box, np.diag([2.0, 2.0, 2.0, 1.0]))
    drawn = [made.with_data(box + n) for n in range(3)]
    return Result(
        "imagine", [Artifact("imagined", "volume", made), Artifact("drawn", "sequence", volumes=drawn)]
    )


IMAGINE = Task(
    name="imagine",
    title="Imagine",
    summary="Make a box of nothing.",
    parameters=PaintParameters,
    run=imagine,
    uses_torch=False,
)


def colour(
    inputs: Mapping[str, Volume], parameters: Parameters, plan: Plan
) -> Generator[Progress, None, Result]:
    scan, mask = inputs["scan"], inputs["mask"]
    yield Progress(0.5, "Colouring")
    called = [f"{value} is {name}" for value, name in sorted(mask.meta.get("names", {}).items())]
    made = scan.with_data(np.where(mask.data > 0, 1000.0 * mask.data, scan.data).astype(np.float32))
    return Result("colour", [Artifact("coloured", "volume", made, of="scan")], notes=called)


COLOUR = Task(
    name="colour",
    title="Colour",
    summary="Colour each label.",
    parameters=Parameters,
    run=colour,
    inputs=(
        Input("mask", "Mask", "What is what.", kind="segments"),
        Input("scan", "Scan", "What to colour."),
    ),
    uses_torch=False,
)
