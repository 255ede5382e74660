"""The sections of docs/results.md: lines of Markdown from the content of the parts' JSON files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from .judged import DETECTED, SIZES_ML
from .real_eval import UNSHOWN, slug

Content = dict[str, Any]


def anatomy(content: Content) -> list[str]:
    """Dice of the masks, ventricles with their side, and every structure."""
    heads = content["heads"]
    measured = {
        "intracranial mask, stripped val brains": content["stripped"],
        "intracranial mask, heads of nichart": heads["mask"],
        "left lateral ventricle, heads": heads["left_dice"],
        "right lateral ventricle, heads": heads["right_dice"],
    }
    rows = [(name, e["scans"], _mean(e), f"{e['lowest']:.3f}") for name, e in measured.items()]
    lines = [*table(("Dice", "scans", "mean", "lowest"), rows), ""]
    lines += prose(
        f"""Truth: what is not zero in the stripped brains; DLMUSE's automatic labels in the heads (labels >
        0). Ventricular volume against DLMUSE: r = {heads["ventricles_r"]:.3f} over {heads["mask"]["scans"]}
        scans, {heads["ventricles_r_persons"]:.3f} over {heads["persons"]} persons (left
        {heads["left_r"]:.3f}, right {heads["right_r"]:.3f}); mean difference {heads["bias_ml"]:+.1f} ml. Left
        and right swapped would make the ventricles' Dice 0."""
    )
    sets = {**content["label_maps"], **content["labelled"]}
    rows = [
        (name, e["images"], "refused", "–")
        if "refused" in e
        else (name, e["images"], f"{e['mean']:.3f}", f"{e['lowest']:.3f}")
        for name, e in sets.items()
    ]
    lines += [*table(("mean Dice over structures", "images", "mean", "lowest image"), rows), ""]
    for name, entry in sets.items():
        if "refused" in entry:
            lines += prose(f"The {name} is refused, as a user would be told: {entry['refused']}")
    lines += prose(
        """The first three are painted from val label maps with fixed seeds; the others are real scans with
        FreeSurfer's labels."""
    )
    names = list(dict.fromkeys(name for entry in sets.values() for name in entry["structures"]))
    each = [(name, *(_maybe(entry["structures"].get(name)) for entry in sets.values())) for name in names]
    return lines + table(("Dice", *sets), each)


def prior(content: Content) -> list[str]:
    """Samples, their spectrum, the denoising error and the control by conditions."""
    control, spectrum, count = content["control"], content["spectrum"], content["samples"]
    lines = [f"![{count} samples with the covariates that were asked for](pictures/samples.png)", ""]
    lines += prose(
        f"""{count} samples of `t1-brain-2mm-generate` in {content["steps"]} steps, seeds 0 to {count - 1},
        none left out; {content["seconds_per_sample"]:.1f} s each (median)."""
    )
    lines += prose(
        f"""Power spectrum: {spectrum["rings_within"]:.0%} of all samples' rings, and
        {spectrum["median_within"]:.0%} of the median sample's, lie within the range of
        {spectrum["real_brains"]} real brains (val and train). In the finer half of the frequencies, down to
        details of {spectrum["finest_mm"]:.1f} mm, the median sample has {spectrum["fine_ratio"]:.2f} times
        the median real brain's power (below 1: blur; above: noise or checkerboard)."""
    )
    lines += ["![Power spectrum of samples and of real brains](pictures/spectrum.png)", ""]
    lines += prose(
        f"""Denoising {content["brains"]} val brains, conditions unknown; the error is root mean square in the
        brain, in percent of white matter. The linear (Wiener) filter knows the spectrum of brains about their
        mean and nothing of their shape; a network that has learnt brains errs less. The last two columns are
        the generator's, which here is told the brain's shape by registering its template, and starts at sigma
        20:"""
    )
    rows = [
        (
            f"{row['sigma']:g}",
            *_losses(row["free"]),
            f"{row['linear']:.1f}",
            *_losses(row["guided"]),
            *(_losses(row["shaped"]) if "shaped" in row else ("–", "–")),
        )
        for row in content["loss"]
    ]
    heading = (
        "sigma",
        "error, no guide",
        "loss, no guide",
        "error, linear filter",
        "error, guided by the brain",
        "loss, guided",
        "error, generator, shape known",
        "loss, generator",
    )
    lines += [*table(heading, rows), ""]
    lines += prose("Conditions against what the anatomy network measures in the samples:")
    volumes = [
        (n, f"{control[n]['r']:.2f}", f"{control[n]['mean_error_ml']:.0f}") for n in ("ventricles", "brain")
    ]
    return lines + table(("volume", "r", "mean error (ml)"), volumes)


def _losses(entry: Content) -> tuple[str, str]:
    return f"{entry['error']:.1f}", f"{entry['loss']:.3f}"


def heal(content: Content) -> list[str]:
    """Guided healing beside its baselines on the implant set."""
    first = content["methods"][0]
    lines = prose(
        f"""{content["cases"]} implanted copies of {content["brains"]} val brains, {content["lesions"]}
        lesions, frozen in `evaluation/implants.json`: real shapes of patients that no training saw, volume
        log-uniform 0.1 to 20 ml, contrast ±10 to 60 %, edge 0 to 2 mm. Every brain is judged with normal maps
        and a threshold fitted on brains of other folds: a residual, the baselines' too where it says "against
        normal brains", is compared with what is usual at its place, which registration of a mean brain finds,
        and beside such anatomy. Healing's heat map then takes off some of what both hemispheres show alike
        and weighs each place by its surroundings (`heatmap.heat`); no baseline does. Average precision
        (AUPRC) is pooled over all voxels of the brains on the scans' own 1 mm grid."""
    )
    lines += ["![Implanted brains: scan with truth, healed, heat map](pictures/implants.png)", ""]
    heading = ("method", "settings", "cases", "AUPRC", "Dice, calibrated threshold", "Dice, best threshold*")
    rows = [_method(row) for row in content["methods"]]
    lines += [*table((*heading, "false findings per normal brain"), rows), ""]
    lines += prose(
        f"""*The best threshold is chosen with the truth: an upper bound, not a result. False findings:
        regions of 0.1 ml or more in {first["normal_brains"]} normal brains, at a threshold calibrated on
        other normal brains for one per brain."""
    )
    pairs = [
        (r["name"], r["cases"], f"{r['first']:.3f}", f"{r['second']:.3f}", interval(r))
        for r in content["differences"]
    ]
    against = ("guided healing against", "cases", "AUPRC guided", "AUPRC other", "difference")
    lines += [*table(against, pairs), ""]
    return lines + _kinds(content) + _found(content) + _variants(content)


def _method(row: Content) -> tuple:
    rate = f"{row['false_rate']:.2f} ({span(row['false_interval'], 2)})"
    return (
        row["name"],
        row["label"],
        row["cases"],
        f"{row['auprc']:.3f}",
        f"{row['dice']:.3f} ({span(row['dice_interval'])})",
        f"{row['best_threshold_dice']:.3f}",
        f"{rate}: {row['false_findings']} in {row['normal_brains']}",
    )


def _kinds(content: Content) -> list[str]:
    names = list(content["classes"][0]["auprc"])
    rows = [
        (
            row["kind"],
            row["lesions"],
            *(f"{row['auprc'][name]:.3f}" for name in names),
            f"{interval(row['against'])} ({row['against']['name']})",
        )
        for row in content["classes"]
    ]
    lines = prose("AUPRC by kind of lesion (the voxels of other lesions do not count):")
    return [*lines, *table(("lesions", "number", *names, "guided minus the best baseline"), rows), ""]


def _found(content: Content) -> list[str]:
    sizes = [f"{low:g} to {high:g} ml" for low, high in SIZES_ML]
    rows = [
        (row["name"], *(_share(entry) for entry in row["sensitivity"]), f"{row['false_in_implanted']:.2f}")
        for row in content["methods"]
    ]
    lines = prose(
        f"Lesions found: at least {DETECTED:.0%} of the lesion lies in findings at the calibrated threshold."
    )
    lines += [*table(("method", *sizes, "false findings per implanted brain"), rows), ""]
    residual = content["residual"]
    return lines + prose(
        f"""Normal brains come back changed by {residual["mean"]:.4f} of white matter's intensity on average
        ({span(residual["interval"], 4)}), 95th percentile {residual["p95"]:.3f}."""
    )


def _variants(content: Content) -> list[str]:
    lines = prose(
        """Variants that were tried on the first implanted copies; the best of each family is shown above,
        which flatters it. Of healing the weight of the samples' doubt was chosen so, and nothing else: what
        both sides share and the surroundings were weighed on other, simulated lesions:"""
    )
    rows = [(row["family"], row["label"], f"{row['auprc']:.3f}") for row in content["variants"]]
    lines += [*table(("method", "variant", "AUPRC on the first copies"), rows), ""]
    if not content["autoencoder"]:
        return lines + prose("The denoising autoencoder was not measured: its weights were not found.")
    return lines + prose(
        """The autoencoder (`braindiffusion train baseline-dae-2mm`) has the build of the prior's second
        network and the prior's real brains, and that network went on from its weights: told by registration
        what brains look like at each place, with coarse noise of several coarsenesses instead of one, and
        for longer (the hours are in its card). So healing owes to it what it began from; the last row
        of the table shows what healing's heat map makes of the autoencoder's own answers."""
    )


def real(content: Content) -> list[str]:
    """Real lesions, older heads, and normal heads of other scanners, each with its picture."""
    every = [*content["lesions"], *content["older"], *content["heads"]]
    shared = _in_common([row["verdict"] for row in every if "verdict" in row])
    told = f" Every result says: *{' '.join(shared)}*" if shared else ""
    lines = prose(f"Through the whole program with its defaults (seed 0), whatever came.{told}")
    rows = [_lesion(row) for row in content["lesions"] if "refused" not in row]
    heading = (
        "T1 alone",
        "lesion (ml)",
        "AUPRC",
        "Dice, calibrated",
        "Dice, best threshold*",
        "lesion covered",
    )
    lines += [*table((*heading, "findings"), rows), ""]
    lines += [
        f"- {row['name']}: the truth is {row['truth_is']}. {_words(row, shared)}"
        for row in content["lesions"]
    ]
    lines += [
        "",
        *prose("Older heads: large ventricles must raise the range warning and must not fill the map."),
    ]
    rows = [_older(row) for row in content["older"] if "refused" not in row]
    heading = (
        "head",
        "ventricles, DLMUSE (ml)",
        "warned",
        "findings",
        "above threshold (ml)",
        "of that in ventricles",
    )
    lines += [*table((*heading, "of the ventricles above threshold"), rows), ""]
    lines += [f"- {row['name']}: {_words(row, shared)}" for row in content["older"]]
    lines += ["", *prose("Normal heads of other scanners, skull on: every finding is one too many.")]
    rows = [
        (row["name"], row["findings"], f"{row['findings_ml']:.1f}", f"{row['seconds']:.0f}")
        for row in content["heads"]
        if "refused" not in row
    ]
    lines += [*table(("head", "findings", "ml", "seconds all told"), rows), ""]
    lines += _levels([row for row in every if "refused" not in row])
    lines += [*(f"- {row['name']}: {_words(row, shared)}" for row in content["heads"]), ""]
    for row in every:
        if "refused" not in row and row["name"] not in UNSHOWN:
            lines += [f"![{row['name']}](pictures/{slug(row['name'])}.png)", ""]
    return lines


def _levels(rows: Sequence[Content]) -> list[str]:
    """How far each scan differs from normal brains as a whole, and what is left above a threshold that makes
    up for it.
    """
    lines = prose(
        f"""Typical z (the median in the brain) is at most {rows[0]["usual_z"]:.2f} in the normal brains that
        the threshold was calibrated on. A scan of another scanner lies far above that; the verdict says so
        and names the threshold that would make up for it, which costs real lesions too."""
    )
    told = [
        (
            row["name"],
            f"{row['typical_z']:.2f}",
            "yes" if "nearly everywhere" in row["verdict"] else "no",
            row["findings"],
            f"{row['higher_threshold']:.1f}",
            row["findings_above_it"],
        )
        for row in rows
    ]
    heading = ("scan", "typical z", "doubted", "findings", "threshold to make up for it", "findings above")
    return [*lines, *table(heading, told), ""]


def _lesion(row: Content) -> tuple:
    return (
        row["name"],
        f"{row['truth_ml']:.1f}",
        f"{row['auprc']:.3f} (chance {row['share_of_brain']:.3f})",
        f"{row['dice']:.3f}",
        f"{row['best_threshold_dice']:.3f}",
        f"{row['covered']:.0%}",
        f"{row['findings']}: {row['findings_ml']:.1f} ml",
    )


def _older(row: Content) -> tuple:
    return (
        row["name"],
        f"{row['ventricles_ml']:.0f}",
        "yes" if row["warned"] else "no",
        row["findings"],
        f"{row['above_ml']:.1f}",
        f"{row['share_in_ventricles']:.0%}",
        f"{row['ventricles_filled']:.1%}",
    )


def _in_common(verdicts: Sequence[str]) -> list[str]:
    """The sentences that each of several verdicts holds."""
    others = [_sentences(verdict) for verdict in verdicts[1:]]
    first = _sentences(verdicts[0]) if others else []
    return [sentence for sentence in first if all(sentence in other for other in others)]


def _sentences(text: str) -> list[str]:
    return re.split(r"(?<=\.) ", text)


def _words(row: Content, known: Sequence[str] = ()) -> str:
    """What was said of a scan, but for the sentences that are `known` from all."""
    if "refused" in row:
        return f"The program refused: {row['refused']}"
    places = [
        f"{p['side']} {p['structure']} {p['volume_ml']:.1f} ml, {p['direction']}" for p in row["strongest"]
    ]
    said = " ".join(sentence for sentence in _sentences(row["verdict"]) if sentence not in known)
    return said + (f" Strongest findings: {'; '.join(places)}." if places else " Nothing was found.")


def table(heading: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    """A Markdown table."""
    lines = ["| " + " | ".join(heading) + " |", "|" + "---|" * len(heading)]
    return lines + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]


def prose(text: str) -> list[str]:
    """A paragraph on one line, and the empty line after it."""
    return [" ".join(text.split()), ""]


def span(limits: Sequence[float], digits: int = 3) -> str:
    """An interval in words."""
    return f"{limits[0]:.{digits}f} to {limits[1]:.{digits}f}"


def interval(row: Content) -> str:
    """A difference with its interval."""
    low, high = row["interval"]
    return f"{row['difference']:+.3f} ({low:+.3f} to {high:+.3f})"


def _mean(entry: Content) -> str:
    return f"{entry['mean']:.3f} ({span(entry['interval'])})"


def _share(entry: Content) -> str:
    if not entry["lesions"]:
        return "none in the set"
    low, high = entry["interval"]
    return f"{entry['found']} of {entry['lesions']} ({low:.0%} to {high:.0%})"


def _maybe(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
