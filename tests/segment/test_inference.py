"""The geometry and the weighting of predictions."""

from __future__ import annotations

from dataclasses import replace

import hypothesis
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import strategies as st
from torch import nn

from tests.slow_bilinear import cell_means, resized
from wsss.files.imaging import Normalisation, resize_image
from wsss.settings.sections import PredictSection, PslSection
from wsss.settings.stage_settings import SegmenterSettings
from wsss.stages.segment.inference import TrainedSegmenter, _padded, _sampled, full_mask, load_segmenter, probabilities

CPU = torch.device("cpu")
ONCE = PredictSection(scales=[1.0], flip=False)
PLAIN = PslSection()


@pytest.fixture(scope="module")
def trained(segmenter):
    return load_segmenter(segmenter, device=CPU)


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 255, (50, 75, 3), dtype=np.uint8)


def test_padding_repeats_the_border_up_to_the_multiple(image):
    padded = _padded(image, multiple=16)
    assert padded.shape == (64, 80, 3)
    assert (padded[:50, :75] == image).all()
    assert (padded[50:, :75] == image[-1]).all()
    assert _padded(image[:48, :64], multiple=16).shape == (48, 64, 3)


def test_sampling_a_padded_grid_keeps_positions():
    """A plane of pixel positions has, on the even grid of the image, the position of each cell's centre."""
    height, width, stride = 50, 75, 4
    y, x = torch.meshgrid((torch.arange(16) + 0.5) * stride, (torch.arange(20) + 0.5) * stride, indexing="ij")
    found = _sampled(torch.stack([y, x])[None], size=(13, 19), share=(height / 64, width / 80))[0]
    rows, columns = (torch.arange(13) + 0.5) * height / 13, (torch.arange(19) + 0.5) * width / 19
    inner = (slice(1, -1), slice(1, -1))  # the border cells' centres may lie outside the first cell's
    torch.testing.assert_close(found[0][inner], rows[:, None].expand(13, 19)[inner])
    torch.testing.assert_close(found[1][inner], columns[None].expand(13, 19)[inner])


def test_scales_are_averaged(trained, image):
    each = [
        probabilities(trained, image, psl=PLAIN, predict=PredictSection(scales=[s], flip=False)) for s in (0.5, 1.0)
    ]
    both = probabilities(trained, image, psl=PLAIN, predict=PredictSection(scales=[0.5, 1.0], flip=False))
    np.testing.assert_allclose(both, (each[0] + each[1]) / 2, atol=1e-6)


def test_scores_below_p_silence_a_class(trained, image):
    with torch.inference_mode():
        trained.model.classify.weight.data, weight = (
            torch.zeros_like(trained.model.classify.weight),
            trained.model.classify.weight.data,
        )
        trained.model.classify.bias.data, bias = torch.log(torch.tensor([0.95, 0.05])), trained.model.classify.bias.data
    try:
        f = probabilities(trained, image, psl=PLAIN, predict=ONCE)
        strict, lax = (
            probabilities(
                trained, image, psl=PslSection(enabled=True, score="softmax", warmup=0.0, test_p=p), predict=ONCE
            )
            for p in (0.1, 0.01)
        )
        none = probabilities(
            trained,
            image,
            psl=PslSection(enabled=True, score="softmax", warmup=0.0, test_weighting="none"),
            predict=ONCE,
        )
    finally:
        trained.model.classify.weight.data, trained.model.classify.bias.data = weight, bias
    assert not strict[2].any()
    assert lax[2].all()
    expected = f * np.array([1, 0.95, 0.05])[:, None, None]
    np.testing.assert_allclose(lax, expected / expected.sum(0), rtol=1e-4)
    np.testing.assert_array_equal(none, f)


class Cells(nn.Module):
    """Score maps are the mean colours of 4 x 4 cells, with a slope to the right.

    Class logits are the left half's colours. Neither mirrors with its image.
    """

    stride, multiple, normalisation = 4, 16, Normalisation(mean=(100.0,) * 3, std=(50.0,) * 3)

    def forward(self, image_n):
        cells = F.avg_pool2d(image_n, 4)
        half = image_n.shape[3] // 2
        return cells * (1 + 0.1 * torch.arange(cells.shape[3])), 3 * image_n[:, 1:, :, :half].mean((2, 3))


WITH_PSL = SegmenterSettings(psl=PslSection(enabled=True))
CELLS = TrainedSegmenter(model=Cells(), class_names=["background", "a", "b"], settings=WITH_PSL, device=CPU)


def softmax(values):
    raised = np.exp(values - values.max(0))
    return raised / raised.sum(0)


def views_by_loops(image_u8, *, scales, flip):
    """Probabilities (3, h, w) on the even grid, and class logits (2,), of every view."""
    (height, width), found = image_u8.shape[:2], []
    for scale in scales:
        sides = (max(32, round(height * scale)), max(32, round(width * scale)))
        scaled = image_u8 if scale == 1 else resize_image(image_u8, size=sides)
        rows, columns = (np.minimum(np.arange(-(-n // 16) * 16), n - 1) for n in scaled.shape[:2])
        padded = (scaled[rows][:, columns].transpose(2, 0, 1).astype(float) - 100) / 50
        part = (scaled.shape[0] / len(rows), scaled.shape[1] / len(columns))
        for mirrored in (False, True) if flip else (False,):
            seen = padded[:, :, ::-1] if mirrored else padded
            f = cell_means(seen, side=4)
            f = softmax(f * (1 + 0.1 * np.arange(f.shape[2])))
            f = resized(f[:, :, ::-1] if mirrored else f, size=(-(-height // 4), -(-width // 4)), part=part)
            found.append((f, 3 * seen[1:, :, : seen.shape[2] // 2].mean((1, 2))))
    return found


@hypothesis.settings(derandomize=True, database=None, max_examples=12, deadline=None)
@hypothesis.given(
    size=st.tuples(st.integers(26, 52), st.integers(26, 52)),
    scales=st.lists(st.sampled_from([0.5, 0.75, 1.0, 1.25, 1.5]), min_size=1, max_size=2, unique=True),
    flip=st.booleans(),
    kind=st.sampled_from(["softmax", "sigmoid"]),
)
def test_any_size_scales_and_flip_agree_with_a_slow_reading(size, scales, flip, kind):
    """Maps and class scores are means over the views; scores below p are 0; then [1, v] weighs the maps."""
    image_u8 = np.random.default_rng(size[0] * 100 + size[1]).integers(60, 200, (*size, 3), dtype=np.uint8)
    views = views_by_loops(image_u8, scales=scales, flip=flip)
    f = np.mean([maps for maps, _ in views], axis=0)
    predict = PredictSection(scales=scales, flip=flip)
    np.testing.assert_allclose(probabilities(CELLS, image_u8, psl=PLAIN, predict=predict), f, atol=2e-5)
    v = np.mean([softmax(logits) if kind == "softmax" else 1 / (1 + np.exp(-logits)) for _, logits in views], axis=0)
    weighted = f * np.array([1, *v])[:, None, None]
    found = probabilities(CELLS, image_u8, psl=PslSection(enabled=True, score=kind, test_p=0.0), predict=predict)
    np.testing.assert_allclose(found, weighted / weighted.sum(0), atol=2e-5)
    least = float(v.mean())  # between the two classes' scores
    weighted = f * np.array([1, *np.where(v < least, 0, v)])[:, None, None]
    found = probabilities(CELLS, image_u8, psl=PslSection(enabled=True, score=kind, test_p=least), predict=predict)
    np.testing.assert_allclose(found, weighted / weighted.sum(0), atol=2e-5)


def test_given_labels_weigh_instead_of_predicted_scores(image):
    f = probabilities(CELLS, image, psl=PLAIN, predict=ONCE)
    by_labels = PslSection(enabled=True, test_weighting="labels", test_p=0.9)
    found = probabilities(CELLS, image, psl=by_labels, predict=ONCE, labels=np.array([0, 1]))
    np.testing.assert_allclose(found, f * np.array([1, 0, 1])[:, None, None] / (f[0] + f[2]), atol=1e-6)
    predicted = probabilities(CELLS, image, psl=PslSection(enabled=True, test_p=0.9), predict=ONCE)
    np.testing.assert_array_equal(probabilities(CELLS, image, psl=by_labels, predict=ONCE), predicted)
    assert np.abs(found - predicted).max() > 0.1


def test_of_equal_classes_the_lower_one_is_taken():
    """Three planes of 2 x 3 cells at their own size: ties of all three, of the last two, and of the first and last."""
    background, one, two = [[0.4, 0.2, 0.4], [0, 0, 1]], [[0.4, 0.4, 0.2], [0, 1, 0]], [[0.4, 0.4, 0.4], [1, 1, 1]]
    mask = full_mask(np.array([background, one, two], np.float32), size=(2, 3))
    assert mask.tolist() == [[0, 1, 0], [2, 1, 0]]


def test_the_full_mask_is_the_argmax_of_enlarged_probabilities():
    planes = np.random.default_rng(0).dirichlet(np.ones(5), (4, 6)).transpose(2, 0, 1).astype(np.float32)
    mask = full_mask(planes, size=(11, 17))
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, resized(planes, size=(11, 17)).argmax(0))


def test_labels_weigh_only_where_the_setting_asks_for_them(image):
    by_scores = PslSection(enabled=True, test_weighting="predicted")
    labels = np.array([0, 1])
    for psl in (by_scores, PLAIN):
        without, given = (probabilities(CELLS, image, psl=psl, predict=ONCE, labels=v) for v in (None, labels))
        np.testing.assert_array_equal(without, given)


def test_a_segmenter_trained_without_psl_has_no_scores_to_weigh_by(image):
    plain = replace(CELLS, settings=SegmenterSettings())
    with pytest.raises(ValueError, match="has no class scores"):
        probabilities(plain, image, psl=PslSection(enabled=True), predict=ONCE)
    unweighted = PslSection(enabled=True, test_weighting="none")
    assert probabilities(plain, image, psl=unweighted, predict=ONCE).shape == (3, 13, 19)
