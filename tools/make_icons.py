"""Draw the icons of the module, the extension and the window: a brain from above, whole on one side and
dissolving into noise on the other.

python tools/make_icons.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

ICONS = Path(__file__).resolve().parents[1] / "SlicerDiffusion" / "Resources" / "Icons"
FINE = 1024  # pixels of the drawing, which is then made smaller
GROUND, BRAIN, NOISE = (21, 43, 74), (244, 240, 232), (232, 106, 68)


def outline() -> list[tuple[float, float]]:
    """The border of the brain: an oval with gyri, wider behind. Its front is up."""
    angle = np.linspace(0, 2 * np.pi, 720)
    radius = 0.43 + 0.012 * np.cos(14 * angle)
    x = 0.5 + 0.92 * radius * np.cos(angle) * (1 - 0.08 * np.sin(angle))
    y = 0.5 - radius * np.sin(angle)
    return list(zip(FINE * x, FINE * y))


def brain() -> Image.Image:
    """The whole brain with three folds on its left, on a transparent ground."""
    image = Image.new("RGBA", (FINE, FINE))
    draw = ImageDraw.Draw(image)
    draw.polygon(outline(), fill=BRAIN)
    along = np.linspace(0, 1, 80)
    for height, start, end in ((0.33, 0.10, 0.33), (0.52, 0.06, 0.36), (0.71, 0.08, 0.33)):
        x = start + (end - start) * along
        y = height + 0.032 * np.sin(2.2 * np.pi * along) - 0.03 * along
        draw.line(list(zip(FINE * x, FINE * y)), fill=GROUND, width=FINE // 26, joint="curve")
        r = FINE / 52
        draw.ellipse((FINE * x[-1] - r, FINE * y[-1] - r, FINE * x[-1] + r, FINE * y[-1] + r), fill=GROUND)
    return image


def icon() -> Image.Image:
    """The left of the picture is the brain; to the right it dissolves into dots, the last ones far out."""
    whole = brain()
    inside = np.asarray(whole)[..., 3] > 0
    image = Image.new("RGBA", (FINE, FINE))
    draw = ImageDraw.Draw(image)
    draw.rounded_rectangle((0, 0, FINE - 1, FINE - 1), FINE // 5, fill=GROUND)
    left = whole.crop((0, 0, FINE // 2 - FINE // 60, FINE))
    image.paste(left, (0, 0), left)
    random = np.random.default_rng(4)
    step = FINE / 24
    for x in np.arange(FINE / 2 + 0.7 * step, FINE, step):
        far = 2 * x / FINE - 1
        for y in np.arange(step / 2, FINE, step):
            if inside[int(y), int(x)]:
                dx, dy = random.normal(0, 0.9 * far**2 * step, 2)
                place = np.array([x + dx + 0.8 * far * step, y + dy])
                size = step * (0.56 - 0.24 * far)
                colour = NOISE if random.random() < 1.1 * far else BRAIN
                draw.ellipse((*(place - size), *(place + size)), fill=colour)
    return image


if __name__ == "__main__":
    ICONS.mkdir(parents=True, exist_ok=True)
    for size, name in ((128, "SlicerDiffusion.png"), (48, "SlicerDiffusion-48.png")):
        icon().resize((size, size), Image.Resampling.LANCZOS).save(ICONS / name, optimize=True)
        print(ICONS / name)
