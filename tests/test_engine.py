"""One task run by the engine: progress, cancel, seeds, provenance, and memory that runs out."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import braindiffusion
from braindiffusion import engine, plan
from braindiffusion.errors import BrainDiffusionError, Cancelled, Refused
from braindiffusion.imaging.volume import Volume
from braindiffusion.plan import Plan, failure_kind, make_plan
from braindiffusion.result import Artifact, Result
from braindiffusion.tasks import base
from braindiffusion.tasks.base import Progress, WrongParameters
from toy_task import IMAGINE, PAINT

GB = 10**9


def test_a_run_gives_a_result_with_its_provenance(toy, scan_file):
    result = engine.run("toy", {"scan": scan_file}, {"age": 60}, seed=7)
    assert list(result) == ["healed", "heatmap", "findings_labels", "findings", "picture"]
    assert result.verdict == "The scan looks like a box." and "A box is no brain." in result.notes
    known = result.provenance
    assert known["task"] == "toy" and known["seed"] == 7
    assert known["parameters"] == {
        "seed": 7, "samples": 4, "method": "guided", "age": 60.0, "sharpen": False, "noise_level": 1.0
    }  # fmt: skip
    assert known["model"]["name"] == "toy" and known["solver"] == "none" and known["steps"] == 1
    assert known["inputs"]["scan"]["source"] == str(scan_file) and known["inputs"]["scan"]["shape"] == [
        20,
        24,
        16,
    ]
    assert len(known["inputs"]["scan"]["content_hash"]) >= 16
    assert known["device"] == "cpu" and known["precision"] in ("bf16", "fp32") and known["threads"] >= 1
    assert known["versions"]["braindiffusion"] == braindiffusion.__version__ and "numpy" in known["versions"]
    assert {"Thinking", "Looking", "total"} <= set(known["seconds"])


def test_same_seed_same_voxels_and_only_then(toy, scan):
    heat = [engine.run("toy", {"scan": scan}, {"seed": seed})["heatmap"].volume.data for seed in (1, 1, 2)]
    assert np.array_equal(heat[0], heat[1]) and not np.array_equal(heat[0], heat[2])


def test_progress_rises_from_nothing_to_done(toy, scan):
    steps: list[Progress] = []
    engine.run("toy", {"scan": scan}, on_progress=steps.append)
    fractions = [step.fraction for step in steps]
    assert fractions == sorted(fractions) and fractions[0] == 0 and fractions[-1] == 1
    assert [step.stage for step in steps][-1] == "Done" and "Looking" in [step.stage for step in steps]


def test_the_first_progress_comes_within_a_second_and_before_torch():
    """Of the processor: seconds on the clock depend on what else the machine does."""
    code = (
        "import time; start = time.process_time()\n"
        "import sys\n"
        "from braindiffusion import engine\n"
        "def first(step):\n"
        "    heavy = [name for name in ('torch', 'monai', 'scipy', 'matplotlib') if name in sys.modules]\n"
        "    print(round(time.process_time() - start, 3), heavy); raise SystemExit\n"
        "engine.run('toy', {}, on_progress=first)\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=_env()
    ).stdout
    seconds, heavy = said.split(maxsplit=1)
    assert heavy.strip() == "[]" and float(seconds) < 1.0


def _env() -> dict[str, str]:
    import os
    from pathlib import Path

    return os.environ | {"PYTHONPATH": str(Path(braindiffusion.__file__).parents[1])}


@pytest.mark.parametrize("at", ["Starting", "Reading the scan", "Planning", "Thinking", "Writing it up"])
def test_cancel_at_every_stage(toy, scan, at):
    cancel, steps = threading.Event(), []

    def on_progress(step):
        steps.append(step.stage)
        if step.stage == at:
            cancel.set()

    with pytest.raises(Cancelled, match="nothing was written"):
        engine.run("toy", {"scan": scan}, on_progress=on_progress, cancel=cancel)
    assert steps[-1] == at


def test_a_cancelled_task_cleans_up(make_task, scan):
    cleaned = []

    def run(inputs, parameters, plan):
        try:
            while True:
                yield Progress(0.5, "Going on and on")
        finally:
            cleaned.append(True)

    make_task("endless", run=run)
    cancel = threading.Event()
    threading.Timer(0.2, cancel.set).start()
    start = time.monotonic()
    with pytest.raises(Cancelled):
        engine.run("endless", {"scan": scan}, cancel=cancel)
    assert cleaned == [True] and time.monotonic() - start < 2


def test_a_long_stage_tells_how_far_it_is_and_hears_a_cancel(make_task, scan):
    def run(inputs, parameters, plan):
        yield Progress(0.2, "Aligning")
        for n in range(1, 1000):
            plan.tell(0.2 + n / 2000)
        yield Progress(0.9, "Never reached")

    make_task("long", run=run)
    cancel, steps = threading.Event(), []

    def on_progress(step):
        steps.append(step)
        if step.fraction > 0.5:
            cancel.set()

    with pytest.raises(Cancelled):
        engine.run("long", {"scan": scan}, on_progress=on_progress, cancel=cancel)
    within = [step.fraction for step in steps if step.stage == "Aligning"]
    assert len(within) > 500 and within == sorted(within) and within[-2] < 0.5 < within[-1]


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"samples": 17}, "The parameter 'samples' should be less than or equal to 16, but was given 17."),
        ({"age": -3}, "should be greater than 0 years"),
        ({"method": "magic"}, "should be 'guided' or 'partial'"),
        ({"sample": 3}, "There is no parameter 'sample'; the parameters are seed, samples"),
        ({"seed": "seven"}, "The parameter 'seed' should be a valid integer"),
        ({"noise_level": float("nan")}, "'noise_level'"),
    ],
)
def test_wrong_parameters_are_one_sentence(toy, scan, parameters, said):
    with pytest.raises(WrongParameters) as caught:
        engine.run("toy", {"scan": scan}, parameters)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_wrong_requests(toy, scan):
    for arguments, said in [
        (("heel", {"scan": scan}), "no task named 'heel'"),
        (("toy", {}), "needs the image 'scan'"),
        (("toy", {"scan": scan, "mask": scan}), "takes no image 'mask'"),
    ]:
        with pytest.raises(WrongParameters, match=said):
            engine.run(*arguments)
    for settings, said in [
        ({"precision": "fp8"}, "fp8"),
        ({"threads": 0}, "1 or more"),
        ({"batch": -1}, "1 or more"),
    ]:
        with pytest.raises(WrongParameters, match=said):
            engine.run("toy", {"scan": scan}, **settings)


def test_a_refused_scan_stops_the_run(toy, tmp_path):
    path = tmp_path / "broken.nii.gz"
    path.write_bytes(b"no scan")
    with pytest.raises(Refused):
        engine.run("toy", {"scan": path})


def test_repairs_of_the_gate_are_kept(toy, scan, tmp_path):
    import nibabel

    data = scan.data.copy()
    data[10, 10, 10] = np.nan
    nibabel.save(nibabel.Nifti1Image(data, scan.affine), tmp_path / "nan.nii.gz")
    result = engine.run("toy", {"scan": tmp_path / "nan.nii.gz"})
    assert len(result.notes) >= 2 and result.notes[-1] == "A box is no brain."


def test_values_that_are_not_numbers_are_withheld(make_task, scan):
    def run(inputs, parameters, plan):
        yield Progress(0.5, "Dividing by zero")
        return Result("bad", [Artifact("healed", "volume", scan.with_data(scan.data * np.nan), of="scan")])

    make_task("bad", run=run)
    with pytest.raises(BrainDiffusionError, match="not numbers"):
        engine.run("bad", {"scan": scan})


def test_a_result_on_another_grid_is_a_bug(make_task, scan):
    def run(inputs, parameters, plan):
        yield Progress(0.5, "Losing the grid")
        shifted = Volume(scan.data, np.diag([1.0, 1.0, 1.0, 1.0]))
        return Result("shifted", [Artifact("healed", "volume", shifted, of="scan")])

    make_task("shifted", run=run)
    with pytest.raises(RuntimeError, match="not on the grid"):
        engine.run("shifted", {"scan": scan})


class TestMemory:
    """Memory that runs out is met with ever smaller plans, each told to the user."""

    def test_retries_smaller_until_it_fits(self, make_task, toy, scan, monkeypatch):
        monkeypatch.setattr(engine, "_plan", lambda *_: (Plan("cuda", "fp32", 4, 1), []))
        tried = []

        def run(inputs, parameters, plan):
            tried.append((plan.device, plan.precision, plan.batch))
            yield Progress(0.3, "Sampling")
            if plan.on_gpu:
                raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB")
            return (yield from toy.run(inputs, parameters, plan))

        make_task("hungry", run=run, uses_torch=False)
        told = []
        monkeypatch.setattr(plan, "cpu_precision", lambda: "fp32")
        monkeypatch.setattr(engine, "_device_name", lambda plan: "test")
        result = engine.run("hungry", {"scan": scan}, on_progress=lambda step: told.append(step.stage))
        assert tried == [
            ("cuda", "fp32", 4),
            ("cuda", "fp32", 2),
            ("cuda", "fp32", 1),
            ("cuda", "bf16", 1),
            ("cpu", "fp32", 1),
        ]
        retries = result.provenance["retries"]
        assert len(retries) == 4 and set(retries) <= set(told) and set(retries) <= set(result.notes)
        assert "2 samples at a time" in retries[0] and "1 sample at" in retries[1]
        assert "lower precision" in retries[2] and "without the graphics card" in retries[3]
        assert result.provenance["device"] == "cpu" and result.provenance["batch"] == 1

    def test_gives_up_in_one_sentence(self, make_task, scan):
        def run(inputs, parameters, plan):
            yield Progress(0.3, "Sampling")
            raise MemoryError

        make_task("insatiable", run=run)
        with pytest.raises(BrainDiffusionError, match="not enough memory even"):
            engine.run("insatiable", {"scan": scan})

    def test_a_failing_card_is_left(self, make_task, toy, scan, monkeypatch):
        monkeypatch.setattr(engine, "_plan", lambda *_: (Plan("cuda", "fp32", 4, 1), []))
        monkeypatch.setattr(engine, "_device_name", lambda plan: "test")

        def run(inputs, parameters, plan):
            if plan.on_gpu:
                raise RuntimeError("CUDA error: no kernel image is available for execution on the device")
            return (yield from toy.run(inputs, parameters, plan))

        make_task("modern", run=run)
        result = engine.run("modern", {"scan": scan})
        assert result.provenance["device"] == "cpu" and "no kernel image" in result.provenance["retries"][0]

    def test_a_card_that_answers_nothing_any_more_is_left_too(self, make_task, toy, scan, monkeypatch):
        """After some errors every call to the card fails, also the one that gives memory back."""
        torch = pytest.importorskip("torch")
        monkeypatch.setattr(engine, "_plan", lambda *_: (Plan("cuda", "fp32", 1, 1), []))

        def dead(*_):
            raise RuntimeError("CUDA error: an illegal memory access was encountered")

        def run(inputs, parameters, plan):
            yield Progress(0.3, "Sampling")
            if plan.on_gpu:
                dead()
            return (yield from toy.run(inputs, parameters, plan))

        make_task("modern", run=run)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "empty_cache", dead)
        assert engine.run("modern", {"scan": scan}).provenance["device"] == "cpu"

    def test_a_smaller_plan_still_tells_whom_it_told(self):
        told: list[float] = []
        large = Plan("cuda", "fp32", 4, 1, 8 * GB, told.append)
        for small in (large.smaller()[0], large.on_cpu()):
            small.tell(0.5)
        assert told == [0.5, 0.5] and large.on_cpu() == Plan("cpu", plan.cpu_precision(), 1, 1)

    def test_other_errors_are_not_retried(self, make_task, scan):
        def run(inputs, parameters, plan):
            yield Progress(0.3, "Sampling")
            raise RuntimeError("a bug")

        make_task("buggy", run=run)
        with pytest.raises(RuntimeError, match="a bug"):
            engine.run("buggy", {"scan": scan})

    @pytest.mark.parametrize(
        ("error", "kind"),
        [
            (MemoryError(), "memory"),
            (RuntimeError("CUDA out of memory."), "memory"),
            (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), "memory"),
            (RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling"), "memory"),
            (RuntimeError("Exception thrown in SimpleITK: Failed to allocate memory for image."), "memory"),
            (RuntimeError("std::bad_alloc"), "memory"),
            (RuntimeError("CUDA error: no kernel image is available"), "device"),
            (RuntimeError("The NVIDIA driver: CUDA driver version is insufficient"), "device"),
            (RuntimeError("shapes cannot be multiplied"), None),
            (ValueError("out of memory"), None),
        ],
    )
    def test_kinds_of_failure(self, error, kind):
        assert failure_kind(error) == kind


class TestPlan:
    @pytest.fixture(autouse=True)
    def machine(self, monkeypatch):
        monkeypatch.setattr(plan, "free_bytes", lambda device: 10 * GB)
        monkeypatch.setattr(plan, "cpu_precision", lambda: "fp32")

    def test_the_largest_batch_that_fits(self):
        made, notes = make_plan("cpu", samples=16, estimate=lambda batch, precision: batch * GB)
        assert (made.batch, made.memory_bytes, made.precision, notes) == (8, 8 * GB, "fp32", [])

    def test_lower_precision_when_one_sample_is_too_much(self):
        made, notes = make_plan(
            "cpu", samples=2, estimate=lambda batch, precision: {"fp32": 12, "bf16": 6}[precision] * GB
        )
        assert (made.batch, made.precision) == (1, "bf16")
        assert len(notes) == 1 and "10.0 GB" in notes[0] and "lower precision" in notes[0]

    def test_says_when_nothing_fits(self):
        made, notes = make_plan("cpu", estimate=lambda batch, precision: 20 * GB)
        assert made.batch == 1 and "20.0 GB" in notes[-1] and "10.0 GB" in notes[-1]

    def test_wishes_are_kept(self):
        made, _ = make_plan("cpu", precision="bf16", threads=3, samples=8, batch=2)
        assert (made.precision, made.threads, made.batch) == ("bf16", 3, 2)

    def test_unknown_device(self):
        for name in ("gpu", "cuda:x"):
            with pytest.raises(WrongParameters, match="There is no device"):
                make_plan(name)

    def test_missing_card(self):
        torch = pytest.importorskip("torch")
        if torch.cuda.is_available():
            pytest.skip("this machine has a CUDA card")
        with pytest.raises(BrainDiffusionError, match="cannot be used"):
            make_plan("cuda")
        assert make_plan("auto")[0].device == "cpu"

    def test_applied_sets_threads_and_puts_them_back(self):
        torch = pytest.importorskip("torch")
        itk = pytest.importorskip("SimpleITK").ProcessObject
        before = torch.get_num_threads(), itk.GetGlobalDefaultNumberOfThreads()
        with Plan(threads=before[0] + 1).applied():
            assert torch.get_num_threads() == before[0] + 1 and torch.backends.cudnn.deterministic
            assert itk.GetGlobalDefaultNumberOfThreads() == before[0] + 1
        assert (torch.get_num_threads(), itk.GetGlobalDefaultNumberOfThreads()) == before
        assert not torch.backends.cudnn.deterministic


def test_cores_obey_the_environment(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert plan.usable_cores() == 1
    for wish in ("", "many", "0"):
        monkeypatch.setenv("OMP_NUM_THREADS", wish)
        assert plan.usable_cores() >= 1


def test_what_a_warm_process_keeps_on_the_card_is_free_for_its_next_run(monkeypatch):
    """So that a second run is planned, and rounds, as the first."""
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2 * GB, 24 * GB))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 9 * GB)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 1 * GB)
    assert plan.free_bytes("cuda") == 10 * GB


@pytest.mark.parametrize(("limit", "free"), [(str(8 * GB), 5 * GB), ("max", None)])
def test_files_in_memory_do_not_count_against_a_containers_limit(tmp_path, limit, free):
    (tmp_path / "memory.max").write_text(f"{limit}\n")
    (tmp_path / "memory.current").write_text(f"{7 * GB}\n")
    (tmp_path / "memory.stat").write_text(f"anon {2 * GB}\ninactive_file {4 * GB}\n")
    assert plan._container_free(tmp_path) == free
    assert plan._container_free(tmp_path / "none") is None


def test_free_memory_is_known_here():
    assert plan.free_bytes("cpu") is None or plan.free_bytes("cpu") > 0


def test_tasks_are_found_by_file_and_by_registration(toy):
    assert "toy" in base.names() and base.get("toy") is toy
    assert "base" not in base.names()
    with pytest.raises(WrongParameters, match="base"):
        base.get("base")


def test_heal_passes_engine_options_on(scan, monkeypatch):
    seen = {}
    monkeypatch.setattr(
        engine, "run", lambda *arguments, **settings: seen.update(arguments=arguments, **settings)
    )
    braindiffusion.heal(scan, seed=3, samples=2, device="cpu", frame=1)
    assert seen == {
        "arguments": ("heal", {"scan": scan}, {"samples": 2, "seed": 3}),
        "device": "cpu",
        "frame": 1,
    }


def test_a_mask_passes_the_gate_as_labels_and_no_image_is_needed_where_none_is_asked_for(scan):
    mask = scan.with_data((scan.data > 150).astype(np.uint8))
    painted = engine.run(PAINT, {"scan": scan, "mask": mask}, {"value": 7.0})["painted"].volume
    assert (painted.data[mask.data > 0] == 7).all()
    assert np.array_equal(painted.data[mask.data == 0], scan.data[mask.data == 0])
    assert "painted" in engine.run(PAINT, {"scan": scan})  # the mask may be left out
    with pytest.raises(Refused):  # a scan is no mask
        engine.run(PAINT, {"scan": scan, "mask": scan})
    assert engine.run(IMAGINE, {}, {"value": 2.0})["imagined"].volume.data.min() == 2
    with pytest.raises(WrongParameters, match="takes no image 'scan'; it takes none"):
        engine.run(IMAGINE, {"scan": scan})


def test_no_image_of_a_sequence_may_hold_what_is_no_number(scan, make_task):
    def broken(inputs, parameters, plan):
        yield Progress(0.5, "Breaking")
        frames = [scan, scan.with_data(np.full(scan.shape, np.nan, np.float32))]
        return Result("broken", [Artifact("samples", "sequence", volumes=frames, of="scan")])

    with pytest.raises(BrainDiffusionError, match="'samples' holds values that are not numbers"):
        engine.run(make_task("broken", run=broken, picture=None), {"scan": scan})
