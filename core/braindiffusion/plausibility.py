"""Is the whole scan one that the model may judge? Refuse or warn, in a sentence (users.md: no result without
a verdict).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.ndimage import binary_dilation, binary_erosion, binary_fill_holes, convolve, gaussian_filter

from .anatomy import VENTRICLES
from .errors import Refused
from .imaging.frame import Frame
from .imaging.grid import GRID_AFFINE, GRID_SHAPE, GRID_SPACING, sample, spacing_of
from .imaging.template import template

VENTRICLES_ML = (5.0, 45.0)
"""Ventricular volume of the structurally normal adults that the prior learnt from, with a margin."""
BRAIN_ML = (850.0, 1500.0)
_INTRACRANIAL_ML = (700.0, 2300.0)
_NOISE_WARN, _NOISE_REFUSE = 0.06, 0.20
_WHOLE = 0.94
"""Least coverage of the template by a whole brain: real brains reach 0.97 to 1.00, those that lack a
quarter at most 0.90.
"""
_CUT_MM2 = 1000.0
_SECOND_DIFFERENCE = 6.0**0.5
"""SD of the second difference a - 2 b + c of white noise of SD 1."""


@dataclass
class Verdict:
    """plausible: no warning was raised. sentences: the warnings, for a clinician. figures: what they rest
    on.
    """

    sentences: list[str] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)
    large_ventricles: bool = False

    @property
    def plausible(self) -> bool:
        return not self.sentences

    @property
    def summary(self) -> str:
        """One sentence on the whole scan."""
        return " ".join(self.sentences) or "The scan looks like the T1-weighted brains that the model knows."


def judge(frame: Frame, sizes: dict[str, float], outside_age: str | None, cut_faces: list[str]) -> Verdict:
    """Judge one framed scan. sizes: intracranial, brain and ventricular volume in ml; outside_age: a sentence
    where it is.

    Raises Refused for what is no T1-weighted brain, for part of a brain, and for noise that hides the tissue.
    """
    verdict = Verdict(figures={f"{key}_ml": round(value, 1) for key, value in sizes.items()})
    csf, grey, white = frame.tissue[0]
    _refuse_size(sizes["intracranial"])
    _refuse_contrast(float(csf), float(grey), float(white))
    _refuse_part(frame)
    noise = white_matter_noise(frame.image)
    verdict.figures |= {"noise": round(noise, 3), "grey_to_white": round(float(grey / white), 3)}
    if noise > _NOISE_REFUSE:
        raise Refused(
            f"The scan is too noisy to judge (noise is {noise:.0%} of white matter); repeat or denoise it."
        )
    if noise > _NOISE_WARN:
        verdict.sentences.append(
            f"The scan is noisy ({noise:.0%} of white matter), so false findings are likelier."
        )
    if grey / white > 0.9:
        verdict.sentences.append(
            "Grey and white matter differ little in this scan, so small changes may be missed or invented."
        )
    if cut_faces:
        verdict.sentences.append(
            f"The brain is cut off by the edge of the image ({', '.join(cut_faces)}); "
            "what is missing is not judged."
        )
    low, high = VENTRICLES_ML
    if not low <= sizes["ventricles"] <= high:
        verdict.large_ventricles = sizes["ventricles"] > high
        consequence = "; they and their borders are not judged" if verdict.large_ventricles else ""
        verdict.sentences.append(
            f"The ventricles measure {sizes['ventricles']:.0f} ml, outside the {low:.0f} to {high:.0f} ml of "
            f"the brains that the model learnt from{consequence}."
        )
    if not BRAIN_ML[0] <= sizes["brain"] <= BRAIN_ML[1]:
        verdict.sentences.append(
            f"The brain measures {sizes['brain']:.0f} ml, outside the range that the model learnt from "
            f"({BRAIN_ML[0]:.0f} to {BRAIN_ML[1]:.0f} ml)."
        )
    if outside_age:
        verdict.sentences.append(outside_age)
    return verdict


def judged_where(labels: np.ndarray, verdict: Verdict) -> np.ndarray:
    """Where the map is shown, float32, for `labels` [X, Y, Z]: everywhere, but for ventricles outside the
    training range and their borders.
    """
    if not verdict.large_ventricles:
        return np.ones(labels.shape, np.float32)
    ventricles = np.isin(labels, VENTRICLES)
    return (~binary_dilation(ventricles, iterations=2)).astype(np.float32)


def white_matter_noise(image: np.ndarray) -> float:
    """SD of the noise in white matter, in units of white matter, from second differences [80, 96, 80]
    (robust, MAD).

    White matter is found in a blurred copy: chosen by its own voxels, it would be where there is little
    noise.
    """
    blurred = gaussian_filter(image, 1.5)
    white = binary_erosion((blurred > 0.9) & (blurred < 1.15))
    if white.sum() < 500:
        white = binary_erosion(image > 0)
    if not white.any():
        return 0.0
    kernel = np.array([1.0, -2.0, 1.0])
    spreads = []
    for axis in range(3):
        shape = [1, 1, 1]
        shape[axis] = 3
        difference = convolve(image, kernel.reshape(shape))[white]
        spreads.append(1.4826 * np.median(np.abs(difference - np.median(difference))))
    return float(min(spreads) / _SECOND_DIFFERENCE)


def faces_cut(frame: Frame) -> list[str]:
    """Names of the sides on which the brain runs into the edge of the user's image, whatever its voxels'
    order.

    A side is cut where 10 cm² of brain lie at the edge: a whole brain that just touches it shows 4, a
    brainstem 6.
    """
    directions = (("left", "right"), ("back", "front"), ("bottom", "top"))
    brain = np.argwhere(frame.mask) @ frame.index[:3, :3].T + frame.index[:3, 3]
    spacing = spacing_of(frame.affine)
    names = []
    for axis in range(3):
        for towards, depth in ((-1, brain[:, axis]), (1, frame.shape[axis] - 1 - brain[:, axis])):
            at_edge = int((depth * spacing[axis] < GRID_SPACING).sum())
            if at_edge * GRID_SPACING**2 > _CUT_MM2:
                outwards = towards * frame.affine[:3, axis]
                main = int(np.abs(outwards).argmax())
                names.append(directions[main][int(outwards[main] > 0)])
    return names


def wholeness(mask: np.ndarray) -> float:
    """Share of the template brain that a centred intracranial `mask` [80, 96, 80] covers, scaled to its
    volume.

    A small brain has the shape of the template, half a brain has not and sticks out instead.
    """
    whole = binary_fill_holes(template().t1 > 0.2)
    scale = (whole.sum() / max(int(mask.sum()), 1)) ** (1 / 3)
    places = np.argwhere(whole)
    to_mask = np.diag([1 / scale] * 3 + [1.0])
    to_mask[:3, 3] = (np.array(GRID_SHAPE) - 1) / 2 - (places.min(0) + places.max(0)) / 2 / scale
    scaled = sample(mask.astype(np.float32), to_mask, GRID_SHAPE) > 0.5
    return float(scaled[binary_erosion(whole, iterations=3)].mean())


def _refuse_size(intracranial: float) -> None:
    low, high = _INTRACRANIAL_ML
    if not low <= intracranial <= high:
        raise Refused(
            f"No whole human brain was found ({intracranial:.0f} ml where 1000 to 2000 ml are usual); "
            "check that this is a head or brain and that the voxel spacing is right."
        )


def _refuse_contrast(csf: float, grey: float, white: float) -> None:
    if not (grey < 0.97 * white and csf < grey):
        raise Refused(
            "This does not look like a T1-weighted scan: white matter is not brighter than grey matter and "
            "fluid; choose the T1 series without contrast agent."
        )


def _refuse_part(frame: Frame) -> None:
    x = GRID_AFFINE[0, 0] * np.arange(GRID_SHAPE[0]) + GRID_AFFINE[0, 3]
    left, right = frame.mask[x < 0].sum(), frame.mask[x > 0].sum()
    if wholeness(frame.mask) < _WHOLE or min(left, right) < 0.7 * max(left, right):
        raise Refused(
            "Part of the brain is missing from the scan, so it cannot be compared with whole brains; "
            "choose a scan that covers it all."
        )
