"""PSL's formulas against hand-worked cases, limit cases and a slow reading of the paper."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from wsss.settings.sections import PslSection
from wsss.stages.segment.psl import (
    class_scores,
    classification_loss,
    online_mask,
    psl_losses,
    segmentation_loss,
    stricter,
    to_grid,
    weigh,
)


def logits(probabilities) -> torch.Tensor:
    """Score maps (1, C + 1, h, w) whose softmax is the given (h, w, C + 1) probabilities."""
    return torch.tensor(probabilities, dtype=torch.float32).clamp(min=1e-9).log().permute(2, 0, 1)[None]


HALVES = [[[0.5, 0.3, 0.2], [0.4, 0.5, 0.1]], [[0.3, 0.1, 0.6], [0.25, 0.5, 0.25]]]


def random_maps(n: int = 3, classes: int = 4, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, classes + 1, 5, 6, generator=torch.Generator().manual_seed(seed))


def test_scores_are_softmax_or_sigmoid():
    given = torch.tensor([[0.0, math.log(3.0)]])
    torch.testing.assert_close(class_scores(given, kind="softmax"), torch.tensor([[0.25, 0.75]]))
    torch.testing.assert_close(class_scores(given, kind="sigmoid"), torch.tensor([[0.5, 0.75]]))


def test_online_mask_of_a_worked_case():
    # weighted by [1, 0.7, 0.4]: (.5 .21 .08) (.4 .35 .04) / (.3 .07 .24) (.25 .35 .10)
    assert online_mask(logits(HALVES), torch.tensor([[0.7, 0.4]]))[0].tolist() == [[0, 0], [0, 1]]
    # unweighted it is the plain argmax
    assert online_mask(logits(HALVES), torch.ones(1, 2))[0].tolist() == [[0, 1], [2, 1]]
    assert online_mask(logits(HALVES), torch.zeros(1, 2))[0].tolist() == [[0, 0], [0, 0]]


def test_online_mask_weights_probabilities_not_logits():
    # logits (-1, -1.2): times v = 0.5 the second would rise to -0.6 and win; its probability, halved, does not
    maps = torch.tensor([-1.0, -1.2]).view(1, 2, 1, 1)
    assert online_mask(maps, torch.tensor([[0.5]])).item() == 0


def test_no_gradient_enters_the_online_mask():
    maps, v = random_maps().requires_grad_(), torch.rand(3, 4, requires_grad=True)
    mask = online_mask(maps, v)
    assert not mask.requires_grad
    segmentation_loss(maps, mask, torch.ones(3, 4)).backward()
    assert v.grad is None
    assert maps.grad is not None


def test_online_loss_trains_no_classification_branch():
    """v comes from the class logits, but only the classification loss may move them."""
    maps, class_logits = random_maps().requires_grad_(), torch.randn(3, 4, requires_grad=True)
    batch = {"labels": torch.ones(3, 4), "mask": torch.zeros(3, 5, 6, dtype=torch.uint8)}
    psl_losses((maps, class_logits), batch, settings=PslSection(enabled=True, score="softmax"))["online"].backward()
    assert class_logits.grad is None


def test_weigh_with_ones_changes_nothing():
    f = random_maps().softmax(1)
    torch.testing.assert_close(weigh(f, torch.ones(3, 4)), f)


def test_weigh_renormalises_over_classes():
    f = torch.tensor([0.5, 0.3, 0.2]).view(1, 3, 1, 1)
    torch.testing.assert_close(weigh(f, torch.tensor([[0.5, 0.0]])).flatten(), torch.tensor([0.5, 0.15, 0.0]) / 0.65)


def test_stricter_zeroes_below_p_alone():
    assert stricter(torch.tensor([0.0, 0.09, 0.1, 0.6]), p=0.1).tolist() == pytest.approx([0.0, 0.0, 0.1, 0.6])


def test_segmentation_loss_of_a_worked_case():
    mask = torch.tensor([[[0, 1], [255, 2]]])
    # class 2 is not the image's: only the first row counts
    assert segmentation_loss(logits(HALVES), mask, torch.tensor([[1.0, 0.0]])).item() == pytest.approx(
        -(math.log(0.5) + math.log(0.5)) / 2, abs=1e-5
    )
    assert segmentation_loss(logits(HALVES), mask, torch.tensor([[1.0, 1.0]])).item() == pytest.approx(
        -(math.log(0.5) + math.log(0.5) + math.log(0.25)) / 3, abs=1e-5
    )


def slow_loss(maps: torch.Tensor, mask: torch.Tensor, labels: torch.Tensor) -> float:
    """The paper's J, cell by cell, summed over the image's own classes."""
    each = []
    for f, s, y in zip(maps.double().softmax(1).numpy(), mask.numpy(), labels.numpy(), strict=True):
        own = [0, *(np.flatnonzero(y) + 1)]
        cells = [(c, u) for c in own for u in np.argwhere(s == c)]
        if cells:
            each.append(-sum(math.log(f[c][tuple(u)]) for c, u in cells) / len(cells))
    return float(np.mean(each))


def test_segmentation_loss_equals_the_slow_reading():
    draw = np.random.default_rng(1)
    maps = random_maps()
    mask = torch.from_numpy(draw.choice([0, 1, 2, 3, 4, 255], (3, 5, 6)))
    mask[1] = 255
    labels = torch.tensor([[1.0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    assert segmentation_loss(maps, mask, labels).item() == pytest.approx(slow_loss(maps, mask, labels), rel=1e-5)


def test_images_count_alike_however_few_cells_they_have():
    """Normalised per image: pooling the batch's cells gives another figure."""
    maps = torch.cat([logits(HALVES), logits(HALVES)])
    mask = torch.tensor([[[0, 255], [255, 255]], [[0, 0], [0, 0]]])
    found = segmentation_loss(maps, mask, torch.zeros(2, 2)).item()
    single, four = -math.log(0.5), [-math.log(p) for p in (0.5, 0.4, 0.3, 0.25)]
    assert found == pytest.approx((single + np.mean(four)) / 2, abs=1e-5)
    assert found != pytest.approx((single + sum(four)) / 5, abs=1e-2)


def test_no_labelled_cell_gives_zero_with_a_gradient():
    maps = random_maps().requires_grad_()
    loss = segmentation_loss(maps, torch.full((3, 5, 6), 255), torch.zeros(3, 4))
    loss.backward()
    assert loss.item() == 0
    assert maps.grad is not None
    assert not maps.grad.any()


def test_squared_loss_of_a_worked_case():
    # uniform softmax over 4 classes against (1/2, 1/2, 0, 0): 1/2 * 4 * (1/4)^2
    assert classification_loss(
        torch.zeros(1, 4), torch.tensor([[1.0, 1, 0, 0]]), kind="softmax"
    ).item() == pytest.approx(0.125)
    assert classification_loss(
        torch.zeros(2, 4), torch.tensor([[1.0, 1, 0, 0]] * 2), kind="softmax"
    ).item() == pytest.approx(0.125)
    assert classification_loss(torch.zeros(1, 4), torch.ones(1, 4), kind="sigmoid").item() == pytest.approx(math.log(2))


def test_masks_are_sampled_at_cell_centres():
    mask = torch.arange(81, dtype=torch.uint8).view(1, 9, 9)
    assert to_grid(mask, size=(3, 3))[0].tolist() == [[10, 13, 16], [37, 40, 43], [64, 67, 70]]
    assert to_grid(torch.full((1, 8, 8), 255, dtype=torch.uint8), size=(2, 2)).unique().tolist() == [255]


def test_plain_training_has_the_seed_loss_alone():
    outputs = random_maps(), torch.zeros(3, 4)
    batch = {"labels": torch.ones(3, 4), "mask": torch.zeros(3, 20, 24, dtype=torch.uint8)}
    plain = psl_losses(outputs, batch, settings=PslSection(enabled=False, score="softmax"))
    full = psl_losses(outputs, batch, settings=PslSection(enabled=True, score="softmax", classification_weight=2.0))
    assert set(plain) == {"seed"}
    assert set(full) == {"seed", "online", "classification"}
    assert full["seed"] == plain["seed"]
    assert full["classification"].item() == pytest.approx(
        2 * classification_loss(outputs[1], batch["labels"], kind="softmax").item()
    )


def test_training_weights_are_what_the_setting_says():
    maps, class_logits = random_maps(seed=3), torch.tensor([[6.0, 0, 0, 0]] * 3)
    labels = torch.tensor([[1.0, 1, 0, 0]] * 3)
    batch = {"labels": labels, "mask": torch.zeros(3, 5, 6, dtype=torch.uint8)}
    weights = {"predicted": class_logits.softmax(1), "labels": labels, "none": torch.ones(3, 4)}
    found = {
        k: psl_losses(
            (maps, class_logits), batch, settings=PslSection(enabled=True, score="softmax", train_weighting=k)
        )["online"].item()
        for k in weights
    }
    assert found == pytest.approx(
        {k: segmentation_loss(maps, online_mask(maps, v), labels).item() for k, v in weights.items()}
    )
    assert len({round(v, 4) for v in found.values()}) == 3


def test_online_masks_count_from_the_end_of_the_warmup_on():
    maps, labels = random_maps(2), torch.tensor([[1.0, 0, 1, 0], [0, 1, 0, 0]])
    outputs = (maps, torch.zeros(2, 4))
    batch = {"labels": labels, "mask": torch.zeros(2, 10, 12, dtype=torch.uint8)}
    settings = PslSection(enabled=True, score="softmax", warmup=0.5)
    early, late = (
        psl_losses(outputs, {**batch, "progress": p}, settings=settings)["online"].item() for p in (0.49, 0.5)
    )
    assert early == 0
    assert late == psl_losses(outputs, batch, settings=PslSection(enabled=True, score="softmax"))["online"].item() > 0


@pytest.mark.parametrize("weight", [0.0, 1.0, 3.0])
def test_the_classification_loss_has_its_weight_and_no_other_loss_has_it(weight):
    """Logits 0 and log 3 against one label of two: half of (1/4 - 1)^2 + (3/4)^2 is 0.5625."""
    outputs = random_maps(1, classes=2), torch.tensor([[0.0, math.log(3.0)]])
    batch = {"labels": torch.tensor([[1.0, 0.0]]), "mask": torch.ones(1, 10, 12, dtype=torch.uint8)}
    plain, weighted = ({"enabled": True, "score": "softmax", **own} for own in ({}, {"classification_weight": weight}))
    plain, found = (psl_losses(outputs, batch, settings=PslSection(**given)) for given in (plain, weighted))
    assert found["classification"].item() == pytest.approx(0.5625 * weight)
    assert (found["seed"], found["online"]) == (plain["seed"], plain["online"])
    assert found["seed"].item() > 0


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("softmax", 0.5 * (0.25**2 + 0.75**2)), ("sigmoid", (math.log(2) + math.log(4)) / 2)],
)
def test_an_image_without_labels_has_a_classification_loss(kind, expected):
    """Its target is 0 for every class; logits are 0 and log 3."""
    found = classification_loss(torch.tensor([[0.0, math.log(3.0)]]), torch.zeros(1, 2), kind=kind)
    assert found.item() == pytest.approx(expected)


def test_scores_of_exactly_p_stay():
    """0.5 is exact in every precision."""
    assert stricter(torch.tensor([0.25, 0.5, 0.75]), p=0.5).tolist() == [0.0, 0.5, 0.75]
