"""Pathology where its tissues are painted on a healthy scan (methods.md B2.2).

`paint` works on the model grid, [80, 96, 80] with white matter 1, and is a generator of progress like the
solvers; `laid_on` brings what it gives to the scan's own voxels, and to no other voxel than those that are
painted. Where a tissue pushes its surroundings aside nothing is moved: only intensities change.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt, gaussian_filter

from .diffusion.noise import gaussian
from .diffusion.solve import dpmpp2m, q_sample
from .errors import Refused
from .healing import Partway, conditions
from .imaging.frame import Frame
from .imaging.volume import Volume
from .inpainting import Site, as_tensor, on_box, part_around, put_back
from .masks import on_grid_of
from .models.loading import Model
from .nets.paint import context_of, flat
from .pathology import TISSUES, Tissue, named

_SOFT = 0.4
"""How far a border spreads on the scan's grid, voxels."""
_SHOWS = (0.0, 0.3, 0.8, 0.3, 0.3)
"""How much detail of the scan that is finer than the model grid stays visible: beneath nothing, and beneath
each tissue. A little has to, or a patch without the scan's noise would show.
"""


def tissues_on(scan: Volume, mask: Volume) -> tuple[np.ndarray, list[str]]:
    """What is painted at each voxel of the scan, uint8 [X, Y, Z]: 0 nothing, n + 1 `TISSUES[n]`; and notes.

    A value of the mask is the tissue that its name in `meta["names"]` says, and without a name that whose
    label it is. A mask on another grid is resampled (nearest neighbour). Raises Refused where nothing is
    painted, nothing on the scan, or something that is no tissue.
    """
    values = [int(value) for value in np.unique(mask.data) if value]
    if not values:
        raise Refused("The mask is empty; paint a tissue on the scan.")
    names = {int(value): str(name) for value, name in mask.meta.get("names", {}).items()}
    painted = np.zeros(mask.shape, np.uint8)
    for value in values:
        painted[mask.data == value] = 1 + _tissue_of(value, names.get(value, ""))
    return on_grid_of(scan, mask.with_data(painted))


def _tissue_of(value: int, name: str) -> int:
    """The place in TISSUES of what a value or the name of a segment means."""
    known = named([tissue.name for tissue in TISSUES])
    for n, tissue in enumerate(TISSUES):
        if any(word in name.lower() for word in tissue.words) if name else value == tissue.label:
            return n
    if name:
        raise Refused(f"The segment '{name}' has the name of no tissue; call it one of {known}.")
    labels = named([f"{tissue.label} {tissue.name}" for tissue in TISSUES])
    raise Refused(f"The value {value} in the mask is no tissue; the values are {labels}.")


def shares_in(frame: Frame, painted: np.ndarray) -> np.ndarray:
    """How much of each voxel of the model grid each tissue fills, float32 [T, 80, 96, 80]; `painted` is
    `tissues_on` the scan.
    """
    shares = [frame.to_model((painted == n + 1).astype(np.float32)) for n in range(len(TISSUES))]
    return np.stack(shares).clip(0, 1) * frame.mask


def draw_levels(
    tissues: Sequence[Tissue], wanted: Sequence[float | None], seeds: Sequence[int]
) -> np.ndarray:
    """How bright each tissue is in the painting of each seed, float32 [N, T]: as wanted, and where nothing is
    wanted somewhere in its usual range.
    """
    usual = np.array([tissue.usual for tissue in tissues])
    drawn = np.stack([np.random.default_rng(seed).uniform(*usual.T) for seed in seeds])
    asked = np.array([np.nan if value is None else value for value in wanted])
    return np.where(np.isnan(asked), drawn, asked).astype(np.float32)


def paint(
    model: Model,
    image: np.ndarray,
    shares: np.ndarray,
    levels: np.ndarray,
    seeds: Sequence[int],
    steps: int = 8,
    *,
    device: str = "cpu",
    precision: str = "fp32",
    batch: int = 0,
) -> Generator[Partway, None, np.ndarray]:
    """Yields how far it is after each step, and returns one painting per seed, [N, 80, 96, 80]: `image`
    [80, 96, 80] where none of `shares` [T, 80, 96, 80] is above 0.

    levels: [N, T], `draw_levels`. Samples are computed `batch` at a time (0: all); their noise belongs to
    their seed.
    """
    denoise, where = model.denoiser(device, precision), shares.max(0) > 0
    part = part_around(where)
    here = (slice(None), slice(None), *part)
    guide, tissue = (as_tensor(image)[here], torch.from_numpy(shares)[None][here])
    chunk = batch or len(seeds)
    starts = range(0, len(seeds), chunk)
    done: list[np.ndarray] = []
    for number, start in enumerate(starts):
        some, bright = seeds[start : start + chunk], torch.from_numpy(levels[start : start + chunk])
        scans = guide.expand(len(some), -1, -1, -1, -1).to(device)
        context = context_of(tissue.expand(len(some), -1, -1, -1, -1), bright).to(device)
        cond = conditions(model, {}, len(some)).to(device).with_guide(scans, context=context)
        nodes = model.path.karras(steps)
        x = q_sample(flat(scans, context), gaussian(tuple(scans.shape[1:]), some).to(scans), nodes[0])
        for step in dpmpp2m(denoise, x, nodes, cond):
            x0 = torch.from_numpy(put_back(step.x0, image, where, part))[:, None]
            yield Partway((number + step.i / step.n) / len(starts), tuple(done), x0)
        done.append(put_back(step.x, image, where, part))
    return np.concatenate(done)


def laid_on(
    site: Site,
    frame: Frame,
    painted: np.ndarray,
    shares: np.ndarray,
    levels: np.ndarray,
    images: np.ndarray,
) -> list[np.ndarray]:
    """Each of `images` [N, 80, 96, 80] in the voxels of the scan that are painted, elsewhere the scan:
    [x, y, z] of the site each. painted: `tissues_on` the scan; shares: `shares_in` the model grid; levels:
    [N, T].

    Flat tissue is laid on the scan's own voxels, so that it is sharp there, and then what the model drew
    beyond flat tissue.
    """
    healthy, tissue = in_white_matter(site, frame, site.data), painted[site.box]
    beyond = tuple(distance_transform_edt(~frame.mask, return_distances=False, return_indices=True))
    detail = healthy - on_box(frame, frame.image[beyond], site.box, order=3)
    fine = np.stack(
        [gaussian_filter(np.float32(site.region & (tissue == n + 1)), _SOFT) for n in range(len(TISSUES))]
    )
    bare = 1 - fine.sum(0)
    bias = np.exp(on_box(frame, frame.log_bias, site.box))
    laid = []
    for image, bright in zip(images, levels):
        context = context_of(torch.from_numpy(shares)[None], torch.from_numpy(bright)[None])
        drawn = image - flat(as_tensor(frame.image), context)[0, 0].numpy()
        ours = bare * healthy + np.tensordot(bright, fine, 1) + on_box(frame, drawn, site.box)
        ours += (1 - bare) * np.array(_SHOWS, np.float32)[tissue] * detail
        whole = site.data.copy()
        native = frame.scale.to_native(ours.clip(0)) * bias + frame.ground.lowest
        whole[site.region] = native[site.region]
        laid.append(whole)
    return laid


def in_white_matter(site: Site, frame: Frame, image: np.ndarray) -> np.ndarray:
    """`image` [x, y, z] of the site in model intensities: flattened, white matter 1."""
    flattened = (image - frame.ground.lowest) * np.exp(-on_box(frame, frame.log_bias, site.box))
    return frame.scale.to_model(flattened)


def table_of(
    site: Site,
    frame: Frame,
    painted: np.ndarray,
    tissues: Sequence[Tissue],
    levels: np.ndarray,
    laid: Sequence[np.ndarray],
) -> list[dict[str, Any]]:
    """What each painting, [x, y, z] of the site, shows in each of its tissues."""
    voxel_ml = abs(float(np.linalg.det(frame.affine[:3, :3]))) / 1000
    before, rows = in_white_matter(site, frame, site.data), []
    for number, (image, asked) in enumerate(zip(laid, levels), 1):
        after = in_white_matter(site, frame, image)
        for n, tissue in enumerate(tissues):
            there = site.region & (painted[site.box] == n + 1)
            if not there.any():
                continue
            within = (after[there] >= tissue.low) & (after[there] <= tissue.high)
            rows.append(
                {
                    "painting": str(number),
                    "tissue": tissue.name,
                    "label": tissue.label,
                    "volume_ml": round(float(there.sum()) * voxel_ml, 3),
                    "before": round(float(before[there].mean()), 3),
                    "asked": round(float(asked[n]), 3),
                    "after": round(float(after[there].mean()), 3),
                    "low": tissue.low,
                    "high": tissue.high,
                    "within": round(float(within.mean()), 3),
                }
            )
    return rows
