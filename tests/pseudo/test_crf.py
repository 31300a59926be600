"""Dense CRF against a slow mean field, hand-over checks, unaries."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from wsss.settings.sections import CrfSection
from wsss.stages.pseudo.crf import PRESETS, CrfParameters, crf_parameters, dense_crf, label_probabilities


def kernel(features: np.ndarray) -> np.ndarray:
    """(N, N) Gaussian kernel of (N, F) features in units of their widths, normalised as D^-1/2 K D^-1/2."""
    square = ((features[:, None] - features[None]) ** 2).sum(-1)
    full = np.exp(-0.5 * square)
    scale = 1 / np.sqrt(full.sum(1))
    return full * scale[:, None] * scale[None]


def slow_mean_field(image_u8: np.ndarray, probabilities: np.ndarray, *, parameters: CrfParameters) -> np.ndarray:
    """Algorithm 1 of the paper with all N² pairs, in float64."""
    labels, height, width = probabilities.shape
    y, x = np.mgrid[:height, :width].reshape(2, -1).astype(float)
    colours = image_u8.reshape(-1, 3).astype(float) / parameters.theta_beta
    spatial = kernel(np.stack([x, y], 1) / parameters.theta_gamma)
    bilateral = kernel(np.concatenate([np.stack([x, y], 1) / parameters.theta_alpha, colours], 1))
    log_unary = np.log(np.clip(probabilities.reshape(labels, -1).astype(float), 1e-5, 1))

    def softmax(values: np.ndarray) -> np.ndarray:
        values = np.exp(values - values.max(0))
        return np.asarray(values / values.sum(0))

    q = softmax(log_unary)
    for _ in range(parameters.iterations):
        q = softmax(log_unary + parameters.w_gaussian * q @ spatial.T + parameters.w_bilateral * q @ bilateral.T)
    return q.reshape(labels, height, width)


def noisy_regions(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A 14 × 19 image of three regions with noise, and what they are (0, 1, 2)."""
    truth = np.zeros((14, 19), int)
    truth[3:11, 2:8], truth[5:13, 11:17] = 1, 2
    colours = np.array([[60, 90, 60], [200, 60, 40], [50, 60, 190]])
    return np.clip(colours[truth] + rng.normal(0, 8, (14, 19, 3)), 0, 255).astype(np.uint8), truth


def noisy_unary(truth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    logits = rng.normal(0, 1, (3, *truth.shape)) + 1.5 * (truth == np.arange(3)[:, None, None])
    values = np.exp(logits)
    return (values / values.sum(0)).astype(np.float32)


SMALL = CrfParameters(theta_alpha=8, theta_beta=13, theta_gamma=1.5, w_bilateral=2, w_gaussian=1, iterations=5)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "parameters",
    [SMALL, crf_parameters(CrfSection(preset="sec")), crf_parameters(CrfSection(preset="largefov"))],
    ids=["small", "sec", "largefov"],
)
def test_it_agrees_with_the_slow_mean_field(parameters: CrfParameters, seed: int) -> None:
    rng = np.random.default_rng(seed)
    image, truth = noisy_regions(rng)
    unary = noisy_unary(truth, rng)
    fast, slow = dense_crf(image, unary, parameters=parameters), slow_mean_field(image, unary, parameters=parameters)
    assert fast.shape == (3, 14, 19)
    np.testing.assert_allclose(fast.sum(0), 1, atol=1e-4)
    assert (fast.argmax(0) == slow.argmax(0)).mean() >= 0.97
    assert np.abs(fast - slow).mean() < 0.03


def test_it_helps_and_changes_nothing_it_is_given() -> None:
    rng = np.random.default_rng(1)
    image, truth = noisy_regions(rng)
    unary = noisy_unary(truth, rng)
    image_before, unary_before = image.copy(), unary.copy()
    image.setflags(write=False)
    fast = dense_crf(image, unary, parameters=SMALL)
    assert (fast.argmax(0) == truth).mean() > (unary.argmax(0) == truth).mean() + 0.1
    np.testing.assert_array_equal(image, image_before)
    np.testing.assert_array_equal(unary, unary_before)
    np.testing.assert_array_equal(fast, dense_crf(image, unary, parameters=SMALL))


def test_without_weights_the_unary_comes_back() -> None:
    rng = np.random.default_rng(2)
    image, truth = noisy_regions(rng)
    unary = noisy_unary(truth, rng)
    off = CrfParameters(theta_alpha=8, theta_beta=13, theta_gamma=3, w_bilateral=0, w_gaussian=0, iterations=3)
    np.testing.assert_allclose(dense_crf(image, unary, parameters=off), unary, atol=1e-4)
    assert (dense_crf(image, unary[:1], parameters=SMALL) == 1).all()


def test_the_hand_over_is_checked() -> None:
    rng = np.random.default_rng(3)
    image, truth = noisy_regions(rng)
    unary = noisy_unary(truth, rng)
    for wrong in (
        image.astype(np.float32) / 255,
        image.astype(np.int16),
        image[..., :1],
        image[..., 0],
        image.transpose(2, 0, 1),
    ):
        with pytest.raises(ValueError, match="RGB of uint8"):
            dense_crf(wrong, unary, parameters=SMALL)
    with pytest.raises(ValueError, match="height, width"):
        dense_crf(image.transpose(1, 0, 2), unary, parameters=SMALL)
    for values in (np.log(unary), unary * 20, unary / unary.max() * 1.5, unary * np.nan):
        with pytest.raises(ValueError, match="expected probabilities"):
            dense_crf(image, values, parameters=SMALL)


def test_presets_are_the_published_numbers() -> None:
    expected = {
        "sec": (80, 13, 10, 3, 3),
        "largefov": (121, 5, 4, 3, 3),
        "deeplabv2": (67, 3, 4, 1, 3),
        "irn": (50, 5, 10, 3, 3),
    }
    assert set(expected) == set(PRESETS)
    for preset, (alpha, beta, bilateral, gamma, gaussian) in expected.items():
        p = crf_parameters(CrfSection(preset=preset, theta_alpha=1, w_gaussian=99))
        assert (p.theta_alpha, p.theta_beta, p.w_bilateral, p.theta_gamma, p.w_gaussian, p.iterations) == (
            alpha,
            beta,
            bilateral,
            gamma,
            gaussian,
            10,
        )
    own = crf_parameters(
        CrfSection(
            preset="custom", theta_alpha=1, theta_beta=2, theta_gamma=4, w_bilateral=5, w_gaussian=6, iterations=7
        )
    )
    assert own == CrfParameters(theta_alpha=1, theta_beta=2, theta_gamma=4, w_bilateral=5, w_gaussian=6, iterations=7)


def test_label_probabilities_by_hand() -> None:
    mask = np.array([[0, 7, 20, 255]], np.uint8)
    values = label_probabilities(mask, [7, 20], confidence=0.7)
    expected = np.array([[0.7, 0.15, 0.15, 1 / 3], [0.15, 0.7, 0.15, 1 / 3], [0.15, 0.15, 0.7, 1 / 3]])
    assert values.dtype == np.float32
    np.testing.assert_allclose(values[:, 0], expected, rtol=1e-6)
    assert (label_probabilities(np.array([[0, 255]], np.uint8), [], confidence=0.7) == 1).all()
    with pytest.raises(ValueError, match=r"holds \[20\]"):
        label_probabilities(mask, [7], confidence=0.7)
    with pytest.raises(ValueError, match="no more than chance"):
        label_probabilities(mask, [7, 20], confidence=0.3)


def test_label_probabilities_agree_with_pydensecrfs_own() -> None:
    from pydensecrf.utils import unary_from_labels

    rng = np.random.default_rng(0)
    mask = rng.choice(np.array([0, 1, 2, 255], np.uint8), (6, 9))
    shifted = np.where(mask == 255, 0, mask.astype(int) + 1)  # theirs: 0 is unknown
    theirs = np.exp(-unary_from_labels(shifted, 3, gt_prob=0.7, zero_unsure=True)).reshape(3, 6, 9)
    np.testing.assert_allclose(label_probabilities(mask, [1, 2], confidence=0.7), theirs, atol=1e-6)


@pytest.mark.parametrize("iterations", [1, 2, 3])
def test_it_makes_as_many_iterations_as_asked_for(iterations: int) -> None:
    """Of the slow mean field's results after 0, 1, 2, 3 and 4 iterations the nearest is that after as many."""
    rng = np.random.default_rng(4)
    image, truth = noisy_regions(rng)
    unary = noisy_unary(truth, rng)
    fast = dense_crf(image, unary, parameters=replace(SMALL, iterations=iterations))
    slow = [slow_mean_field(image, unary, parameters=replace(SMALL, iterations=n)) for n in range(5)]
    assert int(np.argmin([np.abs(fast - s).mean() for s in slow])) == iterations


@pytest.mark.parametrize("ids", [[4], [4, 9, 2]])
def test_a_confidence_of_exactly_chance_is_refused(ids: list[int]) -> None:
    """Every label would be as likely as every other, and a mask of it would be lost."""
    mask, chance = np.array([[0, *ids, 255]], np.uint8), 1 / (len(ids) + 1)
    with pytest.raises(ValueError, match="no more than chance"):
        label_probabilities(mask, ids, confidence=chance)
    values = label_probabilities(mask, ids, confidence=chance + 1e-3)
    assert values[:, 0, :-1].argmax(0).tolist() == list(range(len(ids) + 1))


def test_weak_and_unlikely_values_are_counted_as_one_in_a_hundred_thousand() -> None:
    """With kernels off only the unary speaks: 0 and 1e-7 both count as 1e-5."""
    unary = np.array([[[1.0, 0.5, 1.0]], [[0.0, 1e-7, 1e-3]]], np.float32)
    off = CrfParameters(theta_alpha=8, theta_beta=13, theta_gamma=3, w_bilateral=0, w_gaussian=0, iterations=1)
    found = dense_crf(np.zeros((1, 3, 3), np.uint8), unary, parameters=off)
    np.testing.assert_allclose(found[1, 0], [1e-5 / (1 + 1e-5), 1e-5 / (0.5 + 1e-5), 1e-3 / (1 + 1e-3)], rtol=1e-3)
