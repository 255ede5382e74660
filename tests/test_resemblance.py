"""Realism, variety and nearness to training brains, on data for which the answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from braindiffusion.evaluation.resemblance import (
    Scale,
    features,
    fid,
    kid,
    kid_by_chance,
    main_directions,
    ms_ssim,
    nearest,
    variety,
)


def drawn(n: int, dims: int = 5, mean: float = 0.0, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, 1, (n, dims))


def textured(width: float, seed: int) -> np.ndarray:
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=(32, 48, 32)), width)
    return (1 + 0.1 * noise / noise.std()).astype(np.float32)


def test_kid_is_zero_in_the_mean_between_sets_of_one_kind_whatever_their_size():
    for n in (5, 20):
        found = [kid(drawn(n, seed=2 * s), drawn(n, seed=2 * s + 1)) for s in range(300)]
        assert abs(np.mean(found)) < 3 * np.std(found) / 300**0.5
        assert min(found) < 0, "an unbiased estimate is at times below 0"


def test_kid_lies_in_its_interval_of_chance_for_one_kind_and_above_it_for_two():
    one, same, other = drawn(40), drawn(40, seed=1), drawn(40, mean=0.7, seed=2)
    low, high = kid_by_chance(one, same, 300)
    assert low <= kid(one, same) <= high and low < 0 < high
    assert kid(one, other) > kid_by_chance(one, other, 300)[1]
    assert kid_by_chance(one, same, 300) == (low, high), "the same seed, the same interval"


def test_fid_is_that_of_gaussians_and_zero_for_the_same_set():
    one = drawn(4000)
    assert fid(one, one) == pytest.approx(0, abs=1e-6)
    assert fid(one, drawn(4000, mean=1.0, seed=1)) == pytest.approx(5, rel=0.1), "|difference of means|²"
    wide = 2 * drawn(4000, seed=2)
    assert fid(one, wide) == pytest.approx(5, rel=0.1), "(2 - 1)² in each of five directions"


def test_the_features_see_texture_that_a_mean_does_not_show():
    fine, coarse = ([textured(width, seed) for seed in range(12)] for width in (0.6, 2.5))
    found = [np.stack([features(image) for image in images]) for images in (fine, coarse)]
    scale = Scale.of(found[0][:6])
    fine_a, fine_b, rough = scale(found[0][:6]), scale(found[0][6:]), scale(found[1][:6])
    assert kid(fine_a, rough) > 100 * abs(kid(fine_a, fine_b))


def test_main_directions_find_where_data_varies():
    data = drawn(200, 6) * [0.1, 0.1, 5, 0.1, 3, 0.1]
    directions = np.abs(main_directions(data, 2))
    assert directions[2, 0] > 0.99 and directions[4, 1] > 0.99


def test_ms_ssim_is_one_for_the_same_image_and_falls_with_noise():
    image = textured(1.5, 0)
    noise = np.random.default_rng(1).normal(size=image.shape).astype(np.float32)
    found = [ms_ssim(image, image + strength * noise) for strength in (0, 0.02, 0.1)]
    assert found[0] == pytest.approx(1) and found[0] > found[1] > found[2] > 0
    assert ms_ssim(np.zeros((16, 16, 16)), np.zeros((16, 16, 16))) == pytest.approx(1)


def test_variety_is_over_pairs_of_different_images():
    same, different = [textured(1.5, 0)] * 4, [textured(1.5, seed) for seed in range(4)]
    assert variety(same) == pytest.approx([1.0] * 6)
    assert max(variety(different)) < 0.9 and len(variety(different, pairs=3)) == 3
    assert variety(different, 3) == variety(different, 3)


def test_a_planted_copy_is_found_mirrored_or_not_and_a_stranger_is_not_like_it():
    typical = np.ones((32, 48, 32), np.float32)
    training = [textured(1.5, seed) for seed in range(5)]
    copy = training[3] + 0.01 * textured(0.5, 9)
    assert nearest(copy, training, typical)[1:] == (3, False)
    mirrored = nearest(training[2][::-1], training, typical)
    assert mirrored.number == 2 and mirrored.flipped and mirrored.similarity == pytest.approx(1)
    assert nearest(textured(1.5, 77), training, typical).similarity < 0.2
    assert nearest(training[3], training, typical, but=3).similarity < 0.2
