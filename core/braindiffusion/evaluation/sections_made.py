"""What the page of results says of what is made: fillings and generated brains."""

from __future__ import annotations

from .sections import Content, prose, span, table


def inpaint(content: Content) -> list[str]:
    """Healthy regions filled beside simpler fillings, and one tumour."""
    lines = prose(
        f"""Healthy regions of {content["brains"]} val brains with the shapes of real lesions of patients that
        no training saw ({content["fillings"]} fillings of {content["steps"]} steps, fixed seeds). All are
        made on the model grid, joined with the scan in the same way and judged on the scan's own grid: PSNR
        (peak: white matter) and SSIM inside the region. Biharmonic filling is scikit-image's; the mirrored
        hemisphere is the brain's own, about the middle of its grid."""
    )
    sizes = [(f"{row['ml']:g} ml", row) for row in content["sizes"]] + [("all", content["whole"])]
    for figure, unit, digits in (("psnr", "PSNR (dB)", 1), ("ssim", "SSIM", 3)):
        rows = [
            (name, row["gaps"], *(_figure(method[figure], digits) for method in row["methods"]))
            for name, row in sizes
        ]
        lines += [*table((unit, "gaps", *(m["name"] for m in content["whole"]["methods"])), rows), ""]
    lines += prose("The mean filling minus the others, with intervals over brains:")
    rows = [
        (name, gain["name"], _figure(gain["psnr"], 2), _figure(gain["ssim"], 3))
        for name, row in sizes
        for gain in row["against"]
    ]
    lines += [*table(("size", "mean filling minus", "PSNR (dB)", "SSIM"), rows), ""]
    rows = [
        (
            name,
            f"{row['covered']['mean']:.0%} ({row['covered']['interval'][0]:.0%} to "
            f"{row['covered']['interval'][1]:.0%})",
            _figure(row["seam"], 2),
            f"{row['natural']['mean']:.2f} ({span(row['natural']['range'], 2)})",
            f"{row['seams_within']:.0%}",
        )
        for name, row in sizes
    ]
    heading = ("size", "truth within the fillings", "seam", "seam of the untouched scan", "seams within that")
    lines += [*table(heading, rows), ""]
    lines += prose(
        f"""The truth would lie between the lowest and the highest of {content["fillings"]} fillings in
        {content["level"]:.0%} of the voxels, were it one more of them. Seam: how steep the scan is across the
        region's border on its own grid, over how steep the tissue around is; in brackets the range of 95 % of
        the same borders before anything was filled."""
    )
    return lines + _tumour(content["tumour"])


def _tumour(row: Content) -> list[str]:
    if "refused" in row:
        return prose(f"{row['name']}: {row['refused']}")
    lines = prose(
        f"""{row["name"]} with the inpainting challenge's mask ({row["mask_ml"]:.0f} ml), through the whole
        program with its defaults: {row["changed_outside"]} voxels changed outside the mask, seam
        {row["seam"]:.2f}, {row["seconds"]:.0f} s. {row["verdict"]}"""
    )
    return [*lines, f"![{row['name']} filled](pictures/inpainted.png)", ""]


def generate(content: Content) -> list[str]:
    """Generated brains: conditions, realism, variety, privacy and sharpness."""
    realism, privacy, power = content["realism"], content["privacy"], content["spectrum"]
    lines = prose(
        f"""{content["brains"]} brains of {content["steps"]} steps with fixed seeds, whose age, sex and
        volumes were drawn evenly from the training ranges. What was asked for against what was measured:"""
    )
    rows = [
        (name, f"{row['r']:.2f}", f"{row['slope']:.2f}", f"{row['mean_error_ml']:.0f}")
        for name, row in content["followed"].items()
    ]
    lines += [*table(("volume", "r", "slope", "mean error (ml)"), rows), ""]
    rows = [
        (f"{e['age']:g} years, {e['sex']}", e["brains"], f"{e['ventricles']:.0f}", f"{e['brain']:.0f}")
        for e in content["effects"]
    ]
    told = ("age and sex alone told", "brains", "ventricles (ml)", "brain (ml)")
    lines += [*table(told, rows), "", "The training brains are of one site and of these ages.", ""]
    lines += prose(
        f"""Realism, {realism["n"]} brains of each kind: KID (unbiased; energies of detail at four scales in
        blocks of 32 mm) and FID ({realism["directions"]} main directions of the same; with so few brains it
        is far too large):"""
    )
    kinds = (("made", "generated against val"), ("train", "train against val"))
    entries = [(label, realism[kind]) for kind, label in kinds]
    rows = [(label, f"{e['kid']:.3f}", span(e["by_chance"]), f"{e['fid']:.1f}") for label, e in entries]
    lines += [*table(("", "KID", "KID of real brains by chance", "FID"), rows), ""]
    pairs = [
        (n, *(f"{e[k]:.3f}" for k in ("mean", "lowest", "highest"))) for n, e in _two(content["variety"])
    ]
    lines += [*table(("MS-SSIM of pairs (high: little variety)", "mean", "lowest", "highest"), pairs), ""]
    near = [(n, *(f"{e[k]:.3f}" for k in ("mean", "lowest", "highest"))) for n, e in _two(privacy)]
    heading = ("correlation with the nearest training brain, mirrored too", "mean", "lowest", "highest")
    lines += [*table(heading, near), ""]
    lines += prose(
        f"""95 % of real brains are no more similar to another than {privacy["real"]["p95"]:.3f}. Sharpness:
        {power["median_within"]:.0%} of the rings of the median brain's power spectrum lie within the range of
        real ones; in the finer half it has {power["fine_ratio"]:.2f} times their power."""
    )
    return [*lines, "![The most similar pair](pictures/nearest.png)", ""]


def _two(content: Content) -> list[tuple[str, Content]]:
    return [("generated", content["made"]), ("real", content["real"])]


def _figure(entry: Content, digits: int) -> str:
    return f"{entry['mean']:.{digits}f} ({span(entry['interval'], digits)})"
