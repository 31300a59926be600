"""CAM: its maps, its losses, and the mean over scales and flips."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from wsss.files.imaging import Normalisation, normalise, resize_image
from wsss.settings.sections import BackboneSection, ClassifierSection, ScoresSection
from wsss.stages.seeds.cam import Classifier, Method, squared_label_loss
from wsss.stages.seeds.extract_scores import score_maps

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    net = Classifier(4, backbone=BackboneSection(name="test_efficientnet", weights="none")).eval()
    nn.init.normal_(net.head.weight)  # larger than at the start, so that the maps differ visibly
    return net


@pytest.fixture(scope="module")
def image_u8():
    small = np.random.default_rng(0).integers(0, 256, (8, 10, 3), dtype=np.uint8)
    return resize_image(small, size=(64, 96))


def maps_of(model, image_u8, *, scales=(1.0,), flip=False, ids=(1, 3, 4), method=None, normalisation=None):
    settings = ScoresSection(scales=list(scales), flip=flip)
    with torch.inference_mode():
        return score_maps(
            method or Method(), model, image_u8, class_ids=np.array(ids, np.uint8), settings=settings, device=CPU,
            normalisation=normalisation or model.backbone.normalisation,
        )  # fmt: skip


def test_pooled_maps_are_the_head_on_pooled_features(model):
    image_n = torch.randn(2, 3, 64, 48)
    with torch.no_grad():
        pooled = model.backbone(image_n).mean((2, 3))
        expected = F.linear(pooled, model.head.weight[:, :, 0, 0])
        found = Method().pool(model(image_n))
    assert found.shape == (2, 4)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_scores_are_signed_and_of_present_classes_only(model, image_u8):
    image_n = torch.from_numpy(normalise(image_u8, model.backbone.normalisation))[None]
    with torch.no_grad():
        found, every = Method().scores(model, image_n, [2, 4]), model(image_n)
        none = Method().scores(model, image_n, [])
    assert torch.equal(found, every[:, [1, 3]])
    assert found.min() < 0 < found.max()
    assert none.shape == (1, 0, 4, 6)
    assert model.head.bias is None


def test_trainable(model):
    pretrained, new = Method().trainable(model, round=1)
    assert [id(p) for p in new] == [id(model.head.weight)]
    assert {id(p) for p in pretrained} == {id(p) for p in model.backbone.parameters() if p.requires_grad}


def test_largefov_learns_conv6_and_conv7_as_new_layers():
    backbone = BackboneSection(name="vgg16_largefov", weights="none", output_stride=8, frozen_stride=1)
    model = Method().build(2, round=1, backbone=backbone, previous=None)
    pretrained, new = Method().trainable(model, round=1)
    assert sorted(tuple(p.shape) for p in new) == [
        (2, 1024, 1, 1),
        (1024,),
        (1024,),
        (1024, 512, 3, 3),
        (1024, 1024, 1, 1),
    ]
    assert len(pretrained) + len(new) == len(list(model.parameters()))


def test_squared_loss_by_hand():
    """Softmax of [0, log 3] is [1/4, 3/4]."""
    logits = torch.tensor([[0.0, float(np.log(3))]])
    for labels, expected in (
        ([1.0, 0.0], (0.75**2 + 0.75**2) / 2),
        ([1.0, 1.0], (0.25**2 + 0.25**2) / 2),
        ([0.0, 0.0], (0.25**2 + 0.75**2) / 2),
    ):
        assert float(squared_label_loss(logits, torch.tensor([labels]))) == pytest.approx(expected)
    both = squared_label_loss(logits.repeat(2, 1), torch.tensor([[1.0, 0.0], [1.0, 1.0]]))
    assert float(both) == pytest.approx((0.5625 + 0.0625) / 2)


def test_squared_loss_starts_where_the_paper_does():
    """Uniform softmax: (1/n - 1/C) / 2 for n of C labels; over train_aug's labels an image 0.362."""
    counts = {1: 6249, 2: 3104, 3: 969, 4: 210, 5: 46, 6: 4}
    labels = torch.zeros(6, 20)
    for k, n in enumerate(counts):
        labels[k, :n] = 1
        assert float(squared_label_loss(torch.zeros(1, 20), labels[k : k + 1])) == pytest.approx((1 / n - 1 / 20) / 2)
    weights = torch.tensor(list(counts.values()))
    assert float(
        squared_label_loss(torch.zeros(int(weights.sum()), 20), labels.repeat_interleave(weights, dim=0))
    ) == pytest.approx(0.362, abs=5e-4)


@pytest.mark.parametrize("loss", ["squared", "soft_margin"])
def test_losses_are_of_the_pooled_maps(loss):
    maps, labels = torch.randn(2, 3, 4, 5), torch.tensor([[1.0, 0, 1], [0, 1, 0]])
    found = Method().losses(maps, {"labels": labels}, settings=ClassifierSection(loss=loss), round=1)
    logits = maps.mean((2, 3))
    p = torch.sigmoid(logits)
    soft = -(labels * p.log() + (1 - labels) * (1 - p).log()).mean()
    assert list(found) == ["classification"]
    torch.testing.assert_close(
        found["classification"], squared_label_loss(logits, labels) if loss == "squared" else soft
    )


def test_one_scale_without_flip_is_the_plain_forward(model, image_u8):
    with torch.inference_mode():
        expected = model(torch.from_numpy(normalise(image_u8, model.backbone.normalisation))[None])[
            0, [0, 2, 3]
        ].numpy()
    np.testing.assert_allclose(maps_of(model, image_u8), expected, atol=1e-5)


def test_a_mirrored_image_has_mirrored_maps(model, image_u8):
    found = maps_of(model, image_u8, flip=True)
    assert not np.allclose(found, maps_of(model, image_u8))
    np.testing.assert_allclose(
        maps_of(model, np.ascontiguousarray(image_u8[:, ::-1]), flip=True), found[:, :, ::-1], atol=1e-5
    )


class Averages:
    """A method and its network of stride 8. The map of class c is c times the red of each 8x8 cell, at every scale."""

    backbone = SimpleNamespace(stride=8)

    def scores(self, model, image_n, class_ids):
        red = F.avg_pool2d(image_n[:, :1], 8)
        return torch.cat([c * red for c in class_ids], dim=1)


def test_scales_and_flips_are_averaged_on_the_grid_of_scale_1():
    ramp = np.zeros((64, 96, 3), np.uint8)
    ramp[..., 0] = np.linspace(20, 220, 96)
    plain = Normalisation(mean=(0.0,) * 3, std=(1.0,) * 3)
    one = maps_of(Averages(), ramp, method=Averages(), normalisation=plain, ids=(1, 2))
    assert one.shape == (2, 8, 12)
    many = maps_of(
        Averages(), ramp, method=Averages(), normalisation=plain, ids=(1, 2), scales=(0.5, 1.0, 2.0), flip=True
    )
    assert many.shape == one.shape
    # A map that is not mirrored back would flatten the ramp. The outer cells differ: half-size cells are wider there.
    np.testing.assert_allclose(many[:, :, 1:-1], one[:, :, 1:-1], atol=2)
    alone = maps_of(Averages(), ramp, method=Averages(), normalisation=plain, ids=(1, 2), scales=(2.0,))
    np.testing.assert_allclose(alone[:, :, 1:-1], one[:, :, 1:-1], atol=2)


def test_no_labels_no_maps(model, image_u8):
    assert maps_of(model, image_u8, ids=(), flip=True, scales=(0.5, 1.0)).shape == (0, 4, 6)
