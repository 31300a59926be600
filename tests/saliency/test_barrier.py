"""Minimum barrier saliency: agreement with the exact distance, limit cases, photographs."""

from __future__ import annotations

import heapq

import cv2
import numpy as np
import pytest
from PIL import Image

from wsss.stages.saliency.barrier import barrier_distance, barrier_saliency, border_contrast, smooth_by_reconstruction


def exact_distance(values: np.ndarray) -> np.ndarray:
    """Exact minimum barrier distance of one channel to the border, slowly.

    For each level l: the smallest possible maximum over paths whose values are all >= l (Dijkstra on the maximum). The
    barrier is that minus l. The best l is the minimum on the best path.
    """
    height, width = values.shape
    best = np.full(values.shape, np.inf)
    border = [(y, x) for y in range(height) for x in range(width) if y in (0, height - 1) or x in (0, width - 1)]
    for level in np.unique(values):
        peak = np.full(values.shape, np.inf)
        queue = [(values[p], p) for p in border if values[p] >= level]
        heapq.heapify(queue)
        while queue:
            high, (y, x) = heapq.heappop(queue)
            if peak[y, x] <= high:
                continue
            peak[y, x] = high
            for v, u in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                if 0 <= v < height and 0 <= u < width and values[v, u] >= level and peak[v, u] == np.inf:
                    heapq.heappush(queue, (max(high, values[v, u]), (v, u)))
        best = np.minimum(best, peak - level)
    return best


def scene() -> np.ndarray:
    """Grey-blue ground with a shade from left to right, and an orange disc off the centre."""
    y, x = np.mgrid[:60, :90]
    image = np.stack([90 + x * 0.3, 110 + x * 0.3, 140 + 0 * x], -1)
    image[(y - 32) ** 2 + (x - 50) ** 2 < 14**2] = (230, 120, 30)
    return image.astype(np.uint8)


@pytest.mark.parametrize("seed", range(4))
def test_raster_scans_are_an_upper_bound_close_to_the_exact_distance(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 6, (11, 14)).astype(np.float32)
    exact = exact_distance(values)
    three, many = barrier_distance(values[..., None], passes=3), barrier_distance(values[..., None], passes=20)
    assert (three >= exact - 1e-6).all()
    assert (many <= three).all()
    assert np.abs(three - exact).mean() < 0.2  # of 5 levels, on noise, the worst case: a pixel remembers one path only


@pytest.mark.parametrize("seed", range(4))
def test_on_smooth_shades_three_scans_are_nearly_exact(seed: int) -> None:
    noise = np.random.default_rng(seed).random((16, 21))
    values = cv2.GaussianBlur(noise, (0, 0), 2).astype(np.float32)
    exact = exact_distance(values)
    fast = barrier_distance(values[..., None], passes=3)
    assert (fast >= exact - 1e-6).all()
    assert np.abs(fast - exact).mean() < 0.05 * (values.max() - values.min())


def test_distance_by_hand() -> None:
    # 5s surround the 9, with a gate of value 2 below it: path 0-2-9 has barrier 9, the gate itself 2, the walls 5.
    values = np.zeros((5, 5), np.float32)
    values[1:4, 1:4] = 5
    values[2, 2], values[3, 2] = 9, 2
    expected = np.zeros((5, 5))
    expected[1:4, 1:4] = 5
    expected[2, 2], expected[3, 2] = 9, 2
    np.testing.assert_array_equal(barrier_distance(values[..., None], passes=3), expected)
    np.testing.assert_array_equal(exact_distance(values), expected)


def test_a_ramp_is_far_less_of_a_barrier_to_its_own_border_than_a_disc() -> None:
    distance = barrier_distance(scene().astype(np.float32), passes=3)
    assert distance[0].max() == distance[:, -1].max() == 0
    assert distance[32, 50] > 10 * np.percentile(distance[:10], 95)


def test_channels_are_summed() -> None:
    rng = np.random.default_rng(0)
    colours = rng.random((9, 12, 3)).astype(np.float32)
    parts = sum(barrier_distance(colours[:, :, k : k + 1], passes=3) for k in range(3))
    np.testing.assert_allclose(barrier_distance(colours, passes=3), parts, rtol=1e-6)


@pytest.mark.parametrize("backgroundness", [True, False])
@pytest.mark.parametrize("colour", ["lab", "rgb"])
def test_an_object_of_another_colour_is_salient(colour: str, backgroundness: bool) -> None:
    image = scene()
    before = image.copy()
    saliency = barrier_saliency(image, colour=colour, backgroundness=backgroundness)  # type: ignore[arg-type]
    y, x = np.mgrid[:60, :90]
    disc = (y - 32) ** 2 + (x - 50) ** 2 < 14**2
    assert saliency.dtype == np.float32
    assert saliency.shape == (60, 90)
    assert (saliency.min(), saliency.max()) == (0, 1)
    assert saliency[disc].mean() > 0.9
    assert saliency[~disc].mean() < 0.06  # the paper's threshold parts them
    np.testing.assert_array_equal(image, before)
    again = barrier_saliency(image, colour=colour, backgroundness=backgroundness)  # type: ignore[arg-type]
    np.testing.assert_array_equal(saliency, again)


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (2, 40), (37, 53), (500, 320)])
@pytest.mark.parametrize("value", [0, 128, 255])
def test_a_constant_image_has_no_saliency(size: tuple[int, int], value: int) -> None:
    saliency = barrier_saliency(np.full((*size, 3), value, np.uint8))
    assert saliency.shape == size
    assert not saliency.any()


def test_large_images_are_worked_on_small_and_come_back_at_their_size() -> None:
    small = barrier_saliency(np.repeat(np.repeat(scene(), 3, 0), 3, 1))
    large = barrier_saliency(np.repeat(np.repeat(scene(), 9, 0), 9, 1))
    assert large.shape == (540, 810)
    assert np.abs(large[4::9, 4::9] - small[1::3, 1::3]).mean() < 0.02


def test_backgroundness_forgives_an_object_that_covers_one_strip() -> None:
    colours = np.zeros((100, 100, 3), np.float32)
    colours[60:, 30:70] = 80  # reaches the lower border
    contrast = border_contrast(colours)
    assert contrast.max() == 1
    assert contrast[70, 50] > 0.9
    assert contrast[:50].max() < 0.05


def test_smoothing_removes_specks_and_keeps_edges() -> None:
    values = np.zeros((30, 40), np.float32)
    values[8:22, 10:30] = 0.8
    clean = values.copy()
    values[3, 3], values[15, 20] = 1, 0
    before = values.copy()
    np.testing.assert_allclose(smooth_by_reconstruction(values, width=5), clean, atol=1e-6)
    np.testing.assert_array_equal(values, before)
    np.testing.assert_array_equal(smooth_by_reconstruction(values, width=1), values)


def test_it_beats_chance_on_photographs(shared) -> None:  # type: ignore[no-untyped-def]
    root = shared / "data" / "voc12_sub"
    gains = []
    for image_id in ("2007_000032", "2007_000129", "2007_000250"):
        saliency = barrier_saliency(np.array(Image.open(root / "JPEGImages" / f"{image_id}.jpg")))
        truth = np.array(Image.open(root / "SegmentationClassAug" / f"{image_id}.png"))
        gains.append(saliency[(truth > 0) & (truth < 255)].mean() - saliency[truth == 0].mean())
    assert np.mean(gains) > 0.1
