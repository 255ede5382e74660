"""What every part of the evaluation shares: where data and results lie, how to compute, progress, and a cache
on disk.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from datetime import date
from multiprocessing import get_context
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ..models.card import read_card
from ..paths import resources
from ..plan import Plan

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Setting:
    """root: the scans. folder: for the cache. docs: for what is shown, figures and pictures. baselines: where
    `braindiffusion train` left their weights.

    quick: a small share of the cases, to see that everything runs; its figures are not to be quoted.
    """

    root: Path
    folder: Path
    docs: Path
    baselines: Path
    plan: Plan
    quick: bool = False
    started: float = field(default_factory=time.monotonic)

    @property
    def pictures(self) -> Path:
        """For PNG files."""
        return self.docs / "pictures"

    @property
    def results(self) -> Path:
        """For what each part measured, as JSON: docs/results.md is made from it."""
        return self.docs / "results"

    @property
    def dae(self) -> Path:
        """Weights of the denoising autoencoder, healing's rival."""
        return self.baselines / "baseline-dae-2mm" / "ema.safetensors"

    @property
    def vae(self) -> Path:
        """Weights of the variational autoencoder, generation's rival."""
        return self.baselines / "baseline-vae-2mm" / "ema.safetensors"

    def say(self, text: str) -> None:
        """A line of progress with the minutes that have passed."""
        print(f"[{(time.monotonic() - self.started) / 60:5.1f} min] {text}", flush=True)

    def keep(self, part: str, content: dict[str, Any], seconds: float) -> None:
        """Write what `part` measured, with the machine that measured it."""
        self.results.mkdir(parents=True, exist_ok=True)
        whole = {
            "content": content,
            "date": date.today().isoformat(),
            "machine": machine(self.plan),
            "seconds": round(seconds),
            "quick": self.quick,
            "models": {card.name: card.sha256 for card in map(read_card, sorted(_shipped()))},
        }
        (self.results / f"{part}.json").write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")

    def cached(self, name: str, key: str, make: Callable[[], Arrays]) -> Arrays:
        """The arrays that `make()` gives, from disk where `key` says that they are the same."""
        file = self.folder / "cache" / f"{name}-{key}.npz"
        if file.exists():
            with np.load(file) as arrays:
                return dict(arrays)
        made = make()
        file.parent.mkdir(parents=True, exist_ok=True)
        for stale in file.parent.glob(f"{name}-{'?' * len(key)}.npz"):
            stale.unlink()
        part = file.with_suffix(".part.npz")
        np.savez_compressed(part, **made)  # type: ignore[arg-type]
        part.replace(file)
        return made


def _shipped() -> Iterator[Path]:
    return (file.parent for file in (resources() / "models").glob("*/card.json"))


def shared_out(setting: Setting, what: str, work: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
    """`work(item)` for every item, in as many processes as there are threads: registration uses one core.

    `work` must be a function of a module (or a `partial` of one), so that another process finds it.
    """
    processes = min(setting.plan.threads, len(items), 8)
    if processes < 2:
        return list(_told(setting, what, map(work, items), len(items)))
    spawn = get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=spawn, initializer=_one_thread) as pool:
        return list(_told(setting, what, pool.map(work, items), len(items)))


def _told(setting: Setting, what: str, results: Iterable[Any], count: int) -> Iterator[Any]:
    for n, result in enumerate(results, 1):
        if n % 5 == 0 or n == count:
            setting.say(f"{what}: {n} of {count}")
        yield result


def _one_thread() -> None:
    """For libraries that the work will import, and for torch where it is imported already."""
    os.environ["OMP_NUM_THREADS"] = os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = "1"
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


def key_of(*parts: str | bytes | Path) -> str:
    """A short hash of texts, bytes and the contents of files."""
    digest = hashlib.sha256()
    for part in parts:
        content = (
            part.read_bytes()
            if isinstance(part, Path)
            else part
            if isinstance(part, bytes)
            else part.encode()
        )
        digest.update(hashlib.sha256(content).digest())
    return digest.hexdigest()[:16]


def sources(*modules: ModuleType) -> list[Path]:
    """The files of `modules`, for the key (`key_of`) of what their code decides."""
    return [Path(str(module.__file__)) for module in modules]


def machine(plan: Plan) -> dict[str, Any]:
    """Cores, processor, device, precision and versions: what a time or a rounding depends on."""
    import torch

    return {
        "processor": _processor(),
        "threads": plan.threads,
        "device": plan.device if not plan.on_gpu else torch.cuda.get_device_name(),
        "precision": plan.precision,
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine()
    )
