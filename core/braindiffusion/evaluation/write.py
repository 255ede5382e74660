"""docs/results.md from what the parts measured. Every figure on the page comes from a part's JSON file."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import BrainDiffusionError
from ..models.card import Card
from .sections import Content, anatomy, heal, interval, prior, prose, real, span, table
from .sections_made import generate, inpaint, paint, sharpen

COMMAND = "python -m braindiffusion.evaluation --only {}"
SECTIONS: dict[str, tuple[str, Callable[[Content], list[str]]]] = {
    "anatomy": ("Anatomy: `brain-anatomy-2mm`", anatomy),
    "prior": ("Conditional prior: `t1-brain-2mm` and `t1-brain-2mm-generate`", prior),
    "heal": ("Healing", heal),
    "real": ("Real cases", real),
    "inpaint": ("Inpainting", inpaint),
    "generate": ("Generated brains", generate),
    "paint": ("Painted pathology: `t1-brain-2mm-paint`", paint),
    "sharpen": ("Brains at 1 mm: `t1-brain-1mm`", sharpen),
}
# The model that a part measures.
MODELS = {
    "anatomy": "brain-anatomy-2mm",
    "prior": "t1-brain-2mm-generate",
    "heal": "t1-brain-2mm",
    "real": "t1-brain-2mm",
    "inpaint": "t1-brain-2mm-generate",
    "generate": "t1-brain-2mm-generate",
    "paint": "t1-brain-2mm-paint",
    "sharpen": "t1-brain-1mm",
}


def page(folder: Path, before: str = "") -> str:
    """The whole page from the parts in `folder`. A part that is not there keeps what the page `before` said
    of it, or says that it was not measured.
    """
    parts = {name: _read(folder / f"{name}.json") for name in SECTIONS}
    lines = ["# Results", ""]
    lines += prose(
        """Made by `make evaluate` from the shipped models; nothing on this page is typed by hand. Research
        use only. Data: [data.md](data.md). Intervals are 95 %: bootstrap over brains, exact Poisson for
        rates, Wilson for shares."""
    )
    if any(part and part["quick"] for part in parts.values()):
        lines += [
            "**A quick run on few cases: it shows that the evaluation runs, and measures nothing.**",
            "",
        ]
    lines += _goals(parts, before)
    for name, (title, write) in SECTIONS.items():
        part = parts[name]
        lines += ["", f"## {title}", ""]
        if part is None:
            lines.append(_said(title, before) or f"Not measured yet: `{COMMAND.format(name)}`.")
        else:
            lines += [*_machine(name, part), *write(part["content"])]
    return "\n".join(lines).rstrip() + "\n"


def _said(title: str, page: str) -> str:
    """The section `title` of a page, without its heading; empty where there is none."""
    return page.partition(f"\n## {title}\n")[2].partition("\n## ")[0].strip()


def goals(parts: dict[str, Content | None]) -> list[tuple[str, str, str, bool]]:
    """(what, goal, measured, met) of everything that the foundation must show and that was measured."""
    checks = {
        "anatomy": _anatomy_goals,
        "heal": _heal_goals,
        "prior": _prior_goals,
        "real": _real_goals,
        "inpaint": _inpaint_goals,
        "generate": _generate_goals,
        "paint": _paint_goals,
        "sharpen": _sharpen_goals,
    }
    return [
        row for name, check in checks.items() if (part := parts.get(name)) for row in check(part["content"])
    ]


def learnt(card: Card, folder: Path) -> dict[str, Any]:
    """What the evaluation learnt that the tasks of a model use: the error of a filling, where it was measured
    with these weights.
    """
    part = _read(folder / "inpaint.json") if card.name == MODELS["inpaint"] else None
    return {"filling": part["content"]["filling"]} if part else {}


def for_card(card: Card, folder: Path) -> dict[str, Any]:
    """What the parts in `folder` measured of a model: {part: command, date, [what, goal, measured, met]}.

    Raises BrainDiffusionError where nothing was measured, or what there is must not be quoted of this model.
    """
    told = {}
    for name, model in MODELS.items():
        file = folder / f"{name}.json"
        part = _read(file) if model == card.name else None
        if part is None:
            continue
        if part["quick"]:
            raise BrainDiffusionError(f"'{file}' is of a quick run, which measures nothing; measure anew.")
        if part.get("models", {}).get(model, card.sha256) != card.sha256:
            raise BrainDiffusionError(f"'{file}' was measured with other weights of {model}; measure anew.")
        keys = ("what", "goal", "measured", "met")
        told[name] = {
            "command": COMMAND.format(name),
            "date": part["date"],
            "figures": [dict(zip(keys, row, strict=True)) for row in goals({name: part})],
        }
    if not told:
        raise BrainDiffusionError(f"Nothing in '{folder}' measures {card.name}; run 'make evaluate' first.")
    return told


Goals = list[tuple[str, str, str, bool]]
_GOALS = ("", "goal", "measured", "met", "part")


def _anatomy_goals(content: Content) -> Goals:
    measured = (
        ("Intracranial mask, stripped brains, Dice", 0.95, content["stripped"]["mean"]),
        ("Intracranial mask, heads, Dice", 0.93, content["heads"]["mask"]["mean"]),
        ("Ventricular volume against DLMUSE, r", 0.95, content["heads"]["ventricles_r"]),
        *(
            (f"Structures, val label maps {kind}, mean Dice", 0.80, content["label_maps"][kind]["mean"])
            for kind in ("like T1, head", "like T1, stripped")
        ),
    )
    return [(what, f"≥ {goal:.2f}", f"{value:.3f}", value >= goal) for what, goal, value in measured]


def _heal_goals(content: Content) -> Goals:
    rivals = [row for row in content["differences"] if row["name"] != "partial"]
    closest = min(rivals, key=lambda row: row["difference"])
    value = f"{closest['first']:.3f} against {closest['second']:.3f} ({closest['name']}), {interval(closest)}"
    above = all(row["interval"][0] > 0 for row in rivals)
    guided = content["methods"][0]
    rate = f"{guided['false_rate']:.2f} ({span(guided['false_interval'], 2)})"
    rows = [
        ("Healing, AUPRC above every baseline", "interval of the difference above 0", value, above),
        ("False findings per normal brain not used for calibration", "≤ 1", rate, guided["false_rate"] <= 1),
    ]
    if not content["autoencoder"]:
        rows.append(("Healing, denoising autoencoder as a baseline", "measured", "no weights found", False))
    return rows


def _prior_goals(content: Content) -> Goals:
    seconds, within = content["seconds_per_sample"], content["spectrum"]["median_within"]
    return [
        (f"Seconds per sample of {content['steps']} steps", "≤ 6", f"{seconds:.1f}", seconds <= 6),
        _spectrum_goal(content["samples"], within),
    ]


def _spectrum_goal(samples: int, within: float) -> tuple[str, str, str, bool]:
    what = f"Power spectrum of the median of {samples} samples within that of real brains"
    return what, "all rings", f"{within:.0%}", within == 1


def _real_goals(content: Content) -> Goals:
    large = [row for row in content["older"] if row.get("ventricles_ml", 0) > 60]
    warned = sum(row["warned"] for row in large)
    slowest = max((row["seconds"] for row in content["heads"] if "seconds" in row), default=math.nan)
    return [
        (
            "Large ventricles raise the range warning",
            "all",
            f"{warned} of {len(large)}",
            warned == len(large),
        ),
        ("A 1 mm head, seconds all told", "≤ 90", f"{slowest:.0f}", slowest <= 90),
    ]


def _inpaint_goals(content: Content) -> Goals:
    rows: Goals = []
    whole, level = content["whole"], content["level"]
    for gain in whole["against"]:
        for figure, unit, digits in (("psnr", "PSNR, dB", 2), ("ssim", "SSIM", 3)):
            low, high = gain[figure]["interval"]
            value = f"{gain[figure]['mean']:+.{digits}f} ({low:+.{digits}f} to {high:+.{digits}f})"
            rows.append((f"Inpainting against {gain['name']}, {unit}", "interval above 0", value, low > 0))
    covered = whole["covered"]
    within = f"{covered['mean']:.0%} ({covered['interval'][0]:.0%} to {covered['interval'][1]:.0%})"
    what = f"Truth within the range of {content['fillings']} fillings"
    rows.append((what, f"≥ {level:.0%}", within, covered["mean"] >= level))
    (low, high), share = whole["held"]["interval"], content["filling"]["share"]
    said = f"{whole['held']['mean']:.0%} ({low:.0%} to {high:.0%})"
    rows.append(("Truth within the error map about the filling", f"{share:.0%}", said, low <= share <= high))
    low, high = whole["natural"]["range"]
    seam = whole["seam"]["mean"]
    rows.append(
        ("Seam of a filling", f"as real tissue, {low:.2f} to {high:.2f}", f"{seam:.2f}", low <= seam <= high)
    )
    for case in (*content["timed"], content["tumour"]):
        if "seconds" in case:
            where = f"a 1 mm {case['what']}" if "what" in case else case["name"]
            said = f"Inpainting {case['mask_ml']:.0f} ml of {where}, seconds all told"
            rows.append((said, "≤ 20", f"{case['seconds']:.0f}", case["seconds"] <= 20))
    return rows


def _generate_goals(content: Content) -> Goals:
    followed, privacy = content["followed"], content["privacy"]
    rows: Goals = [
        (f"Generated brains, {name}, r", "≥ 0.90", f"{followed[name]['r']:.2f}", followed[name]["r"] >= 0.9)
        for name in ("ventricles", "brain")
    ]
    slope = followed["ventricles"]["slope"]
    rows.append(("Generated brains, ventricles, slope", "0.8 to 1.2", f"{slope:.2f}", 0.8 <= slope <= 1.2))
    made = content["realism"]["made"]
    value = f"{made['kid']:.3f} ({span(made['by_chance'])})"
    rows.append(
        ("Generated brains, KID", "in the interval of real ones", value, made["kid"] <= made["by_chance"][1])
    )
    pairs, real = (content["variety"][name]["mean"] for name in ("made", "real"))
    alike = abs(pairs / real - 1) <= 0.1
    rows.append(("Generated brains, MS-SSIM of pairs", f"{real:.2f} ± 10 %", f"{pairs:.2f}", alike))
    rows.append(_spectrum_goal(content["brains"], content["spectrum"]["made"]["median_within"]))
    closest, usual = privacy["made"]["highest"], privacy["real"]["p95"]
    what = "Generated brains, most similar training brain, r"
    rows.append((what, f"≤ {usual:.2f}", f"{closest:.2f}", closest <= usual))
    return rows


def _sharpen_goals(content: Content) -> Goals:
    rows: Goals = []
    for gain in content["against"][:2]:
        low, high = gain["psnr"]["interval"]
        value = f"{gain['psnr']['mean']:+.2f} ({low:+.2f} to {high:+.2f})"
        rows.append((f"1 mm brains against {gain['name']}, PSNR, dB", "interval above 0", value, low > 0))
    natural, seams = content["seam"]["natural"], content["seam"]["seam"]
    lowest, highest, mean = min(natural), max(natural), sum(seams) / len(seams)
    goal = f"as real brains, {lowest:.2f} to {highest:.2f}"
    rows.append(("1 mm brains, seam of the tiles", goal, f"{mean:.2f}", lowest <= mean <= highest))
    peak = content["cost"]["peak_gib"]
    rows.append(("A brain from 2 mm to 1 mm, memory, GiB", "≤ 8", f"{peak:.1f}", peak <= 8))
    return rows


def _paint_goals(content: Content) -> Goals:
    rows: Goals = []
    for row in content["tissues"]:
        within = row["within"]["mean"]
        rows.append((f"Painted {row['name']}, voxels in its range", "≥ 80 %", f"{within:.0%}", within >= 0.8))
    closest = min(content["pairs"], key=lambda row: row["area"]["mean"])
    value = f"{closest['area']['mean']:.2f} ({closest['name']})"
    rows.append(("Painted tissues told apart, AUC", "≥ 0.90", value, closest["area"]["mean"] >= 0.9))
    changed = content["changed_outside"]
    rows.append(("Voxels changed outside what is painted", "0", f"{changed}", changed == 0))
    return rows


def _goals(parts: dict[str, Content | None], before: str) -> list[str]:
    """The table of all goals; its last column names the part, by which rows of the page `before` are kept."""
    rows: list[str] = []
    for name, part in parts.items():
        if part is None:
            rows += [line for line in before.splitlines() if line.endswith(f"| {name} |")]
        else:
            told = [(*row[:3], "yes" if row[3] else "**no**", name) for row in goals({name: part})]
            rows += table(_GOALS, told)[2:]
    return [*table(_GOALS, []), *rows] if rows else []


def _machine(name: str, part: Content) -> list[str]:
    made = part["machine"]
    told = prose(
        f"""{made["processor"]}, {made["threads"]} threads, device {made["device"]}, {made["precision"]},
        Python {made["python"]}, torch {made["torch"]}; {part["seconds"] / 60:.0f} minutes with what was
        cached."""
    )
    return ["```", COMMAND.format(name), "```", "", *told]


def _read(file: Path) -> Content | None:
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None
