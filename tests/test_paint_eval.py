"""The measure of painted pathology is honest: the same scenes each time, figures that are what they say."""

from __future__ import annotations

import numpy as np
import pytest

from braindiffusion.evaluation import implants, paint_eval, sections_made, write
from braindiffusion.evaluation.cases import Case
from braindiffusion.inpainting import Site
from braindiffusion.pathology import OEDEMA, RIM, TISSUES, tissues
from test_inpaint_eval import case_of

LEVELS = np.array([0.35, 0.75, 0.55, 1.3], np.float32)


def shapes() -> list[implants.Shape]:
    """Balls of 0.5 and 6 ml."""
    away = np.linalg.norm(np.indices((25, 25, 25)) - 12, axis=0)
    return [implants.Shape("someone", n, away < radius) for n, radius in enumerate((5, 11.3))]


def white_brain() -> tuple[Case, np.ndarray]:
    """White matter alone, on the model's grid."""
    image = np.zeros((80, 96, 80), np.float32)
    image[10:70, 14:82, 10:70] = 1
    return case_of(image)[0], image


@pytest.fixture(scope="module")
def painted() -> np.ndarray:
    return paint_eval.scene(*white_brain(), shapes())


def test_a_scene_is_a_tumour_and_lesions_the_same_every_time(painted):
    case, image = white_brain()
    assert np.array_equal(painted, paint_eval.scene(case, image, shapes()))
    assert set(np.unique(painted)) == {0, 1, 2, 3, 4} and not painted[~case.brain].any()
    core_ml = (painted == 1).sum() * case.voxel_ml
    assert paint_eval.CORE_ML[0] / 2 < core_ml < 2 * paint_eval.CORE_ML[1]
    assert (painted == 1 + OEDEMA).sum() > (painted == 1 + RIM).sum() > 0
    other = paint_eval.scene(case_of(image, "sub-2")[0], image, shapes())
    assert not np.array_equal(painted, other)


def rows(painted: np.ndarray, texture: float, swapped: bool = False) -> list[dict]:
    """The brain painted flat, with and without contrast agent; `swapped`: core and rim mistaken."""
    case, image = white_brain()
    site = Site.of(case_of(image)[1], case.frame, painted > 0, case.brain)
    noise = np.random.default_rng(0).normal(0, texture, site.data.shape)
    found = []
    for agent in (True, False):
        levels = np.where(np.arange(4) == RIM, 1.3 if agent else 0.9, LEVELS)
        bright = levels[[3, 1, 2, 0]] if swapped else levels
        shown = np.append(1.0, bright)[painted[site.box]] + noise
        native = case.frame.scale.to_native(np.where(site.region, shown, image[site.box]))
        found.append(paint_eval.measured(case, site, painted, native, levels, tissues(agent)))
    return found


def test_flat_tissue_of_the_brightness_asked_for_agrees_wholly(painted):
    content = {row["name"]: row for row in paint_eval._tissue_rows(rows(painted, 0.01))}
    assert list(content) == [tissue.name for tissue in TISSUES] + ["enhancing rim, no contrast agent"]
    for row in content.values():
        assert row["within"]["mean"] > 0.99 and row["error"]["mean"] < 0.01
        assert row["dice"]["mean"] == pytest.approx(1, abs=0.01)
    assert content["oedema"]["before"]["mean"] == content["necrotic core"]["before"]["mean"] == 0
    assert content["enhancing rim, no contrast agent"]["before"]["mean"] == 1, "that is white matter's range"


def test_tissues_that_cannot_be_told_apart_are_found(painted):
    told = {row["name"]: row["area"]["mean"] for row in paint_eval._pair_rows(rows(painted, 0.02))}
    blurred = {row["name"]: row["area"]["mean"] for row in paint_eval._pair_rows(rows(painted, 0.6))}
    assert len(told) == 6 and min(told.values()) > 0.99 and min(blurred.values()) < 0.7


def test_mistaken_labels_do_not_agree(painted):
    content = {row["name"]: row for row in paint_eval._tissue_rows(rows(painted, 0.02, swapped=True))}
    assert (
        content["necrotic core"]["within"]["mean"] < 0.05 and content["necrotic core"]["error"]["mean"] > 0.5
    )


def test_the_page_and_the_goals_tell_what_was_measured(painted):
    found = rows(painted, 0.02)
    content = {
        "brains": 1, "steps": 8, "changed_outside": 0, "painted_ml": 40.0, "threshold": 0.05,
        "tissues": paint_eval._tissue_rows(found), "pairs": paint_eval._pair_rows(found),
        "dice": {"mean": 0.98, "interval": [0.97, 0.99]},
    }  # fmt: skip
    page = "\n".join(sections_made.paint(content))
    for words in ("necrotic core", "1.10 to 1.60", "told apart", "simulated", "pictures/paint.png"):
        assert words in page
    goals = write.goals({"paint": {"content": content}})
    assert len(goals) == 7 and all(met for *_, met in goals)
    content["changed_outside"] = 3
    assert not write.goals({"paint": {"content": content}})[-1][-1]
