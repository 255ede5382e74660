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
    lines += prose("The filling minus the others, with intervals over brains:")
    rows = [
        (name, gain["name"], _figure(gain["psnr"], 2), _figure(gain["ssim"], 3))
        for name, row in sizes
        for gain in row["against"]
    ]
    lines += [*table(("size", "filling minus", "PSNR (dB)", "SSIM"), rows), ""]
    rows = [
        (
            name,
            _percent(row["covered"]),
            _percent(row["held"]),
            f"{row['expected']['mean']:.3f}",
            _figure(row["seam"], 2),
            f"{row['natural']['mean']:.2f} ({span(row['natural']['range'], 2)})",
            f"{row['seams_within']:.0%}",
        )
        for name, row in sizes
    ]
    heading = (
        "size",
        "truth within the fillings",
        "truth within the error map",
        "its mean",
        "seam",
        "seam of the untouched scan",
        "seams within that",
    )
    lines += [*table(heading, rows), ""]
    lines += prose(
        f"""The filling is the first of {content["fillings"]}, whose shape is the likeliest; the others lie
        about it in pairs. The truth would lie between the lowest and the highest of them in
        {content["level"]:.0%} of the voxels, were it one more of them. The error map is meant to hold it in
        {content["filling"]["share"]:.0%} about the filling: what it makes of the fillings is learnt from the
        other brains here. Seam: how steep the scan is across the
        region's border on its own grid, over how steep the tissue around is; in brackets the range of 95 % of
        the same borders before anything was filled."""
    )
    rows = [(row["what"], f"{row['mask_ml']:.0f}", f"{row['seconds']:.0f}") for row in content["timed"]]
    lines += [*table(("1 mm scan, whole program, defaults", "filled (ml)", "seconds"), rows), ""]
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


def paint(content: Content) -> list[str]:
    """Whether labels and intensities of painted pathology agree."""
    lines = prose(
        f"""{content["brains"]} val brains, each painted with a tumour (necrotic core, enhancing rim, oedema)
        and lesions elsewhere, shapes of patients that no training saw; {content["painted_ml"]:.0f} ml in each
        (mean), {content["steps"]} steps, once with contrast agent and once without. Everything is judged on
        the scan's own grid, where white matter is 1. The range is what is expected of the tissue; the healthy
        scan's share of voxels in it is what chance gives. The brightness that was asked for was
        drawn inside the range; what lies beneath oedema shows through, so that it is brighter than that."""
    )
    rows = [
        (
            row["name"],
            span(row["range"], 2),
            _share(row["within"]),
            f"{row['before']['mean']:.0%}",
            f"{row['error']['mean']:.3f}",
            f"{row['r']:.2f}",
            f"{row['dice']['mean']:.3f}",
        )
        for row in content["tissues"]
    ]
    heading = (
        "tissue", "range", "voxels in it", "healthy scan", "mean brightness, error", "r with what was asked",
        "Dice of the visible change",
    )  # fmt: skip
    lines += [*table(heading, rows), ""]
    pairs = [(row["name"], _figure(row["area"], 3)) for row in content["pairs"]]
    lines += [*table(("told apart by their voxels, with contrast agent", "AUC"), pairs), ""]
    lines += prose(
        f"""A change is visible where it is above {content["threshold"]:g}; the Dice of all that is visible
        with all that is painted is {_figure(content["dice"], 3)}. Voxels changed outside what is painted:
        {content["changed_outside"]}. Oedema on cortex changes little, by intention. Sampling starts from flat
        tissue of the brightness that was asked for, which would agree by itself; what the network draws
        beyond it (texture, border, what shows through) was learnt from simulated implants. That labels and
        intensities agree does not say that patients look so, and nobody was asked whether the pictures are
        believable."""
    )
    return [*lines, "![A val brain with painted pathology](pictures/paint.png)", ""]


def _share(value: Content) -> str:
    low, high = value["interval"]
    return f"{value['mean']:.0%} ({low:.0%} to {high:.0%})"


def generate(content: Content) -> list[str]:
    """Generated brains: conditions, realism, variety, privacy and sharpness."""
    realism, privacy, power = content["realism"], content["privacy"], content["spectrum"]["made"]
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
        f"""Realism, {realism["n"]} brains of each kind, the generated ones with nothing asked for, so that
        their age, sex and volumes are drawn as they occur: KID (unbiased; energies of detail at four scales
        in blocks of 32 mm) and FID ({realism["directions"]} main directions of the same; with so few brains
        it is far too large):"""
    )
    kinds = [("made", "generated against val"), ("train", "train against val")]
    if "vae" in realism:
        kinds.insert(1, ("vae", "variational autoencoder against val"))
    entries = [(label, realism[kind]) for kind, label in kinds]
    rows = [(label, f"{e['kid']:.3f}", span(e["by_chance"]), f"{e['fid']:.1f}") for label, e in entries]
    lines += [*table(("", "KID", "KID of real brains by chance", "FID"), rows), ""]
    pairs = [
        (n, *(f"{e[k]:.3f}" for k in ("mean", "lowest", "highest"))) for n, e in _rows(content["variety"])
    ]
    lines += [*table(("MS-SSIM of pairs (high: little variety)", "mean", "lowest", "highest"), pairs), ""]
    near = [(n, *(f"{e[k]:.3f}" for k in ("mean", "lowest", "highest"))) for n, e in _rows(privacy)]
    heading = ("correlation with the nearest training brain, mirrored too", "mean", "lowest", "highest")
    lines += [*table(heading, near), ""]
    lines += prose(
        f"""95 % of real brains are no more similar to another than {privacy["real"]["p95"]:.3f}. Sharpness:
        {power["median_within"]:.0%} of the rings of the median brain's power spectrum lie within the range of
        real ones; in the finer half it has {power["fine_ratio"]:.2f} times their power."""
    )
    if "vae" in content["spectrum"]:
        rival = content["spectrum"]["vae"]
        lines += prose(
            f"""The variational autoencoder (a rival trained on the same brains by `braindiffusion train
            baseline-vae-2mm`; it knows no covariates): {rival["median_within"]:.0%} of the rings,
            {rival["fine_ratio"]:.2f} times the fine power."""
        )
    else:
        lines += prose("The variational autoencoder was not measured: its weights were not found.")
    return [*lines, "![The most similar pair](pictures/nearest.png)", ""]


def sharpen(content: Content) -> list[str]:
    """Brains at 1 mm beside interpolation, and what they cost."""
    lines = prose(
        f"""{content["brains"]} val brains as a frame shows them to the models, at 2 mm, brought to 1 mm
        ({content["steps"]} steps, fixed seeds) and compared with the scans themselves at 1 mm, inside the
        brain. Back-projection is the deblurred brain around which detail is drawn. Fine power: of the
        spectrum beyond what 2 mm can show, over the real brain's. Detail drawn by chance costs PSNR."""
    )
    rows = [
        (m["name"], _figure(m["psnr"], 1), _figure(m["ssim"], 3), _figure(m["power"], 2))
        for m in content["methods"]
    ]
    lines += [*table(("", "PSNR (dB)", "SSIM", "fine power"), rows), ""]
    made, cost, seam = content["generated"], content["cost"], content["seam"]
    means = {name: sum(values) / len(values) for name, values in seam.items()}
    lines += prose(
        f"""Blurred and sampled again they differ from their 2 mm brain by
        {100 * content["consistency"]:.1f} % of white matter (root mean square). {made["brains"]} generated
        brains at 1 mm have {made["power"]:.2f} times the fine power of the median real one, and differ by
        {100 * made["consistency"]:.1f} %. Where tiles meet they are {means["seam"]:.3f} times as steep as
        elsewhere, and real brains there {means["natural"]:.3f} times
        ({span([min(seam["natural"]), max(seam["natural"])], 3)}). One brain takes {cost["seconds"]:.0f} s and
        {cost["peak_gib"]:.1f} GiB, all told."""
    )
    return [
        *lines,
        "![2 mm, interpolated, sharpened and real](pictures/detail.png)",
        "",
        "![Generated brains at 2 mm and at 1 mm](pictures/detail_generated.png)",
        "",
    ]


_KINDS = {"made": "generated", "vae": "variational autoencoder", "real": "real"}


def _rows(content: Content) -> list[tuple[str, Content]]:
    return [(label, content[kind]) for kind, label in _KINDS.items() if kind in content]


def _percent(entry: Content) -> str:
    low, high = entry["interval"]
    return f"{entry['mean']:.0%} ({low:.0%} to {high:.0%})"


def _figure(entry: Content, digits: int) -> str:
    return f"{entry['mean']:.{digits}f} ({span(entry['interval'], digits)})"
