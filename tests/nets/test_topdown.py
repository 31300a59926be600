"""Peak back-propagation: hand-worked answers, limit cases, and a slow reference by loops."""

from __future__ import annotations

import copy
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from wsss.nets.shares import EPSILON, PUBLISHED, Rules
from wsss.nets.subgrid import SubgridConv2d
from wsss.nets.topdown import arrived_mass, bottom_up, check_passable, response_maps, top_down
from wsss.settings.sections import BackboneSection
from wsss.stages.seeds.cam import Classifier

CONSERVING = Rules(dead_ends="spread")
EVERY = [Rules(), CONSERVING, PUBLISHED, Rules(inputs="signed"), Rules(inputs="signed", dead_ends="spread")]


def conv(weights, *, bias=0.0):
    """A convolution of (out, in, kH, kW) weights."""
    weight = torch.tensor(weights, dtype=torch.float32)
    out, into, height, width = weight.shape
    made = nn.Conv2d(into, out, (height, width))
    made.weight.data, made.bias.data = weight, torch.full((out,), 0.0) + torch.tensor(bias)
    return made


def pass_down(model, image, *, at=(0, 0, 0), **rules):
    """The mass at the pixels of a pass from one cell (channel, row, column) of the network's last maps."""
    shape = model.eval()(image[None]).shape[1:]
    start = torch.zeros(1, *shape)
    start[(0, *at)] = 1
    return arrived_mass(model, image, start, factor=1, rules=replace(CONSERVING, **rules))[0]


def by_hand():
    """Image 1, 2, 4; kernels A = (2, 1) and B = (1, -1) + 3, ReLU; then one kernel, (1, 1) on A and (2, -5) on B.

    A gives 4, 8 and B 2, 1; minus the minimum 3, 7 and 1, 0. The second layer's positive weights make 3 + 7 + 2 of it,
    so its mass goes 3/12, 7/12, 2/12, 0. The image minus its minimum is 0, 1, 3. A's first cell hands all to the
    middle. Its second hands 2/5 to the middle and 3/5 to the right. B's first cell sees 0 under its positive weight.
    """
    layers = [
        conv([[[[2.0, 1]]], [[[1.0, -1]]]], bias=[0.0, 3.0]),
        nn.ReLU(inplace=True),
        conv([[[[1.0, 1]], [[2.0, -5]]]], bias=7.0),
    ]
    return nn.Sequential(*layers), torch.tensor([[[1.0, 2, 4]]])


def test_a_hand_computed_pass():
    model, image = by_hand()
    sure = torch.tensor([[0, 3 / 12 + 7 / 12 * 2 / 5, 7 / 12 * 3 / 5]])
    assert torch.allclose(pass_down(model, image, dead_ends="drop"), sure)  # what has no positive source is dropped
    spread = sure + torch.tensor([[0, 2 / 12, 0]])  # or goes where something is active
    assert torch.allclose(pass_down(model, image), spread, atol=1e-5)


def slow_share(x, weight, mass, *, stride, padding, dilation, groups):
    """One convolution's step down by loops: mass (out, h', w') to (in, H, W)."""
    shifted, positive = x - x.min(), np.maximum(weight, 0)
    arrived = np.zeros_like(x)
    per_in, per_out = positive.shape[1], positive.shape[0] // groups
    for o, p, q in np.ndindex(mass.shape):
        taps = {}
        for c, i, j in np.ndindex(positive.shape[1:]):
            y, z = p * stride + i * dilation - padding, q * stride + j * dilation - padding
            if 0 <= y < x.shape[1] and 0 <= z < x.shape[2]:
                place = ((o // per_out) * per_in + c, y, z)
                taps[place] = shifted[place] * positive[o, c, i, j]
        total = sum(taps.values())
        for place, value in taps.items():
            arrived[place] += mass[o, p, q] * value / total if total > EPSILON else 0
    return arrived


@pytest.mark.parametrize(
    ("stride", "padding", "dilation", "groups", "kernel"),
    [(1, 0, 1, 1, 3), (2, 1, 1, 1, 3), (1, 2, 2, 4, 3), (2, 2, 1, 2, 5), (1, 0, 1, 1, 1)],
)
def test_a_convolution_is_that_of_a_slow_reference(stride, padding, dilation, groups, kernel):
    torch.manual_seed(0)
    module = nn.Conv2d(4, 4, kernel, stride=stride, padding=padding, dilation=dilation, groups=groups)
    image = torch.randn(4, 8, 7)
    mass = torch.rand(1, *module(image[None]).shape[1:])
    found = arrived_mass(module, image, mass, factor=1, rules=Rules(batchnorm="gradient"))[0]
    expected = slow_share(
        image.numpy(),
        module.weight.detach().numpy(),
        mass[0].numpy(),
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
    )
    np.testing.assert_allclose(found, expected.sum(0), atol=1e-6)


def test_an_interleaved_convolution_passes_as_the_plain_one():
    torch.manual_seed(0)
    plain = nn.Conv2d(4, 4, 3, padding=2, dilation=2, groups=4)
    image, start = torch.randn(4, 9, 7), torch.rand(2, 4, 9, 7)
    found = [arrived_mass(m, image, start, factor=1, rules=CONSERVING) for m in (plain, SubgridConv2d.of(plain))]
    assert torch.allclose(*found, atol=1e-6)


class Normed(nn.Module):
    """Convolution, BatchNorm with scales of both signs, ReLU6, convolution."""

    def __init__(self):
        super().__init__()
        self.first, self.norm, self.act, self.second = (
            nn.Conv2d(3, 5, 3, padding=1),
            nn.BatchNorm2d(5),
            nn.ReLU6(inplace=True),
            nn.Conv2d(5, 2, 3),
        )
        self.norm.weight.data = torch.tensor([1.5, -2.0, 0.3, -0.1, 40.0])
        self.norm.running_mean.data, self.norm.running_var.data = torch.randn(5), torch.rand(5) + 0.1

    def forward(self, x):
        return self.second(self.act(self.norm(self.first(x))))


def test_signed_inputs_are_sources_by_the_sign_of_their_weights():
    """Image -1, 2, 4 and weights -3, 1, -1: the first two add 3 and 2, the third takes away."""
    model, image = conv([[[[-3.0, 1, -1]]]]), torch.tensor([[[-1.0, 2, 4]]])
    assert torch.allclose(pass_down(model, image, inputs="signed"), torch.tensor([[3 / 5, 2 / 5, 0]]))
    middle = torch.tensor([[0, 1.0, 0]])
    assert torch.allclose(pass_down(model, image), middle)  # minus the minimum: 0, 3, 5 with the weights 0, 1, 0
    assert torch.allclose(pass_down(model, image.abs(), inputs="signed"), middle)


def test_of_a_sum_of_signed_terms_the_positive_ones_get_the_mass():
    model, image = Block(inplace=False, factor=-3.0), torch.tensor([[[-1.0, 2.0]]])  # sums 2 = -1 + 3 and -4 = 2 - 6
    assert torch.allclose(pass_down(model, image, inputs="signed", dead_ends="drop"), torch.tensor([[1.0, 0]]))
    assert pass_down(model, image, inputs="signed").sum() == pytest.approx(1)


def test_after_a_relu_shifted_and_signed_are_equal():
    torch.manual_seed(0)
    model, image = (
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3)),
        torch.rand(3, 12, 12),
    )
    image[:, 0, 0] = 0
    for at in ((0, 1, 1), (1, 4, 5)):
        signed = pass_down(model, image, at=at, inputs="signed")
        assert torch.allclose(pass_down(model, image, at=at), signed, atol=1e-6)


def test_folding_batchnorm_equals_the_network_without_it():
    torch.manual_seed(0)
    model, image = Normed().eval(), torch.randn(3, 8, 9)
    folded = copy.deepcopy(model)
    folded.first, folded.norm = fuse_conv_bn_eval(folded.first, folded.norm), nn.Identity()
    for at in ((0, 1, 1), (1, 5, 6)):
        assert torch.allclose(pass_down(model, image, at=at), pass_down(folded, image, at=at), atol=1e-6)
    gradient = pass_down(model, image, at=at, batchnorm="gradient")
    assert not torch.allclose(pass_down(model, image, at=at), gradient, atol=1e-3)


def test_published_batchnorm_is_its_gradient():
    """One channel: the step down through BatchNorm multiplies by its scale over its deviation, negative ones too."""
    norm = nn.BatchNorm2d(1, eps=0.0).eval()
    norm.weight.data, norm.running_var.data = torch.tensor([-3.0]), torch.tensor([4.0])
    model, image = nn.Sequential(norm, conv([[[[1.0]]]])), torch.tensor([[[1.0, 2.0]]])
    assert pass_down(model, image, at=(0, 0, 0), batchnorm="gradient").tolist() == [[-1.5, 0.0]]
    assert pass_down(model, image, at=(0, 0, 0)).tolist() == [[1.0, 0.0]]  # alone it has one input, which gets all


class Block(nn.Module):
    """x + 2x or its in-place form, then a convolution over two cells."""

    def __init__(self, inplace, factor=2.0):
        super().__init__()
        self.times, self.last, self.inplace = conv([[[[factor]]]]), conv([[[[1.0, 1.0]]]]), inplace

    def forward(self, x):
        y = self.times(x)
        if self.inplace:
            y += x
        else:
            y = y + x
        return self.last(y)


@pytest.mark.parametrize("inplace", [False, True])
def test_a_sum_splits_by_share_or_copies(inplace):
    """Image 0, 1, 3: sums 0, 3, 9; the last cell sees 3 and 9 and hands down 1/4 and 3/4.

    A third of each is the shortcut's; the other two thirds have the same pixel as their source.
    """
    model, image = Block(inplace), torch.tensor([[[0.0, 1, 3]]])
    assert torch.allclose(pass_down(model, image, at=(0, 0, 1)), torch.tensor([[0, 1 / 4, 3 / 4]]))
    assert torch.allclose(pass_down(model, image, at=(0, 0, 1), residual="copy"), torch.tensor([[0, 2 / 4, 6 / 4]]))


def test_pools():
    image = torch.tensor([[[1.0, 4, 3, 2]]])
    at_maximum = pass_down(nn.Sequential(conv([[[[1.0]]]]), nn.MaxPool2d((1, 2))), image, at=(0, 0, 1))
    assert at_maximum.tolist() == [[0, 0, 1, 0]]
    average = nn.Sequential(nn.AvgPool2d((1, 2), padding=(0, 1)), conv([[[[1.0]]]]))
    found = pass_down(average, image, at=(0, 0, 1))
    assert torch.allclose(found, torch.tensor([[0, 3 / 5, 2 / 5, 0]]))  # as a convolution: by activation
    found = pass_down(average, image, at=(0, 0, 1), batchnorm="gradient")
    assert torch.allclose(found, torch.tensor([[0, 0.5, 0.5, 0]]))
    assert pass_down(average, image, at=(0, 0, 2)).sum() == 1  # nothing goes into the padding
    assert pass_down(average, image, at=(0, 0, 2), batchnorm="gradient").sum() == 0.5


BACKBONES = {
    "tf_efficientnet_lite0": {},
    "test_resnet": {"weights": "none"},
    "vgg16_largefov": {"weights": "none", "output_stride": 8},
    "resnet38": {"weights": "none", "output_stride": 8},
}


@pytest.mark.parametrize("name", BACKBONES)
def test_every_backbone_keeps_its_maps_and_all_mass(name):
    torch.manual_seed(0)
    model = Classifier(2, backbone=BackboneSection(name=name, **BACKBONES[name]), bias=True).eval()
    image = torch.randn(3, 40, 56)
    root, maps = bottom_up(model, image[None], rules=CONSERVING)
    assert torch.equal(maps, model(image[None]))
    start = torch.zeros_like(maps)
    start[0, 1, 1, 2] = 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # an operation that several passes at once would go through one by one
        arrived = top_down(root, maps, start[None])[0]
    assert arrived.min() >= 0
    assert arrived.sum().item() == pytest.approx(1, abs=1e-5)
    assert all(p.grad is None for p in model.parameters())
    if name == "tf_efficientnet_lite0":  # whole kernels of depthwise convolutions have no positive weight
        dropped = arrived_mass(model, image, start, factor=1, rules=Rules())
        assert 0 < dropped.sum() < 0.5


def test_passes_are_the_same_one_by_one_and_all_at_once():
    torch.manual_seed(0)
    model, image = Normed().eval(), torch.randn(3, 8, 9)
    starts = torch.zeros(5, 2, 6, 7)
    starts[torch.arange(5), torch.arange(5) % 2, torch.arange(5), torch.arange(5)] = 1
    for rules in EVERY:
        whole = arrived_mass(model, image, starts, factor=1, rules=rules)
        for at_once in (1, 2, 3):
            parts = arrived_mass(model, image, starts, factor=1, at_once=at_once, rules=rules)
            assert torch.allclose(whole, parts, atol=1e-6)
    assert arrived_mass(model, image, starts[:0], factor=1, rules=CONSERVING).shape == (0, 8, 9)


def test_the_minimum_is_each_samples_own():
    """A darker image in the batch does not change the others' passes, as it would with one minimum for all."""
    torch.manual_seed(0)
    model, image = Normed().eval(), torch.randn(3, 8, 9)
    start = torch.zeros(2, 2, 6, 7)
    start[:, 0, 2, 3] = 1
    root, maps = bottom_up(model, torch.stack([image, image - 50]), rules=CONSERVING)
    assert torch.allclose(top_down(root, maps, start[None])[0, 0], pass_down(model, image, at=(0, 2, 3)), atol=1e-6)


def test_passes_are_linear_and_a_peak_between_cells_is_shared_by_them():
    torch.manual_seed(0)
    model, image = Normed().eval(), torch.randn(3, 8, 9)
    starts = torch.rand(2, 2, 12, 14)
    one, two = arrived_mass(model, image, starts, factor=2, rules=CONSERVING)
    both = arrived_mass(model, image, starts.sum(0, keepdim=True), factor=2, rules=CONSERVING)[0]
    assert torch.allclose(one + two, both, rtol=1e-4)
    assert both.sum().item() == pytest.approx(starts.sum().item(), rel=1e-4)


def test_response_maps_sum_to_one():
    mass = torch.tensor([[[1.0, 3.0], [-2.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]])
    before = mass.clone()
    assert response_maps(mass).tolist() == [[[0.25, 0.75], [0, 0]], [[0, 0], [0, 0]]]
    assert torch.equal(mass, before)


def test_works_inside_inference_mode():
    torch.manual_seed(0)
    model, image, start = Normed().eval(), torch.randn(3, 8, 9), torch.rand(1, 2, 6, 7)
    expected = arrived_mass(model, image, start, factor=1, rules=CONSERVING)
    with torch.inference_mode():
        assert torch.equal(arrived_mass(model, image.clone(), start.clone(), factor=1, rules=CONSERVING), expected)


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        (nn.SiLU(), r"1 \(SiLU\) uses silu"),
        (nn.GroupNorm(1, 4), r"1 \(GroupNorm\) uses group_norm"),
        (nn.Sigmoid(), r"1 \(Sigmoid\) uses sigmoid"),
        (nn.BatchNorm2d(4), "training mode"),
    ],
)
def test_a_layer_it_cannot_go_through_is_named(layer, said):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), layer)
    with pytest.raises(ValueError, match=said):
        bottom_up(model, torch.randn(1, 3, 8, 8), rules=CONSERVING)
    assert not [m for m in model.modules() if m._forward_hooks or m._forward_pre_hooks]


class Gated(nn.Module):
    """Squeeze and excite without a module for the product."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3)

    def forward(self, x):
        x = self.first(x)
        return x * x


def test_a_product_is_named_and_modes_are_restored():
    model = Gated()
    with pytest.raises(ValueError, match=r"the network \(Gated\) uses mul,"):
        check_passable(model)
    assert model.training


class Hidden(nn.Module):
    """Adds in place without taking the result."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 3, 1)

    def forward(self, x):
        y = self.first(x)
        y.add_(x)
        return y


def test_a_network_that_does_other_things_than_were_seen_is_refused():
    torch.manual_seed(0)
    check_passable(nn.Conv2d(3, 2, 1))
    with pytest.raises(ValueError, match="other maps when it is followed"):
        check_passable(Hidden())


def test_shares_are_made_in_full_float32(monkeypatch):
    """On a GPU cuDNN would take TF32, with 10 bits, by default."""
    seen, before = [], torch.backends.cudnn.allow_tf32
    monkeypatch.setattr(
        "wsss.nets.topdown.top_down", lambda *a: (seen.append(torch.backends.cudnn.allow_tf32), top_down(*a))[1]
    )
    model = nn.Conv2d(3, 1, 1, bias=False).eval()
    model.register_forward_hook(lambda *_: seen.append(torch.backends.cudnn.allow_tf32))
    arrived_mass(model, torch.rand(3, 4, 4), torch.ones(1, 1, 4, 4), factor=1, rules=Rules())
    assert set(seen) == {False}
    assert torch.backends.cudnn.allow_tf32 == before
