"""Make `resources/template/mni152_2mm.npz` from the MNI152 (2009a) maps that come with nilearn.

    python tools/make_template.py

T1, grey matter and white matter are averaged to the 2 mm model grid (model voxel -> template RAS millimetre)
and stored as uint8.
"""

from __future__ import annotations

import nibabel as nib
import numpy as np
from nilearn.datasets import load_mni152_gm_template, load_mni152_template, load_mni152_wm_template
from scipy.ndimage import affine_transform, gaussian_filter

from braindiffusion.imaging.grid import GRID_AFFINE, GRID_SHAPE
from braindiffusion.paths import resources


def on_grid(image: nib.Nifti1Image) -> np.ndarray:
    """The 1 mm map, smoothed for 2 mm and sampled on the model grid, scaled to its own maximum, uint8 [80,
    96, 80].
    """
    data = np.nan_to_num(image.get_fdata())
    to_image = np.linalg.inv(image.affine) @ GRID_AFFINE
    sampled = affine_transform(gaussian_filter(data, 0.75), to_image, output_shape=GRID_SHAPE, order=1)
    return np.clip(np.rint(255 * sampled / np.percentile(data[data > 0], 99.9)), 0, 255).astype(np.uint8)


if __name__ == "__main__":
    maps = {
        "t1": load_mni152_template(resolution=1),
        "gm": load_mni152_gm_template(resolution=1),
        "wm": load_mni152_wm_template(resolution=1),
    }
    target = resources() / "template" / "mni152_2mm.npz"
    target.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(target, affine=GRID_AFFINE, **{name: on_grid(image) for name, image in maps.items()})
    print(target)
