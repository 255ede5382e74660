"""A worker that computes nothing, for tests of the module: it speaks the protocol and behaves as it is told.

    python module_worker.py <behaviour>

The behaviour may also come as the parameter `behaviour` of a run.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

BEHAVIOUR = sys.argv[1] if len(sys.argv) > 1 else "ok"


def say(event: str, **content: Any) -> None:
    sys.stdout.write(json.dumps({"v": 1, "event": event, **content}) + "\n")
    sys.stdout.flush()


def main() -> None:
    if BEHAVIOUR == "dies at start":
        sys.exit("ModuleNotFoundError: No module named 'torch'")
    if BEHAVIOUR == "other protocol":
        say("ready", protocol=2, version="9.9", pid=os.getpid())
    else:
        say("ready", protocol=1, version="0.0", pid=os.getpid())
    if BEHAVIOUR == "ignores cancel":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for line in sys.stdin:
        message = json.loads(line)
        if message["do"] == "quit":
            return
        if message["do"] == "run":
            run(message)
        elif message["do"] == "ping":
            say("pong", id=message["id"])


def run(message: dict[str, Any]) -> None:
    name = message["id"]
    told = message.get("parameters", {})
    behaviour = told.get("behaviour", BEHAVIOUR)
    say("progress", id=name, fraction=0.0, stage="Starting")
    if behaviour == "garbage":
        noise()
    if behaviour == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if behaviour == "crash":
        os._exit(3)
    if behaviour == "memory":
        say(
            "failed", id=name, kind="memory", message="There is not enough memory for this run.", details=None
        )
        return
    if behaviour == "refused":
        say(
            "failed", id=name, kind="refused", message="The scan is cut short; export it again.", details=None
        )
        return
    if behaviour == "hangs":
        time.sleep(600)
    if behaviour == "ignores cancel":
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        slowly(name, 600, obey=False)
        return
    if behaviour == "slow" and not slowly(name, 30):
        return
    if behaviour == "quiet then done":
        time.sleep(1.0)
    for step in range(1, 5):
        say("progress", id=name, fraction=step / 5, stage="Healing", **preview(message, step))
    say("result", id=name, **result(message))


def noise() -> None:
    os.write(1, b"\xff\xfe not UTF-8 \x00\n{broken json\n[1, 2]\nnull\n")
    os.write(1, b'{"event": "result"}\n')
    os.write(2, "50%|█████     | naïve\n".encode())
    os.write(1, (b"[" * 100_000) + b"\n")
    os.write(1, b"x" * 300_000 + b"\n")


def slowly(name: str, seconds: float, obey: bool = True) -> bool:
    """Report progress until the time is over; False where a cancel came first."""
    import select

    began = time.monotonic()
    while time.monotonic() - began < seconds:
        share = (time.monotonic() - began) / seconds
        say("progress", id=name, fraction=share, stage="Healing")
        ready, _, _ = select.select([sys.stdin], [], [], 0.05)
        if ready and obey and json.loads(sys.stdin.readline())["do"] == "cancel":
            say("failed", id=name, kind="cancelled", message="Stopped.", details=None)
            return False
    return True


def preview(message: dict[str, Any], step: int) -> dict[str, Any]:
    """A little cube, brighter with every step, where the scan lies."""
    import numpy as np

    image = next(iter(message.get("inputs", {}).values()), None)
    if image is None and message["task"] != "generate":
        return {}
    path = Path(message["folder"], ".handover", f"preview-{step}.nrrd")
    write(path, np.full((4, 5, 6), step, np.float32))
    affine, title = (MNI, "Generated") if image is None else (image["affine"], "Healed scan")
    return {"preview": {"path": str(path), "affine": affine, "title": f"{title}, preview"}}


MNI = [[4.0, 0, 0, -46], [0, 4.0, 0, -62], [0, 0, 4.0, -40], [0, 0, 0, 1]]


def made_up(message: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What generate and inpaint give: images with a ball of another size, brighter from one to the next; the
    requested ball is as large as the measured one but for 1 ml. inpaint changes voxels in the mask only.
    """
    import numpy as np

    generate, parameters = message["task"] == "generate", message["parameters"]
    count = parameters.get("samples", 3)
    affine = MNI if generate else message["inputs"]["scan"]["affine"]
    if generate:
        k, j, i = np.indices((24, 32, 24))
        far = np.sqrt((i - 11.5) ** 2 + (j - 15.5) ** 2 + (k - 10) ** 2)
        frames = [
            np.where(far < 7 + n, 40.0 + 20 * n, 0.0) * (1 + 0.2 * (i < 11)) for n in range(1, count + 1)
        ]
    else:
        scan, mask = (read(Path(message["inputs"][name]["path"])) for name in ("scan", "mask"))
        frames = [np.where(mask > 0, 10.0 * n, scan) for n in range(1, count + 1)]
    spread = {"window": [0, 20], "colors": "heat", "unit": "of the grey value", "title": "Spread"}
    grey = {"window": [0, 150], "unit": "grey"} if generate else {"unit": "as the scan"}
    first = ("mean", "mean") if generate else ("inpainted", "healed")
    row, of = ("brains", "brain") if generate else ("variants", "variant"), None if generate else "scan"
    seeds = [1_835_500_000 + parameters.get("seed", 0) + n for n in range(count)]
    rows = [
        {row[1]: n + 1, "seed": seeds[n], "ball_asked_ml": 20.0 + 5 * n, "ball_ml": 21.0 + 5 * n}
        for n in range(count)
    ]
    columns = {row[1]: row[1], "ball_asked_ml": "asked for (ml)", "ball_ml": "measured (ml)"}
    entries = [
        artifact(row[0], "sequence", grey | {"index": row[1]}, of=of),
        artifact(first[0], "volume", grey, of=of),
        *([] if generate else [artifact("mean", "volume", {"unit": "as the scan"}, of=of)]),
        artifact("sd" if generate else "spread", "volume", spread, of=of),
        artifact("measured", "table", {"columns": columns}, of=of) | {"rows": rows},
        artifact("scatter", "plot", {}, of=None) | {"path": "scatter.png"},
    ]
    arrays = {f"{row[0]}.{n}": frame for n, frame in enumerate(frames, 1)}
    arrays |= {
        first[0]: np.mean(frames, 0),
        "mean": np.mean(frames, 0),
        "sd" if generate else "spread": np.std(frames, 0),
    }
    volumes = {}
    for name, array in arrays.items():
        path = folder / ".handover" / f"{name}.nrrd"
        write(path, array.astype(np.float32))
        volumes[name] = {"path": str(path), "affine": affine}
    import matplotlib.image

    matplotlib.image.imsave(folder / "scatter.png", np.full((60, 80, 3), 200, np.uint8))
    inputs = {name: seen(image) for name, image in message.get("inputs", {}).items()}
    provenance = {"task": message["task"], "parameters": parameters, "seeds": seeds, "inputs": inputs}
    provenance |= {} if generate else {"voxels_outside_changed": 0}
    manifest = {
        "format": "braindiffusion result 1", "task": message["task"], "plausible": True, "artifacts": entries,
        "verdict": "Made up.", "notes": [], "provenance": provenance, "files": ["scatter.png"],
    }  # fmt: skip
    keep(manifest, folder)
    return {"folder": str(folder), "manifest": manifest, "volumes": volumes}


def result(message: dict[str, Any]) -> dict[str, Any]:
    """What heal gives, made from the voxels that were handed over: bright ones are the finding."""
    image = next(iter(message.get("inputs", {}).values()), None)
    folder = Path(message["folder"]) if "folder" in message else None
    if message["task"] in ("generate", "inpaint"):
        return made_up(message, Path(message["folder"]))
    if image is None or folder is None:
        return {"folder": str(folder), "manifest": {"artifacts": []}, "volumes": {}}
    import numpy as np

    voxels, affine = read(Path(image["path"])), np.array(image["affine"])
    bright = voxels > 150
    middle = [*np.argwhere(bright).mean(0)[::-1], 1.0] if bright.any() else [0, 0, 0, 1]
    x, y, z = (affine @ middle)[:3]
    side = "left" if x < 0 else "right"
    arrays = {
        "healed": np.where(bright, 100, voxels).astype(np.float32),
        "heatmap": np.where(bright, 6.0, 0.0).astype(np.float32),
        "spread": np.full(voxels.shape, 0.05, np.float32),
        "findings_labels": bright.astype(np.int16),
        "anatomy": ((voxels > 50) * np.where(world_x(voxels.shape, affine) < 0, 1, 2)).astype(np.int16),
    }
    volumes = {}
    for role, array in arrays.items():
        path = folder / ".handover" / f"{role}.nrrd"
        write(path, array)
        volumes[role] = {"path": str(path), "affine": image["affine"]}
    manifest = manifest_of(message, (round(x, 1), round(y, 1), round(z, 1)), side, float(bright.sum()))
    (folder / "picture.png").write_bytes(b"\x89PNG made up")
    keep(manifest, folder)
    return {"folder": str(folder), "manifest": manifest, "volumes": volumes}


def keep(manifest: dict[str, Any], folder: Path) -> None:
    """The result's folder as a run leaves it, though the files hold nothing."""
    entries = [entry | {"path": entry["path"] or f"{entry['role']}.bin"} for entry in manifest["artifacts"]]
    for entry in entries:
        (folder / entry["path"]).touch()
    text = json.dumps(manifest | {"artifacts": entries, "files": [entry["path"] for entry in entries]})
    (folder / "result.json").write_text(text, encoding="utf-8")


def world_x(shape: tuple[int, ...], affine: Any) -> Any:
    import numpy as np

    k, j, i = np.indices(shape)
    return affine[0, 0] * i + affine[0, 1] * j + affine[0, 2] * k + affine[0, 3]


def manifest_of(
    message: dict[str, Any], place: tuple[float, ...], side: str, voxels: float
) -> dict[str, Any]:
    heat = {
        "window": [2, 8],
        "colors": "heat",
        "unit": "z",
        "threshold": 4.0,
        "title": "Difference to a healthy prior",
    }
    spread = {"window": [0, 0.2], "colors": "heat", "unit": "white matter", "title": "Spread of the samples"}
    columns = {"number": "number", "volume_ml": "volume (ml)", "peak_z": "peak (z)", "x_mm": "x, right (mm)"}
    row = dict(zip(("x_mm", "y_mm", "z_mm"), place), number=1, volume_ml=voxels / 1000, peak_z=6.0, side=side)
    entries = [
        artifact("healed", "volume", {"unit": "as the scan", "title": "Healed scan"}),
        artifact("heatmap", "volume", heat),
        artifact("spread", "volume", spread),
        artifact("findings_labels", "labels", {"names": {"1": f"1: {side} thalamus"}, "title": "Findings"}),
        artifact("anatomy", "labels", {"names": {"1": "left brain", "2": "right brain"}}, synthetic=False),
        artifact("findings", "table", {"columns": columns}, of="heatmap")
        | {
            "rows": [row | {"structure": "thalamus", "direction": "brighter than expected", "agreement": 1.0}]
        },
        artifact("picture", "plot", {}, of=None) | {"path": "picture.png"},
    ]
    parameters = message["parameters"]
    model = {"name": "made-up", "sha256": "0123456789abcdef"}
    return {
        "format": "braindiffusion result 1",
        "task": message["task"],
        "plausible": False,
        "verdict": "The brain is larger than those that the model learnt from.",
        "notes": ["A clean map does not exclude a lesion."],
        "artifacts": entries,
        "provenance": {
            "task": message["task"],
            "parameters": parameters,
            "seed": 7,
            "model": model,
            "steps": 8,
            "inputs": {name: seen(image) for name, image in message["inputs"].items()},
        },
        "files": ["picture.png"],
    }


def seen(image: dict[str, Any]) -> dict[str, Any]:
    digest = hashlib.sha256(Path(image["path"]).read_bytes() + json.dumps(image["affine"]).encode())
    return {"content_hash": digest.hexdigest()}


def artifact(
    role: str, kind: str, display: dict[str, Any], synthetic: bool = True, of: str | None = "scan"
) -> dict[str, Any]:
    return {"role": role, "kind": kind, "path": None, "display": display, "of": of, "synthetic": synthetic}


def read(path: Path) -> Any:
    """Voxels [Z, Y, X] of a raw NRRD file, by another reader than the module's."""
    import SimpleITK as sitk

    return sitk.GetArrayFromImage(sitk.ReadImage(str(path), imageIO="NrrdImageIO"))


def write(path: Path, voxels: Any) -> None:
    import SimpleITK as sitk

    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(sitk.GetImageFromArray(voxels), str(path), useCompression=False)


if __name__ == "__main__":
    main()
