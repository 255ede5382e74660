"""`make evaluate`: measure the models and write docs/results.md.

    python -m braindiffusion.evaluation [--only PART] [--quick]

PART is one of `parts.PARTS`, or `page`. Every part keeps what it measured in `docs/results/<part>.json`; the
page is made from them, and keeps what it said of a part that has none.
"""

from __future__ import annotations

import argparse
import importlib
import time
from pathlib import Path

from ..paths import data_root, require_data
from ..plan import make_plan
from . import write
from .parts import PARTS
from .setting import Setting

# What of docs/data.md a part cannot do without.
_DATA = {
    "anatomy": ("label_maps", "priors", "nichart", "labelled_t1"),
    "prior": ("t1_brains",),
    "heal": ("t1_brains", "ms", "stroke"),
    "real": ("tumour", "ms", "nichart", "heads"),
    "inpaint": ("t1_brains", "ms", "stroke", "tumour"),
    "generate": ("t1_brains", "ms", "stroke"),
    "paint": ("t1_brains", "ms", "stroke"),
    "sharpen": ("t1_brains", "ms", "stroke"),
}


def measure(options: argparse.Namespace) -> Path:
    """Measure what is asked for and write the page; where it lies.

    Raises BrainDiffusionError, before anything is measured, where scans are missing.
    """
    parts = list(PARTS) if options.only is None else [part for part in PARTS if part == options.only]
    for part in parts:
        require_data(*_DATA[part])
    plan, _ = make_plan(options.device, threads=options.threads)
    # A quick run must never touch the figures that are quoted.
    folder = options.folder / "quick" if options.quick else options.folder
    docs = folder if options.quick else options.docs
    setting = Setting(data_root(), folder, docs, options.baselines, plan, options.quick)
    for part in parts:
        begun = time.monotonic()
        with plan.applied():
            content = importlib.import_module(f"{__package__}.{PARTS[part]}").run(setting)
        setting.keep(part, content, time.monotonic() - begun)
        setting.say(f"Measured: {part}")
    docs.mkdir(parents=True, exist_ok=True)
    page = docs / "results.md"
    before = page.read_text(encoding="utf-8") if page.is_file() else ""
    page.write_text(write.page(setting.results, before), encoding="utf-8")
    setting.say(f"Written: {page}")
    return page
