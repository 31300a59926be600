"""Shapes, parameter groups and weights of the segmenters."""

from __future__ import annotations

import pytest
import torch

from wsss.nets.segmenters import build_segmenter
from wsss.settings.sections import BackboneSection
from wsss.training.modes import set_train_mode

TINY = BackboneSection(name="test_efficientnet", weights="none", output_stride=16)
CASES = {"deeplabv3plus": ((64, 96), (16, 24)), "largefov": ((33, 65), (5, 9)), "deeplabv2": ((33, 65), (5, 9))}


@pytest.fixture(scope="module", params=CASES)
def network(request):
    torch.set_num_threads(1)
    return request.param, build_segmenter(network=request.param, weights="none", backbone=TINY, num_classes=3)


def test_shapes(network):
    name, model = network
    size, grid = CASES[name]
    with torch.inference_mode():
        maps, logits = model.eval()(torch.randn(1, 3, *size))
    assert maps.shape == (1, 4, *grid)
    assert logits.shape == (1, 3)
    assert torch.isfinite(maps).all()
    assert torch.isfinite(logits).all()


def test_groups_cover_every_parameter_once(network):
    name, model = network
    groups = [*model.pretrained(), *model.fresh()]
    assert len({id(p) for p in groups}) == len(groups)
    assert {id(p) for p in groups} == {id(p) for p in model.parameters() if p.requires_grad}
    assert {id(p) for p in model.pretrained()} <= {id(p) for p in model.backbone.parameters()}
    assert {id(p) for p in model.classify.parameters()} <= {id(p) for p in model.fresh()}
    if name == "largefov":
        assert {id(p) for p in model.backbone.conv6.parameters()} <= {id(p) for p in model.fresh()}


def test_only_the_pretrained_batchnorm_is_frozen():
    model = build_segmenter(network="deeplabv3plus", weights="none", backbone=TINY, num_classes=2)
    set_train_mode(model, freeze_batchnorm=True)
    layers = {n: m.training for n, m in model.named_modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)}
    assert not any(t for n, t in layers.items() if n.startswith("backbone."))
    assert all(t for n, t in layers.items() if not n.startswith("backbone."))
    assert len(set(layers.values())) == 2


@pytest.mark.parametrize("stride", [8, 16, 32])
def test_one_image_can_be_trained_on_at_every_stride(stride):
    model = build_segmenter(
        network="deeplabv3plus",
        weights="none",
        backbone=TINY.model_copy(update={"output_stride": stride}),
        num_classes=2,
    )
    set_train_mode(model, freeze_batchnorm=True)
    maps, logits = model(torch.randn(1, 3, 64, 64))
    (maps.sum() + logits.sum()).backward()
    assert maps.shape[2:] == (16, 16)
    assert all(p.grad is not None for p in model.fresh())


def test_deeplabv3plus_refuses_the_vgg_classifier():
    with pytest.raises(ValueError, match=r"choose segment\.network largefov"):
        build_segmenter(
            network="deeplabv3plus",
            weights="none",
            backbone=BackboneSection(name="vgg16_largefov", weights="none", output_stride=8),
            num_classes=2,
        )


def test_resnet_weights_load_from_a_path_and_must_fit(tmp_path):
    first = build_segmenter(network="deeplabv2", weights="none", backbone=TINY, num_classes=2)
    names = ("conv1", "bn1", "", "", "layer1", "layer2", "layer3", "layer4")
    state = {f"{names[int(k.split('.')[0])]}.{k.split('.', 1)[1]}": v for k, v in first.backbone.state_dict().items()}
    torch.save(state, tmp_path / "resnet101.pth")
    second = build_segmenter(network="deeplabv2", weights=str(tmp_path / "resnet101.pth"), backbone=TINY, num_classes=2)
    assert all(
        torch.equal(a, b)
        for a, b in zip(first.backbone.state_dict().values(), second.backbone.state_dict().values(), strict=True)
    )
    torch.save({k: v for k, v in state.items() if not k.startswith("layer4")}, tmp_path / "part.pth")
    with pytest.raises(ValueError, match="layer4"):
        build_segmenter(network="deeplabv2", weights=str(tmp_path / "part.pth"), backbone=TINY, num_classes=2)
    with pytest.raises(ValueError, match="no such weights file"):
        build_segmenter(network="deeplabv2", weights=str(tmp_path / "absent.pth"), backbone=TINY, num_classes=2)
