"""The training loop: it learns, repeats itself, goes on where it stopped, and ends when its time is over."""

from __future__ import annotations

import itertools
import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from torch import Generator, Tensor, nn
from torch.utils.data import DataLoader

import braindiffusion
from braindiffusion.errors import BrainDiffusionError, Cancelled
from braindiffusion.training import trainer
from braindiffusion.training.trainer import Batch, Ema, Plan, Stream, rate, train


class Draw:
    """Noise, and the same noise blurred; remembers which examples were asked for."""

    def __init__(self) -> None:
        self.seeds: list[int] = []

    def __call__(self, generator: Generator) -> Batch:
        self.seeds.append(generator.initial_seed())
        x = torch.randn((1, 6, 6, 6), generator=generator)
        return {"x": x, "y": 0.5 * x + 1}


def loss_of(net: nn.Module, batch: Batch) -> Tensor:
    return (net(batch["x"]).float() - batch["y"]).square().mean()


def tiny(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Conv3d(1, 1, 3, padding=1)


@pytest.fixture
def steps(monkeypatch) -> Callable[[int], float]:
    """A clock that ticks twice a step, and the hours in which it allows so many steps."""
    ticks = itertools.count()
    monkeypatch.setattr(trainer, "time", SimpleNamespace(monotonic=lambda: float(next(ticks))))
    return lambda n: (2 * n + 1) / 3600


def plan(folder: Path, hours: float, **changes: object) -> Plan:
    values = {"batch": 2, "learning_rate": 0.02, "workers": 0, "half_life": 20, "save_every_s": 1e9}
    return Plan(hours=hours, folder=folder, **{**values, **changes})  # type: ignore[arg-type]


def weights(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "ema.safetensors")


def checkpoint(folder: Path) -> dict:
    return torch.load(folder / "checkpoint.pt", weights_only=True)


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_the_loss_falls_and_the_log_tells(tmp_path, steps, capsys):
    file = train(tiny(), Draw(), loss_of, plan(tmp_path / "run", steps(250)))
    log = [
        json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert [row["step"] for row in log] == [50, 100, 150, 200, 250]
    assert log[-1]["loss"] < 0.1 * log[0]["loss"]
    assert all(a["progress"] < b["progress"] <= 1 for a, b in itertools.pairwise(log))
    assert str(log[0]["step"]) in capsys.readouterr().out
    assert file == tmp_path / "run" / "ema.safetensors"
    averaged = tiny()
    averaged.load_state_dict({name: value.float() for name, value in load_file(file).items()})
    batch = Draw()(torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert float(loss_of(averaged, {k: v[None] for k, v in batch.items()})) < 0.1


def test_the_same_seed_gives_the_same_weights(tmp_path, steps):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        train(tiny(), Draw(), loss_of, plan(tmp_path / name, steps(20), seed=seed))
    assert same(weights(tmp_path / "a"), weights(tmp_path / "b"))
    assert not same(weights(tmp_path / "a"), weights(tmp_path / "c"))


def test_it_stops_when_the_time_is_over(tmp_path, steps):
    draw = Draw()
    train(tiny(), draw, loss_of, plan(tmp_path, steps(7)))
    assert checkpoint(tmp_path)["ema_steps"] == 7
    assert len(set(draw.seeds)) == len(draw.seeds) == 2 * 8, (
        "one batch more was drawn, and no step taken on it"
    )


def moments(state):
    """What the optimiser remembers of each weight."""
    return [some for part in state["optimiser"] for some in part["state"].values()]


def test_a_checkpoint_holds_everything_and_loading_it_changes_nothing(tmp_path, steps):
    train(tiny(), Draw(), loss_of, plan(tmp_path / "a", steps(25)))
    train(
        tiny(9), Draw(), loss_of, plan(tmp_path / "b", 0.0001 / 3600, resume=tmp_path / "a" / "checkpoint.pt")
    )
    first, second = checkpoint(tmp_path / "a"), checkpoint(tmp_path / "b")
    assert same(first["net"], second["net"]) and same(first["ema"], second["ema"])
    assert first["ema_steps"] == second["ema_steps"] == 25
    pairs = list(zip(moments(first), moments(second), strict=True))
    assert pairs and all(same(old, new) for old, new in pairs)
    assert same(weights(tmp_path / "a"), weights(tmp_path / "b"))


def test_a_resumed_run_counts_on_and_keeps_learning(tmp_path, steps):
    train(tiny(), Draw(), loss_of, plan(tmp_path / "a", steps(120)))
    train(tiny(9), Draw(), loss_of, plan(tmp_path / "b", steps(60), resume=tmp_path / "a" / "checkpoint.pt"))
    state = checkpoint(tmp_path / "b")
    assert state["ema_steps"] == 180
    assert {int(some["step"]) for some in moments(state) if "step" in some} == {180}
    first, last = (
        json.loads((tmp_path / n / "log.jsonl").read_text(encoding="utf-8").splitlines()[0])["loss"]
        for n in "ab"
    )
    assert last < 0.5 * first


def test_a_resumed_run_sees_new_examples(tmp_path, steps):
    first, second = Draw(), Draw()
    train(tiny(), first, loss_of, plan(tmp_path / "a", steps(10)))
    train(tiny(), second, loss_of, plan(tmp_path / "b", steps(10), resume=tmp_path / "a" / "checkpoint.pt"))
    assert second.seeds[:2] == first.seeds[20:22], "it goes on with the batch that was not used"
    assert not set(second.seeds) & set(first.seeds[:20])


def test_a_run_goes_on_from_shipped_weights(tmp_path, steps):
    train(tiny(), Draw(), loss_of, plan(tmp_path / "a", steps(30)))
    shipped = tmp_path / "a" / "ema.safetensors"
    train(tiny(9), Draw(), loss_of, plan(tmp_path / "b", 0.0001 / 3600, resume=shipped))
    assert all(value.dtype == torch.float16 for value in load_file(shipped).values())
    assert same(weights(tmp_path / "a"), weights(tmp_path / "b"))
    net = {name: value.float() for name, value in load_file(shipped).items()}
    assert same(checkpoint(tmp_path / "b")["net"], net)


def test_weights_of_another_network_are_refused(tmp_path, steps):
    train(nn.Conv3d(1, 1, 1), Draw(), loss_of, plan(tmp_path, steps(2)))
    for file in ("checkpoint.pt", "ema.safetensors"):
        with pytest.raises(BrainDiffusionError, match="of this network; give another file"):
            train(tiny(), Draw(), loss_of, plan(tmp_path, steps(2), resume=tmp_path / file))


@pytest.mark.parametrize("name", ["notes.pt", "notes.safetensors"])
def test_a_file_that_is_no_checkpoint_is_refused(tmp_path, steps, name):
    for content in (b"", b"no weights at all"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(BrainDiffusionError, match=f"{name}' holds no checkpoint"):
            train(tiny(), Draw(), loss_of, plan(tmp_path / "run", steps(2), resume=tmp_path / name))


def test_a_step_that_is_not_finite_is_left_out(tmp_path, steps):
    def broken(net: nn.Module, batch: Batch) -> Tensor:
        return loss_of(net, batch) * math.nan

    net = tiny()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    train(net, Draw(), broken, plan(tmp_path, steps(3)))
    assert same(checkpoint(tmp_path)["net"], before)


def test_a_failed_save_leaves_the_old_files(tmp_path, steps, monkeypatch):
    train(tiny(), Draw(), loss_of, plan(tmp_path, steps(5)))
    old = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(*args: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(trainer, "save_file", full)
    with pytest.raises(OSError, match="No space"):
        train(tiny(1), Draw(), loss_of, plan(tmp_path, steps(5)))
    assert (tmp_path / "ema.safetensors").read_bytes() == old["ema.safetensors"]
    monkeypatch.setattr(trainer.torch, "save", full)
    kept = (tmp_path / "checkpoint.pt").read_bytes()
    with pytest.raises(OSError, match="No space"):
        train(tiny(2), Draw(), loss_of, plan(tmp_path, steps(5)))
    assert (tmp_path / "checkpoint.pt").read_bytes() == kept


def test_it_saves_while_it_runs(tmp_path, steps):
    def interrupted(net: nn.Module, batch: Batch) -> Tensor:
        if (tmp_path / "ema.safetensors").exists():
            raise RuntimeError("the card failed")
        return loss_of(net, batch)

    with pytest.raises(RuntimeError):
        train(tiny(), Draw(), interrupted, plan(tmp_path, steps(100), save_every_s=10))
    assert 3 <= checkpoint(tmp_path)["ema_steps"] <= 8


def test_a_run_that_is_stopped_is_saved_and_says_how_to_go_on(tmp_path, steps):
    draw = Draw()

    def stopped(net: nn.Module, batch: Batch) -> Tensor:
        if len(draw.seeds) > 2 * 12:
            raise KeyboardInterrupt
        return loss_of(net, batch)

    file = tmp_path / "a" / "checkpoint.pt"
    with pytest.raises(Cancelled, match=re.escape(f"Stopped; go on with --resume {file}.")):
        train(tiny(), draw, stopped, plan(tmp_path / "a", steps(100)))
    assert checkpoint(tmp_path / "a")["ema_steps"] == 12
    train(tiny(9), Draw(), loss_of, plan(tmp_path / "b", steps(5), resume=file))
    assert checkpoint(tmp_path / "b")["ema_steps"] == 17


def test_training_has_the_threads_that_were_asked_for(tmp_path, steps):
    seen, before = [], torch.get_num_threads()

    def counting(net: nn.Module, batch: Batch) -> Tensor:
        seen.append(torch.get_num_threads())
        return loss_of(net, batch)

    try:
        train(tiny(), Draw(), counting, plan(tmp_path, steps(3), threads=2))
    finally:
        torch.set_num_threads(before)
    assert set(seen) == {2}


def seeds_of(workers: int, count: int) -> list[int]:
    """The first examples that a loader hands out; every worker makes whole batches."""
    loader = DataLoader(Stream(told_seed, 5), batch_size=2, num_workers=workers)
    return [int(n) for batch in itertools.islice(loader, count // 2) for n in batch["n"]]


def told_seed(generator: Generator) -> Batch:
    return {"n": torch.tensor(generator.initial_seed())}


def test_examples_do_not_depend_on_the_number_of_workers():
    alone = seeds_of(0, 24)
    assert len(set(alone)) == 24 and alone == sorted(alone)
    assert seeds_of(1, 24) == alone
    assert sorted(seeds_of(2, 24)) == alone


def test_processes_share_the_examples_among_them(monkeypatch):
    alone = seeds_of(0, 24)
    parts = []
    for rank in range(3):
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", "3")
        parts.append(seeds_of(0, 8))
    assert sorted(itertools.chain(*parts)) == alone
    assert len(set(itertools.chain(*parts))) == 24


def test_the_average_follows_the_weights_and_warms_up():
    net = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(net.weight)
    ema = Ema(net, half_life=10)
    nn.init.ones_(net.weight)
    ema.update(net)
    assert 0.7 < float(ema.weights["weight"]) < 0.9, "the first weights are soon forgotten"
    for _ in range(2000):
        ema.update(net)
    assert float(ema.weights["weight"]) == pytest.approx(1, abs=1e-3)
    nn.init.zeros_(net.weight)
    for _ in range(10):
        ema.update(net)
    assert float(ema.weights["weight"]) == pytest.approx(0.5, abs=0.01), "after half a life, half"


def test_the_learning_rate_warms_up_and_comes_down():
    warm = [rate(0.0, step, 1.0) for step in range(300)]
    assert 0 < warm[0] < 0.1 and warm[-1] == 1
    assert warm == sorted(warm) and max(b - a for a, b in itertools.pairwise(warm)) < 0.1
    down = [rate(progress / 100, 1000, 1.0) for progress in range(101)]
    assert all(a > b for a, b in itertools.pairwise(down))
    assert down[50] == pytest.approx(0.51) and down[-1] == pytest.approx(0.02) == rate(1.3, 1000, 1.0)


PROCESS = """
import hashlib, os, time
from pathlib import Path
import torch
from torch import nn
from braindiffusion.training.trainer import Plan, train

def draw(generator):
    x = torch.randn((1, 6, 6, 6), generator=generator)
    return {"x": x, "y": 0.5 * x + 1}

def loss_of(net, batch):
    time.sleep(0.02 * (1 + int(os.environ["RANK"])))
    return (net(batch["x"]).float() - batch["y"]).square().mean()

rank = int(os.environ["RANK"])
torch.manual_seed(rank)
time.sleep(0.4 * rank)
net = nn.Conv3d(1, 1, 3, padding=1)
train(net, draw, loss_of, Plan(4 / 3600, 2, 0.02, Path("run"), workers=1, threads=1, half_life=20))
digest = hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in net.parameters())).hexdigest()
Path(f"rank{rank}").write_text(digest)
"""


@pytest.mark.slow
def test_two_processes_train_one_network_and_end_together(tmp_path):
    (tmp_path / "job.py").write_text(PROCESS)
    launch = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        "2",
        "--master-port",
        "29571",
        "job.py",
    ]
    path = str(Path(braindiffusion.__file__).parents[1])
    done = subprocess.run(
        launch,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr
    digests = {(tmp_path / f"rank{rank}").read_text(encoding="utf-8") for rank in range(2)}
    assert len(digests) == 1, "both processes hold the same weights"
    assert sorted(path.name for path in (tmp_path / "run").glob("*.*t*")) == [
        "checkpoint.pt",
        "ema.safetensors",
    ]
    assert checkpoint(tmp_path / "run")["ema_steps"] > 5
