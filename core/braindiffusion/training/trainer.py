"""One training loop for every network: EMA, bfloat16, one CPU or GPU, DDP through torchrun, resumable.

    torchrun --nproc-per-node 4 -m braindiffusion train t1-brain-2mm --hours 8

A run is bounded by hours, not steps; the learning rate follows the share of the hours that has passed.
"""

from __future__ import annotations

import json
import math
import os
import pickle
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from ..errors import BrainDiffusionError, Cancelled
from ..models.storage import load_weights, member_of
from .muon import Optimiser

Batch = dict[str, Tensor]


@dataclass(frozen=True)
class Plan:
    """hours of wall clock; batch per process; learning_rate at its peak; seed of the data; folder for
    checkpoints.

    resume: a checkpoint or EMA weights to go on from. workers: data processes. threads: of each training
    process.
    """

    hours: float
    batch: int
    learning_rate: float
    folder: Path
    seed: int = 0
    resume: Path | None = None
    workers: int = 1
    threads: int = 0
    half_life: int = 400
    save_every_s: float = 240.0


class Stream(IterableDataset):
    """Endless examples `draw(generator)`; example n of a seed is the same on any number of workers and
    processes.
    """

    def __init__(self, draw: Callable[[torch.Generator], Batch], seed: int, first: int = 0) -> None:
        self.draw, self.seed, self.first = draw, seed, first

    def __iter__(self) -> Iterator[Batch]:
        info = torch.utils.data.get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        n, step = self.first + _rank() * workers + worker, workers * _world()
        while True:
            yield self.draw(torch.Generator().manual_seed(self.seed * 1_000_003 + n))
            n += step


class Ema:
    """Exponential moving average of the weights in float32, with a warm-up so that a short run is averaged
    too.
    """

    def __init__(self, net: nn.Module, half_life: int) -> None:
        self.decay = 0.5 ** (1 / half_life)
        self.weights = {name: value.detach().float().clone() for name, value in net.state_dict().items()}
        self.steps = 0

    @torch.no_grad()
    def update(self, net: nn.Module) -> None:
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        for name, value in net.state_dict().items():
            self.weights[name].lerp_(value.float(), 1 - decay)


def rate(progress: float, step: int, peak: float) -> float:
    """Learning rate: 60 steps of warm-up, then a cosine from `peak` to 2 % of it as `progress` goes from 0 to
    1.
    """
    return (
        peak * min(1.0, (step + 1) / 60) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0))))
    )


def train(
    net: nn.Module,
    draw: Callable[[torch.Generator], Batch],
    loss_of: Callable[[nn.Module, Batch], Tensor],
    plan: Plan,
) -> Path:
    """Train `net` on examples of `draw` with `loss_of(net, batch)`; returns the file of EMA weights
    (safetensors, float16).

    Raises Cancelled, with all saved, where the user stops it; BrainDiffusionError where `plan.resume` does
    not fit `net`.
    """
    if plan.threads:
        torch.set_num_threads(plan.threads)
    device = _device()
    net = net.to(device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    optimiser = Optimiser(net, plan.learning_rate)
    ema = _resume(net, optimiser, plan, device)
    wrapped = _distributed(net, device)
    loader = DataLoader(
        Stream(draw, plan.seed, first=ema.steps * plan.batch * _world()),
        batch_size=plan.batch,
        num_workers=plan.workers,
        prefetch_factor=4 if plan.workers else None,
    )
    start, saved, history = time.monotonic(), time.monotonic(), []
    try:
        for step, batch in enumerate(loader):
            progress = _agreed((time.monotonic() - start) / (plan.hours * 3600), device)
            if progress >= 1:
                break
            lr = rate(progress, step, plan.learning_rate)
            batch = {key: value.to(device) for key, value in batch.items()}
            history.append(_step(wrapped, optimiser, lr, batch, loss_of))
            ema.update(net)
            if len(history) == 50:
                _log(plan.folder, step + 1, progress, history)
                history = []
            if time.monotonic() - saved > plan.save_every_s:
                _save(net, optimiser, ema, plan.folder)
                saved = time.monotonic()
    except KeyboardInterrupt:
        _save(net, optimiser, ema, plan.folder)
        raise Cancelled(f"Stopped; go on with --resume {plan.folder / 'checkpoint.pt'}.") from None
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    return _save(net, optimiser, ema, plan.folder)


def _step(
    net: nn.Module,
    optimiser: Optimiser,
    lr: float,
    batch: Batch,
    loss_of: Callable[[nn.Module, Batch], Tensor],
) -> float:
    with torch.autocast(next(iter(batch.values())).device.type, torch.bfloat16):
        loss = loss_of(net, batch)
    optimiser.zero_grad()
    loss.backward()
    norm = nn.utils.clip_grad_norm_(net.parameters(), 1.0)
    if torch.isfinite(norm):
        optimiser.step(lr)
    return float(loss.detach())


def _device() -> torch.device:
    if not torch.cuda.is_available():
        return torch.device("cpu")
    rank = int(os.environ.get("LOCAL_RANK", 0))
    torch.cuda.set_device(rank)
    return torch.device("cuda", rank)


def _distributed(net: nn.Module, device: torch.device) -> nn.Module:
    if _world() == 1:
        return net
    torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return nn.parallel.DistributedDataParallel(
        net, device_ids=[device.index] if device.type == "cuda" else None
    )


def _resume(net: nn.Module, optimiser: Optimiser, plan: Plan, device: torch.device) -> Ema:
    """The average to go on with; raises BrainDiffusionError where `plan.resume` does not fit `net`."""
    if plan.resume is None:
        return Ema(net, plan.half_life)
    try:
        return _loaded(net, optimiser, plan.resume, plan.half_life, device)
    except (RuntimeError, KeyError, ValueError, EOFError, pickle.UnpicklingError, SafetensorError) as error:
        raise BrainDiffusionError(
            f"'{plan.resume}' holds no checkpoint or weights of this network; give another file to resume."
        ) from error


def _loaded(net: nn.Module, optimiser: Optimiser, file: Path, half_life: int, device: torch.device) -> Ema:
    if file.suffix == ".safetensors":
        net.load_state_dict(member_of(load_weights(file), net.state_dict()))
        return Ema(net, half_life)
    state = torch.load(file, map_location=device, weights_only=True)
    net.load_state_dict(state["net"])
    optimiser.load_state_dict(state["optimiser"])
    ema = Ema(net, half_life)
    ema.weights, ema.steps = state["ema"], state["ema_steps"]
    return ema


def _agreed(progress: float, device: torch.device) -> float:
    """The first process's progress: by its own clock one would stop while another waits for its gradients."""
    if not torch.distributed.is_initialized():
        return progress
    shared = torch.tensor(progress, device=device)
    torch.distributed.broadcast(shared, 0)
    return float(shared)


def _rank() -> int:
    return int(os.environ.get("RANK", 0))


def _world() -> int:
    return int(os.environ.get("WORLD_SIZE", 1))


def _main_process() -> bool:
    return _rank() == 0


def _save(net: nn.Module, optimiser: Optimiser, ema: Ema, folder: Path) -> Path:
    """`checkpoint.pt` to go on from, `ema.safetensors` to ship; each replaced whole, so that a kill leaves
    the old one.
    """
    target = folder / "ema.safetensors"
    if not _main_process():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    state = {
        "net": net.state_dict(),
        "optimiser": optimiser.state_dict(),
        "ema": ema.weights,
        "ema_steps": ema.steps,
    }
    with _replacing(folder / "checkpoint.pt") as file:
        torch.save(state, file)
    with _replacing(target) as file:
        save_file({name: value.half().contiguous().cpu() for name, value in ema.weights.items()}, file)
    return target


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    part = path.with_name(path.name + ".part")
    yield part
    part.replace(path)


def _log(folder: Path, step: int, progress: float, losses: list[float]) -> None:
    if not _main_process():
        return
    folder.mkdir(parents=True, exist_ok=True)
    row = {"step": step, "progress": round(progress, 4), "loss": round(sum(losses) / len(losses), 5)}
    with open(folder / "log.jsonl", "a") as log:
        log.write(json.dumps(row) + "\n")
    print(row, flush=True)
