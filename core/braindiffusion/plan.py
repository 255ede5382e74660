"""Where and how to compute: device, precision, samples at once, threads, and what to try if memory ends.

Nothing here imports torch before it is asked about a device, so a plan for the processor is free.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from .errors import BrainDiffusionError, WrongParameters
from .telling import Tell, silent

Precision = Literal["bf16", "fp32"]
# Bytes that a run needs with so many samples at once at that precision; None where nobody can tell.
Estimate = Callable[[int, Precision], "int | None"]

# The rest is for the other programs of the machine and for what an estimate forgets.
USABLE_SHARE = 0.8


@dataclass(frozen=True)
class Plan:
    """`device` is "cpu", "cuda" or "cuda:1"; `batch` samples at once need about `memory_bytes`.

    `tell` takes the share of the task that is done, within a stage that takes long; it raises Cancelled once
    the user has stopped the run.
    """

    device: str = "cpu"
    precision: Precision = "fp32"
    batch: int = 1
    threads: int = 1
    memory_bytes: int | None = None
    tell: Tell = field(default=silent, compare=False, repr=False)

    @property
    def on_gpu(self) -> bool:
        return self.device.startswith("cuda")

    def smaller(self) -> tuple[Plan, str] | None:
        """What to try when memory ran out, and a sentence for the user; None where nothing is smaller."""
        where = "the graphics card" if self.on_gpu else "this computer"
        ran_out = f"The memory of {where} ran out; trying again"
        if self.batch > 1:
            half = self.batch // 2
            return replace(
                self, batch=half
            ), f"{ran_out} with {half} sample{'s' if half > 1 else ''} at a time."
        if self.precision == "fp32":
            return replace(self, precision="bf16"), f"{ran_out} with lower precision (bfloat16)."
        if self.on_gpu:
            return self.on_cpu(), f"{ran_out} without the graphics card, which is slower."
        return None

    def on_cpu(self) -> Plan:
        """The same run on the processor, one sample at a time."""
        return replace(self, device="cpu", precision=cpu_precision(), batch=1, memory_bytes=None)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Set threads (of torch and ITK) and reproducible arithmetic, and put all back afterwards."""
        import torch
        from SimpleITK import ProcessObject

        cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
        before = (
            torch.get_num_threads(),
            cudnn.deterministic,
            cudnn.benchmark,
            cudnn.allow_tf32,
            matmul.allow_tf32,
        )
        itk_threads = ProcessObject.GetGlobalDefaultNumberOfThreads()
        torch.set_num_threads(self.threads)
        ProcessObject.SetGlobalDefaultNumberOfThreads(self.threads)
        cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32 = True, False, False, False
        try:
            yield
        finally:
            threads, cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32 = before
            torch.set_num_threads(threads)
            ProcessObject.SetGlobalDefaultNumberOfThreads(itk_threads)


def make_plan(
    device: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
    samples: int = 1,
    batch: int | None = None,
    estimate: Estimate = lambda batch, precision: None,
) -> tuple[Plan, list[str]]:
    """The largest plan that fits into free memory, and sentences about what was changed to make it fit.

    `samples` is how many could be computed at once, `batch` the most that the user allows. Raises
    WrongParameters for a device of no known kind, BrainDiffusionError for one that is not there.
    """
    notes: list[str] = []
    place = _device(device, notes)
    exact: Precision = precision if precision in ("bf16", "fp32") else _precision(place)  # type: ignore[assignment]
    plan = Plan(place, exact, min(samples, batch or samples), threads or usable_cores())
    while True:
        need, free = estimate(plan.batch, plan.precision), free_bytes(plan.device)
        plan = replace(plan, memory_bytes=need)
        if need is None or free is None or need <= USABLE_SHARE * free:
            return plan, notes
        step = plan.smaller()
        if step is None:
            notes.append(f"This run needs about {_gb(need)} of memory and {_gb(free)} are free: it may stop.")
            return plan, notes
        if plan.on_gpu and not step[0].on_gpu:
            notes.append(
                f"The graphics card has too little free memory ({_gb(free)}), so the processor is used."
            )
        elif plan.precision != step[0].precision:
            notes.append(
                f"Little memory is free ({_gb(free)}), so lower precision (bfloat16) is used; the values "
                "differ a little from those of a run with more."
            )
        plan = step[0]


def usable_cores() -> int:
    """Processor cores that this process may use, and no more than OMP_NUM_THREADS where that is set."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, min(cores, int(wanted))) if wanted.isdigit() and int(wanted) else cores


def cpu_precision() -> Precision:
    """bfloat16 where the processor computes it natively, and float32 elsewhere, where bfloat16 is slower."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return "fp32"
    return "bf16" if "avx512_bf16" in flags or "amx_bf16" in flags else "fp32"


def free_bytes(device: str) -> int | None:
    """Memory that is free on the device now; None where the system does not say."""
    if device.startswith("cuda"):
        from torch import cuda

        # What torch keeps from an earlier run for the next one is free too.
        kept = cuda.memory_reserved(device) - cuda.memory_allocated(device)
        return int(cuda.mem_get_info(device)[0]) + kept
    return _free_ram()


def failure_kind(error: BaseException) -> Literal["memory", "device"] | None:
    """Whether a smaller run ("memory") or the processor ("device") could succeed where this error came up."""
    text = str(error).lower()
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return "memory"
    if not isinstance(error, RuntimeError):
        return None
    if any(
        words in text
        for words in (
            *("out of memory", "can't allocate memory", "not enough memory", "alloc_failed"),
            *("bad_alloc", "bad allocation", "failed to allocate memory"),
        )
    ):
        return "memory"
    if any(words in text for words in ("no kernel image", "cuda driver", "cuda error", "cudnn", "cublas")):
        return "device"
    return None


def _device(wanted: str, notes: list[str]) -> str:
    if wanted == "cpu":
        return "cpu"
    if wanted != "auto" and wanted != "cuda" and not (wanted.startswith("cuda:") and wanted[5:].isdigit()):
        raise WrongParameters(f"There is no device '{wanted}'; give auto, cpu, cuda or cuda:1.")
    import torch

    place = "cuda" if wanted == "auto" else wanted
    if not torch.cuda.is_available():
        problem = "this PyTorch finds no CUDA graphics card"
    else:
        try:
            # A card can be listed and still not run this build's kernels, so run one.
            (torch.ones(8, device=place) + 1).sum().item()
            return place
        except RuntimeError as error:
            problem = str(error).splitlines()[0].rstrip(".")
            notes.append(f"The graphics card cannot be used ({problem}), so the processor is.")
    if wanted != "auto":
        raise BrainDiffusionError(
            f"The device '{wanted}' cannot be used ({problem}); leave the choice to 'auto' or give 'cpu'."
        )
    return "cpu"


def _precision(device: str) -> Precision:
    if device == "cpu":
        return cpu_precision()
    import torch

    return "bf16" if torch.cuda.is_bf16_supported() else "fp32"


def _free_ram() -> int | None:
    limits = [limit for limit in (_meminfo_free(), _container_free()) if limit is not None]
    return min(limits) if limits else _windows_free()


def _meminfo_free() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)


def _container_free(group: Path = Path("/sys/fs/cgroup")) -> int | None:
    """What the limit of a container leaves; files that were read and are kept in memory give way."""
    try:
        limit, used, parts = (
            (group / f"memory.{name}").read_text(encoding="ascii").strip()
            for name in ("max", "current", "stat")
        )
    except OSError:
        return None
    files = dict(line.split() for line in parts.splitlines()).get("inactive_file", 0)
    return int(limit) - int(used) + int(files) if limit.isdigit() else None


def _windows_free() -> int | None:
    if platform.system() != "Windows":
        return None
    import ctypes

    class MemoryStatus(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ulong), ("load", ctypes.c_ulong), ("total", ctypes.c_ulonglong)] + [
            (name, ctypes.c_ulonglong)
            for name in (
                "available",
                "total_page",
                "free_page",
                "total_virtual",
                "free_virtual",
                "free_extended",
            )
        ]

    status: Any = MemoryStatus(length=ctypes.sizeof(MemoryStatus))
    found = ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status))  # type: ignore[attr-defined]
    return int(status.available) if found else None


def _gb(count: int) -> str:
    return f"{count / 1e9:.1f} GB"
