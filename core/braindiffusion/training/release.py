"""From trained weights to a shipped model: weights, card, hash, fingerprint, and the prior's normal maps.

    python -m braindiffusion.training.release brain-anatomy-2mm runs/brain-anatomy-2mm/ema.safetensors --hours
    2 python -m braindiffusion.training.release t1-brain-2mm runs/t1-brain-2mm/ema.safetensors --hours 3
    python -m braindiffusion.training.release t1-brain-2mm --calibrate
    python -m braindiffusion.training.release t1-brain-2mm --measured

`--hours` are those of this training run; the card adds them to the hours of the weights that the run went on
from.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..errors import BrainDiffusionError
from ..imaging.grid import FINE_AFFINE, FINE_SHAPE, GRID_AFFINE, GRID_SHAPE, GRID_SPACING
from ..models.card import WEIGHTS, Card, read_card, write_card
from ..models.loading import build, fingerprint, load_model, sha256
from ..models.storage import fits, load_weights, member_of, save_weights
from ..nets.deformable import FILE as TEMPLATE
from ..nets.prior import SIGMA_DATA, PriorEnsemble
from ..paths import data_root, resources, workplace
from . import generate as generator
from . import paint as painter
from . import second, sharpen
from .anatomy import NAME as ANATOMY
from .prior import COVARIATES, NETWORK, SIGMA_MAX, SIGMA_MIN
from .prior import NAME as PRIOR

_FRAME = {
    "grid": list(GRID_SHAPE),
    "spacing_mm": GRID_SPACING,
    "affine": GRID_AFFINE.tolist(),
}


def _anatomy() -> dict[str, Any]:
    from ..anatomy import STRUCTURES

    return {
        "title": "Brain anatomy, any contrast, 2 mm",
        "intended_use": "Research: intracranial mask, structures and volumes of heads and skull-stripped "
        "brains of any MR contrast.",
        "not_for": "Diagnosis or treatment of a person; CT; children; brains with large resections.",
        "architecture": {
            "class": "AnatomyNet",
            "arguments": {
                "structures": len(STRUCTURES),
                "width": 16,
                "blocks": [1, 2, 2, 2],
                "context": 24,
                "fine": 8,
            },
        },
        "frame": _FRAME
        | {
            "intensity": "0.5th to 99.5th percentile above zero to 0..1",
            "structures": {s.index: f"{s.side} {s.name}".strip() for s in STRUCTURES},
        },
        "training": {
            "data": "13 label maps of SynthSeg's training set (Apache-2.0), images of random contrast",
            "method": "Billot et al. 2023 (SynthSeg); cross entropy plus soft Dice",
        },
        "licence": "Apache-2.0",
    }


_SHARES = (0.0, 1.0)
"""Of the prior's two networks in what is expected of a healthy brain: together they find fewer lesions than
the second alone.
"""


def _prior() -> dict[str, Any]:
    return {
        "title": "T1-weighted brain, 2 mm: generate, heal, inpaint",
        "intended_use": "Research: synthetic brains, healthy counterparts of T1 scans of adults, "
        "difference maps, inpainting.",
        "not_for": "Diagnosis or treatment of a person; other contrasts; ages far from 19 to 52.",
        "architecture": {
            "class": "PriorEnsemble",
            "arguments": {"members": [NETWORK, second.NETWORK], "shares": _SHARES},
        },
        "parametrisation": {"kind": "edm around what is expected", "sigma_data": SIGMA_DATA},
        "path": {"kind": "edm", "sigma_min": SIGMA_MIN, "sigma_max": SIGMA_MAX},
        "covariates": [covariate.to_json() for covariate in COVARIATES],
        "frame": _FRAME
        | {"intensity": "bias field flattened; grey matter 0.70, white matter 1.00, background 0"},
        "training": {
            "data": "48 skull-stripped T1w brains of OpenNeuro ds002748 (CC0; adults of 19 to 52, one site, "
            "structurally normal, most of them with depression), and T1-like images drawn from 13 label maps "
            "of SynthSeg (Apache-2.0); lesion shapes of open_ms_data (CC BY) and OpenNeuro ds004889 (CC0)",
            "method": "EDM (Karras 2022) around what is expected; pairs after Lawry Aguila et al. 2025, "
            "coarse noise after Kascenas et al. 2022. The first network generates, heals and inpaints; what "
            "is expected of a healthy brain the second says, which went on from a denoising autoencoder with "
            "coarse noise alone, as a guide at the noise at which healing asks",
        },
        "licence": "Apache-2.0",
    }


def _generate() -> dict[str, Any]:
    return {
        "title": "T1-weighted brain, 2 mm: generate, edit, morph",
        "intended_use": "Research: synthetic brains from age, sex, ventricular and brain volume.",
        "not_for": "Diagnosis or treatment of a person; other contrasts; ages far from 19 to 52.",
        "architecture": {"class": "PriorNet", "arguments": generator.NETWORK},
        "parametrisation": {"kind": "edm around what is expected", "sigma_data": generator.SIGMA_DATA},
        "path": {"kind": "edm", "sigma_min": generator.SIGMA_MIN, "sigma_max": generator.SIGMA_MAX},
        "covariates": [covariate.to_json() for covariate in generator.COVARIATES],
        "frame": _FRAME
        | {"intensity": "bias field flattened; grey matter 0.70, white matter 1.00, background 0"},
        "training": {
            "data": "48 skull-stripped T1w brains of OpenNeuro ds002748 (CC0; adults of 19 to 52, one site, "
            "structurally normal, most of them with depression)",
            "method": "EDM (Karras 2022) around a deformable template: its mean brain and modes of shape by "
            "diffeomorphic demons (Vercauteren 2009), averaging (Guimond 2000) and principal components",
        },
        "licence": "Apache-2.0",
    }


def _detail() -> dict[str, Any]:
    return {
        "title": "T1-weighted brain, from 2 mm to 1 mm",
        "intended_use": "Research: the detail of synthetic brains that were made at 2 mm.",
        "not_for": "Diagnosis or treatment of a person: the detail is drawn by chance and was never seen; "
        "scans, other contrasts, pathology.",
        "architecture": {"class": "DetailNet", "arguments": sharpen.NETWORK},
        "parametrisation": {"kind": "edm around back-projection", "sigma_data": sharpen.SIGMA_DATA},
        "path": {"kind": "edm", "sigma_min": sharpen.SIGMA_MIN, "sigma_max": sharpen.SIGMA_MAX},
        "frame": {
            "grid": list(FINE_SHAPE),
            "spacing_mm": GRID_SPACING / 2,
            "affine": FINE_AFFINE.tolist(),
            "intensity": "as `t1-brain-2mm-generate`",
        },
        "training": {
            "data": "48 skull-stripped T1w brains of OpenNeuro ds002748 (CC0; adults of 19 to 52, one site, "
            "structurally normal, most of them with depression)",
            "method": "EDM (Karras 2022) around back-projection (Irani 1991), on patches with global "
            "coordinates (PatchDDM, Bieder 2023)",
        },
        "licence": "Apache-2.0",
    }


def _paint() -> dict[str, Any]:
    return {
        "title": "T1-weighted brain, 2 mm: paint pathology",
        "intended_use": "Research: synthetic pathology on healthy brains, where labels of necrotic core, "
        "oedema, lesion and enhancing rim are painted.",
        "not_for": "Diagnosis or treatment of a person; other contrasts; how a disease grows or displaces. "
        "It has learnt what simulated tissue looks like, and has seen of patients no more than outlines.",
        "architecture": {"class": "PriorNet", "arguments": painter.NETWORK},
        "parametrisation": {"kind": "edm around flat tissue", "sigma_data": painter.SIGMA_DATA},
        "path": {"kind": "edm", "sigma_min": painter.SIGMA_MIN, "sigma_max": painter.SIGMA_MAX},
        "covariates": [],
        "frame": _FRAME
        | {"intensity": "bias field flattened; grey matter 0.70, white matter 1.00, background 0"},
        "training": {
            "data": "48 skull-stripped T1w brains of OpenNeuro ds002748 (CC0; adults of 19 to 52, one site, "
            "structurally normal, most of them with depression), with tissue of simulated appearance; lesion "
            "shapes of open_ms_data (CC BY) and OpenNeuro ds004889 (CC0)",
            "method": "EDM (Karras 2022) around the scan, told labels and their brightness, after MBTI "
            "(Rouzrokh 2022)",
        },
        "licence": "Apache-2.0",
    }


_CARDS = {
    ANATOMY: _anatomy,
    PRIOR: _prior,
    generator.NAME: _generate,
    sharpen.NAME: _detail,
    painter.NAME: _paint,
}
_BESIDE = {generator.NAME: (TEMPLATE,)}
"""Files that training leaves beside the weights and that are shipped with them."""


def release(name: str, weights: Path, hours: float, machine: str, goes_on: bool) -> Path:
    """Put `weights` into `resources/models/<name>/` with a fresh card; returns the folder.

    Weights of one member of an ensemble replace that member; the others stay. goes_on: the weights were
    trained further from the shipped ones, so the hours add up and a caution stays. Normal maps of other
    weights are deleted: the prior must be calibrated anew.
    """
    folder = resources() / "models" / name
    earlier = read_card(folder) if goes_on and (folder / "card.json").exists() else None
    before = earlier.training.get("runs", []) if earlier else []
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.glob("normal-*"):
        stale.unlink()
    for beside in _BESIDE.get(name, ()):
        shutil.copyfile(weights.parent / beside, folder / beside)
    content = _CARDS[name]()
    net = build(content["architecture"])
    net.load_state_dict(_whole(net, weights, folder / WEIGHTS))
    save_weights(net.state_dict(), folder / WEIGHTS)
    (folder / WEIGHTS).chmod(0o644)
    net.load_state_dict(load_weights(folder / WEIGHTS))
    net.eval()
    content["training"] |= {"runs": [*before, *([{"hours": hours, "machine": machine}] if hours else [])]}
    card = Card(
        name=name,
        parameters=sum(p.numel() for p in net.parameters()),
        sha256=sha256(folder / WEIGHTS),
        files={file: sha256(folder / file) for file in _BESIDE.get(name, ())},
        fingerprint=fingerprint(net),
        # Better weights have to earn the end of a caution by their measurements.
        caution=earlier.caution if earlier else "",
        **content,
    )
    write_card(card, folder)
    return folder


def _whole(net: nn.Module, weights: Path, shipped: Path) -> dict[str, Tensor]:
    """The state dict of `net` with the new `weights`, and for an ensemble the `shipped` ones of the members
    that these are not.
    """
    if not isinstance(net, PriorEnsemble):
        return load_weights(weights)
    state: dict[str, Tensor] = {}
    for file in (shipped, weights):
        some = load_weights(file) if file.is_file() else {}
        for n, member in enumerate(net.members):
            wanted = member.state_dict()
            fitting = member_of(some, wanted)
            if fits(fitting, wanted):
                state |= {f"members.{n}.{name}": value for name, value in fitting.items()}
    return state


def calibrate(steps: int, samples: int) -> None:
    """Make the normal maps and thresholds of the prior from the `val` brains, which it was not trained on,
    and enter them in its card.

    Each threshold is found on brains that its maps were not made from (six folds); the shipped maps use all.
    """
    from .calibration import normal_maps

    model = load_model(PRIOR)
    files, measured = {}, {}
    for method in ("guided", "partial"):
        # Partial diffusion draws a sample at each of its levels, so one seed gives as many.
        seeds = samples if method == "guided" else 1
        maps, cases = normal_maps(model, data_root(), method, steps, seeds)
        target = model.folder / f"normal-{method}.npz"
        maps.save(target)
        files[target.name] = sha256(target)
        measured[method] = {
            "threshold": round(maps.threshold, 3),
            "level": round(maps.level, 3),
            "brains": maps.brains,
            "cross_fitted_regions": cases,
        }
    card = model.card.model_copy(
        update={"files": files, "measured": model.card.measured | {"calibration": measured}}
    )
    write_card(card, model.folder)


def enter_measured(name: str, measurements: Path) -> None:
    """Enter in the card of `name` the figures that `make evaluate` left in the folder `measurements`.

    Raises BrainDiffusionError where there are none, or they are of a quick run or of other weights.
    """
    from ..evaluation.write import for_card, learnt

    folder = resources() / "models" / name
    card = read_card(folder)
    evaluation = for_card(card, measurements)
    calibration = card.measured.get("calibration", {}) | learnt(card, measurements)
    measured = card.measured | ({"calibration": calibration} if calibration else {})
    measured |= {"evaluation": card.measured.get("evaluation", {}) | evaluation}
    write_card(card.model_copy(update={"measured": measured}), folder)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command; an error ends it with one sentence."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", choices=_CARDS)
    parser.add_argument("weights", type=Path, nargs="?")
    parser.add_argument("--hours", type=float, default=0.0)
    parser.add_argument("--machine", default="2 CPU cores")
    parser.add_argument(
        "--fresh", action="store_true", help="trained from nothing, not from the shipped weights"
    )
    parser.add_argument("--caution", help="a sentence that every result must carry; empty takes it away")
    parser.add_argument("--calibrate", action="store_true")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument(
        "--measured",
        type=Path,
        nargs="?",
        const=workplace() / "docs" / "results",
        metavar="FOLDER",
        help="enter in the card what `make evaluate` measured (default: docs/results)",
    )
    options = parser.parse_args(arguments)
    try:
        _carry_out(options)
    except BrainDiffusionError as error:
        parser.exit(1, f"{error}\n")


def _carry_out(options: argparse.Namespace) -> None:
    if options.weights:
        print(release(options.model, options.weights, options.hours, options.machine, not options.fresh))
    if options.caution is not None:
        folder = resources() / "models" / options.model
        write_card(read_card(folder).model_copy(update={"caution": options.caution}), folder)
    if options.calibrate:
        calibrate(options.steps, options.samples)
    if options.measured:
        enter_measured(options.model, options.measured)


if __name__ == "__main__":
    main()
