"""The parts of the page of results; free of heavy imports, so that the command line can name them."""

from __future__ import annotations

PARTS = {
    "anatomy": "anatomy_eval",
    "prior": "prior_eval",
    "heal": "heal_eval",
    "real": "real_eval",
    "inpaint": "inpaint_eval",
    "generate": "generate_eval",
    "paint": "paint_eval",
    "sharpen": "sharpen_eval",
}
"""The module that measures each part."""
