"""`make evaluate`: measure the models and write docs/results.md.

    python -m braindiffusion.evaluation [--only anatomy|prior|heal|real|page] [--quick]

Every part keeps what it measured in `runs/eval/<part>.json`; the page is made from whatever parts are there.
"""

from __future__ import annotations

import argparse
import importlib
import time
from collections.abc import Sequence
from pathlib import Path

from ..paths import data_root, resources
from ..plan import make_plan
from . import write
from .setting import Setting

PARTS = {"anatomy": "anatomy_eval", "prior": "prior_eval", "heal": "heal_eval", "real": "real_eval"}


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    home = resources().parent
    command = argparse.ArgumentParser(prog="python -m braindiffusion.evaluation", description=__doc__)
    command.add_argument("--only", choices=[*PARTS, "page"], help="measure this part and write the page anew")
    command.add_argument(
        "--quick", action="store_true", help="few cases: shows that it runs, measures nothing"
    )
    command.add_argument(
        "--folder", type=Path, default=home / "runs" / "eval", help="for measurements and cache"
    )
    command.add_argument(
        "--docs", type=Path, default=home / "docs", help="folder of results.md and pictures/"
    )
    command.add_argument(
        "--dae",
        type=Path,
        default=home / "runs" / "baseline-dae-2mm" / "ema.safetensors",
        help="weights of the baseline",
    )
    command.add_argument("--device", default="auto")
    command.add_argument("--threads", type=int)
    return command


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is asked for and write the page. Returns the exit code."""
    options = parser().parse_args(arguments)
    plan, _ = make_plan(options.device, threads=options.threads)
    # A quick run must never touch the figures that are quoted.
    folder = options.folder / "quick" if options.quick else options.folder
    docs = folder if options.quick else options.docs
    setting = Setting(data_root(), folder, docs / "pictures", options.dae, plan, options.quick)
    parts = list(PARTS) if options.only is None else [part for part in PARTS if part == options.only]
    for part in parts:
        begun = time.monotonic()
        with plan.applied():
            content = importlib.import_module(f"{__package__}.{PARTS[part]}").run(setting)
        setting.keep(part, content, time.monotonic() - begun)
        setting.say(f"Measured: {part}")
    page = write.page(folder)
    docs.mkdir(parents=True, exist_ok=True)
    (docs / "results.md").write_text(page, encoding="utf-8")
    setting.say(f"Written: {docs / 'results.md'}")
    return 0
