"""`braindiffusion train MODEL --hours H`: the trainer's plan from the command line."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

from .errors import WrongParameters

# Modules of `training` by the model that they train.
TRAINERS = {
    "t1-brain-2mm": "prior",
    "t1-brain-2mm-second": "second",
    "t1-brain-2mm-generate": "generate",
    "t1-brain-2mm-paint": "paint",
    "t1-brain-1mm": "sharpen",
    "brain-anatomy-2mm": "anatomy",
    "baseline-dae-2mm": "dae",
    "baseline-vae-2mm": "vae",
}


def add_training_options(command: argparse.ArgumentParser) -> None:
    """Give the command the options that make a `training.trainer.Plan`."""
    add = command.add_argument
    add("model", metavar="MODEL", choices=TRAINERS, help=", ".join(TRAINERS))
    add("--hours", metavar="H", type=_hours, required=True, help="how long to train, in hours of wall clock")
    add("--batch", metavar="N", type=int, default=2, help="examples per process and step (default: 2)")
    add("--learning-rate", metavar="X", type=float, default=3e-4, help="at its peak (default: 0.0003)")
    add("--seed", metavar="N", type=int, default=0, help="of the data (default: 0)")
    add("--folder", metavar="DIR", type=Path, help="for checkpoints and weights (default: runs/MODEL)")
    add("--resume", metavar="FILE", type=Path, help="a checkpoint or shipped weights to go on from")
    add("--workers", metavar="N", type=int, default=1, help="processes that make examples (default: 1)")
    add("--threads", metavar="N", type=int, default=0, help="threads of the training (default: all)")


def train(options: argparse.Namespace) -> Path:
    """Train as the options say; where the averaged weights lie."""
    if options.resume is not None and not options.resume.is_file():
        raise WrongParameters(
            f"There is no file '{options.resume}' to go on from; give a checkpoint or weights."
        )
    if options.batch < 1 or options.workers < 0 or options.threads < 0:
        raise WrongParameters("A batch is 1 or more; workers and threads are 0 or more.")
    from .training.trainer import Plan

    plan = Plan(
        hours=options.hours,
        batch=options.batch,
        learning_rate=options.learning_rate,
        folder=options.folder or Path("runs") / options.model,
        seed=options.seed,
        resume=options.resume,
        workers=options.workers,
        threads=options.threads,
    )
    trainer = importlib.import_module(f"{__package__}.training.{TRAINERS[options.model]}")
    return trainer.main(plan)


def _hours(text: str) -> float:
    hours = float(text)
    if not 0 < hours < 10_000:
        raise argparse.ArgumentTypeError("hours are above 0")
    return hours
