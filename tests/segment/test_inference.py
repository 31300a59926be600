"""The geometry and the weighting of predictions."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from wsss.settings.sections import PredictSection, PslSection
from wsss.stages.segment.inference import _padded, _sampled, load_segmenter, probabilities

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
