"""Minimum barrier saliency against a slow version of the paper's formulas, and against numbers worked by hand."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsss.stages.saliency.barrier import (
    _colours,
    barrier_distance,
    barrier_saliency,
    border_contrast,
    smooth_by_reconstruction,
)

# ---------------------------------------------------------------- the paper in plain Python


def slow_distance(channel: np.ndarray, *, passes: int) -> np.ndarray:
    """Algorithm 1: scans in turn from the top left and from the bottom right.

    A pixel takes the better path of its two visited neighbours.
    """
    height, width = channel.shape
    values = channel.tolist()
    paths = [[(v, v) for v in row] for row in values]
    inner = [(y, x) for y in range(1, height - 1) for x in range(1, width - 1)]
    distance = [
        [0.0 if y in (0, height - 1) or x in (0, width - 1) else float("inf") for x in range(width)]
        for y in range(height)
    ]
    for k in range(passes):
        back = -1 if k % 2 == 0 else 1
        for y, x in inner[:: -1 if k % 2 else 1]:
            for v, u in ((y + back, x), (y, x + back)):
                low, high = min(paths[v][u][0], values[y][x]), max(paths[v][u][1], values[y][x])
                if high - low < distance[y][x]:
                    paths[y][x], distance[y][x] = (low, high), high - low
    return np.array(distance)


def slow_contrast(colours: np.ndarray) -> np.ndarray:
    """Section 4.2.

    Mahalanobis distance to each of four border strips of a tenth of the longest side, without the largest of the four.
    """
    height, width, channels = colours.shape
    depth = max(1, round(0.1 * max(height, width)))
    maps = []
    for strip in (
        colours[:depth],
        colours[max(0, height - depth) :],
        colours[:, :depth],
        colours[:, max(0, width - depth) :],
    ):
        samples = strip.reshape(-1, channels).astype(float)
        mean = samples.mean(0)
        inverse = np.linalg.inv(np.cov(samples.T, bias=True).reshape(channels, channels) + np.eye(channels))
        distance = np.empty((height, width))
        for y, x in np.ndindex(height, width):
            offset = colours[y, x] - mean
            distance[y, x] = np.sqrt(offset @ inverse @ offset)
        maps.append(distance / distance.max())
    total = np.sum(maps, axis=0) - np.max(maps, axis=0)
    return total / total.max()


def slow_reconstruction(marker: np.ndarray, limit: np.ndarray) -> np.ndarray:
    """`marker` grown to its four neighbours under `limit` until it stands still."""
    out = np.minimum(marker, limit)
    while True:
        padded = np.pad(out, 1, constant_values=-np.inf)
        grown = np.max(
            [padded[1:-1, 1:-1], padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]], axis=0
        )
        grown = np.minimum(grown, limit)
        if np.array_equal(grown, out):
            return out
        out = grown


def slow_smoothing(values: np.ndarray, *, width: int) -> np.ndarray:
    """Section 4.3: opening, then closing by reconstruction, with a square of `width` px."""
    if width < 2:
        return values
    kernel = np.ones((width, width), np.uint8)
    opened = slow_reconstruction(cv2.erode(values, kernel), values)
    return 1 - slow_reconstruction(cv2.erode(1 - opened, kernel), 1 - opened)


def slow_saliency(
    image_u8: np.ndarray, *, passes: int = 3, colour: str = "lab", backgroundness: bool = True
) -> np.ndarray:
    """MB or MB+ with every number of the paper written out."""
    height, width = image_u8.shape[:2]
    longest = max(height, width)
    small = image_u8
    if longest > 300:
        small = cv2.resize(
            image_u8, (round(width * 300 / longest), round(height * 300 / longest)), interpolation=cv2.INTER_AREA
        )
    colours = small.astype(np.float32)
    if colour == "lab":
        colours = cv2.cvtColor(colours / 255, cv2.COLOR_RGB2LAB)
    distance = sum(slow_distance(colours[..., k], passes=passes) for k in range(3))
    saliency = distance / distance.max()
    if backgroundness:
        saliency = saliency + slow_contrast(colours)
        saliency /= saliency.max()
    kernel = round(20 * max(small.shape) / 300 * np.sqrt(saliency.mean()))  # alpha is 20 at 300 px
    saliency = slow_smoothing(saliency, width=kernel)
    saliency = 1 / (1 + np.exp(-10 * (saliency / saliency.max() - 0.5)))
    if longest > 300:
        saliency = cv2.resize(saliency, (width, height), interpolation=cv2.INTER_LINEAR)
    return (saliency - saliency.min()) / (saliency.max() - saliency.min())


def noisy_scene(seed: int, height: int, width: int) -> np.ndarray:
    """A noisy blue shade with a red block off the centre and a green one that the right border cuts."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    image = np.stack([60 + 40 * y / height, 80 + 50 * x / width, 150 + 60 * x / width], -1)
    image[height // 4 : height // 2, width // 5 : width // 2] = (210, 60, 30)
    image[2 * height // 3 :, 4 * width // 5 :] = (40, 180, 60)
    return np.clip(image + rng.integers(-12, 13, image.shape), 0, 255).astype(np.uint8)


# ---------------------------------------------------------------- agreement


@pytest.mark.parametrize(("height", "width"), [(36, 75), (64, 41)])
@pytest.mark.parametrize("backgroundness", [True, False])
@pytest.mark.parametrize("colour", ["lab", "rgb"])
def test_saliency_is_that_of_the_paper_s_formulas(height: int, width: int, backgroundness: bool, colour: str) -> None:
    image = noisy_scene(0, height, width)
    for passes in (1, 3):
        expected = slow_saliency(image, passes=passes, colour=colour, backgroundness=backgroundness)
        found = barrier_saliency(image, passes=passes, colour=colour, backgroundness=backgroundness)
        np.testing.assert_allclose(found, expected, atol=2e-5)


@pytest.mark.parametrize(("height", "width"), [(24, 420), (390, 18)])
def test_a_long_image_is_worked_on_at_300_px(height: int, width: int) -> None:
    image = noisy_scene(1, height, width)
    np.testing.assert_allclose(barrier_saliency(image), slow_saliency(image), atol=2e-5)


def test_an_image_of_300_px_is_not_resized() -> None:
    image = noisy_scene(2, 12, 300)
    np.testing.assert_allclose(barrier_saliency(image), slow_saliency(image), atol=2e-5)


def test_three_scans_in_lab_with_backgroundness_are_the_default() -> None:
    image = noisy_scene(3, 40, 60)
    np.testing.assert_array_equal(
        barrier_saliency(image), barrier_saliency(image, passes=3, colour="lab", backgroundness=True)
    )


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 12), st.integers(0, 5))
def test_distances_are_those_of_a_plain_loop(seed: int, height: int, width: int, passes: int) -> None:
    values = np.random.default_rng(seed).integers(0, 9, (height, width, 1)).astype(np.float32)
    np.testing.assert_array_equal(barrier_distance(values, passes=passes), slow_distance(values[..., 0], passes=passes))


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 2**32 - 1), st.integers(5, 17), st.integers(5, 17), st.integers(1, 4))
def test_border_contrast_is_that_of_a_plain_loop(seed: int, height: int, width: int, channels: int) -> None:
    colours = np.random.default_rng(seed).normal(0, 5, (height, width, channels)).astype(np.float32)
    np.testing.assert_allclose(border_contrast(colours), slow_contrast(colours), atol=1e-5)


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 2**32 - 1), st.integers(3, 14), st.integers(3, 14), st.integers(2, 5))
def test_smoothing_is_that_of_a_plain_loop(seed: int, height: int, width: int, kernel: int) -> None:
    values = np.random.default_rng(seed).random((height, width), np.float32)
    np.testing.assert_allclose(
        smooth_by_reconstruction(values, width=kernel), slow_smoothing(values, width=kernel), atol=1e-6
    )


# ---------------------------------------------------------------- by hand


def test_border_contrast_by_hand() -> None:
    """Two channels, 10 x 20 px, so strips of 2 px; the bottom, left and right strips hold 0 alone.

    The first channel has the variance 8 in the top strip, which the ridge makes 9; all other variances are 0, which it
    makes 1.
    The pixel (6, 0) is 6/3 = 2 from the top strip and 6 from the others; the pixel (0, 4) is 4 from all.
    Over the maxima, 4 for the top strip and 6 for the others: 1/2, 1, 1, 1 and 1, 2/3, 2/3, 2/3.
    Without the largest these are 5/2 and 2, over the maximum 1 and 4/5.
    """
    colours = np.zeros((10, 20, 2), np.float32)
    colours[:2, 2:18:2, 0], colours[:2, 3:18:2, 0] = (
        np.sqrt(10),
        -np.sqrt(10),
    )  # 32 of the strip's 40 pixels: variance 32 * 10 / 40
    colours[5, 9], colours[5, 12] = (6, 0), (0, 4)
    found = border_contrast(colours)
    assert found[5, 9] == pytest.approx(1)
    assert found[5, 12] == pytest.approx(0.8, abs=1e-5)
    assert found[5, 5] == 0


def test_lab_is_that_of_the_standard() -> None:
    """A red block and a blue one on black, whose barriers are their Lab values.

    53.24, 80.09, 67.20 and 32.30, 79.19, -107.86.
    """
    image = np.zeros((9, 15, 3), np.uint8)
    image[3:6, 2:5], image[3:6, 9:12] = (255, 0, 0), (0, 0, 255)
    colours = _colours(image, colour="lab")
    np.testing.assert_allclose(colours[4, 3], [53.24, 80.09, 67.20], atol=0.05)
    np.testing.assert_allclose(colours[4, 10], [32.30, 79.19, -107.86], atol=0.05)
    sums = barrier_distance(colours, passes=3)
    assert sums[4, 3] == pytest.approx(200.53, abs=0.1)
    assert sums[4, 10] == pytest.approx(219.35, abs=0.1)


def test_a_red_and_a_blue_block_have_the_ratio_of_their_lab_barriers() -> None:
    """Too small for smoothing, without backgroundness: blue is 1, red the sigmoid of 200.53 / 219.35, stretched."""
    image = np.zeros((9, 15, 3), np.uint8)
    image[4, 3], image[4, 10] = (255, 0, 0), (0, 0, 255)
    found = barrier_saliency(image, backgroundness=False)

    def sigmoid(x: float) -> float:
        return 1 / (1 + np.exp(-10 * (x - 0.5)))

    assert found[4, 10] == 1
    assert found[4, 3] == pytest.approx((sigmoid(200.53 / 219.35) - sigmoid(0)) / (sigmoid(1) - sigmoid(0)), abs=1e-4)
    assert found[0, 0] == 0
