"""Peak back-propagation worked by hand on small networks: dead ends, signs, BatchNorm and finer grids."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from wsss.nets.topdown import Rules, arrived_mass, response_maps

from .test_topdown import conv, pass_down


def batchnorm(weight, variance=1.0):
    """A BatchNorm of the given scales and variances, without an offset."""
    norm = nn.BatchNorm2d(len(weight), eps=0.0).eval()
    norm.weight.data, norm.running_var.data = torch.tensor(weight), torch.full((len(weight),), float(variance))
    return norm


@pytest.mark.parametrize("inputs", ["shifted", "signed"])
def test_a_source_of_next_to_nothing_is_a_dead_end(inputs):
    """The output is 1e-11, positive and yet below the limit of 1e-10. Its mass is dropped or spread."""
    model, image = conv([[[[0.0, 1.0]]]]), torch.tensor([[[0.0, 1e-11]]])
    assert pass_down(model, image, dead_ends="drop", inputs=inputs).tolist() == [[0, 0]]
    assert pass_down(model, image, dead_ends="spread", inputs=inputs).sum().item() == pytest.approx(1)
    above = torch.tensor([[[0.0, 1e-9]]])
    assert torch.allclose(pass_down(model, above, dead_ends="drop", inputs=inputs), torch.tensor([[0.0, 1.0]]))


def test_dead_ends_of_signed_inputs_are_spread_by_size_whatever_the_sign():
    """-3 and 1 under the weights 1 and -1 both take away: nothing is a source, and 3/4 and 1/4 arrive."""
    model, image = conv([[[[1.0, -1.0]]]]), torch.tensor([[[-3.0, 1.0]]])
    assert pass_down(model, image, inputs="signed", dead_ends="drop").tolist() == [[0, 0]]
    assert torch.allclose(pass_down(model, image, inputs="signed"), torch.tensor([[0.75, 0.25]]), atol=1e-5)


def test_dead_ends_of_shifted_inputs_are_spread_by_what_lies_over_the_minimum():
    """The minimum, -3, is in the other row: over it -1 and 1 are 2 and 4."""
    model, image = conv([[[[-1.0, -1.0]]]]), torch.tensor([[[-1.0, 1.0], [-3.0, 0.0]]])
    assert pass_down(model, image, dead_ends="drop").tolist() == [[0, 0], [0, 0]]
    assert torch.allclose(pass_down(model, image), torch.tensor([[2 / 6, 4 / 6], [0, 0]]), atol=1e-5)


def test_dead_ends_where_nothing_is_active_are_spread_evenly():
    assert torch.allclose(pass_down(conv([[[[1.0, 1.0]]]]), torch.zeros(1, 1, 2)), torch.tensor([[0.5, 0.5]]))


def test_a_batchnorm_after_an_activation_is_no_part_of_the_convolution_before():
    """Its scale is negative. Folded into the convolution it would turn the weights round and leave no source."""
    layers = [conv([[[[2.0, 1.0]]]]), nn.ReLU(), batchnorm([-1.0]), conv([[[[1.0]]]])]
    image = torch.tensor([[[1.0, 2.0, 3.0, 0.0]]])  # the first cell is 2 + 2, and after the BatchNorm the highest
    found = pass_down(nn.Sequential(*layers), image, at=(0, 0, 0), dead_ends="drop")
    assert torch.allclose(found, torch.tensor([[0.5, 0.5, 0, 0]]))


def test_a_batchnorm_right_after_a_convolution_turns_its_signs():
    """The weights 2 and -1 become -2 and 1. All mass comes from the second pixel, not from the first."""
    model = nn.Sequential(conv([[[[2.0, -1.0]]]]), batchnorm([-3.0], 4.0))
    image = torch.tensor([[[2.0, 5.0, 0.0]]])
    assert torch.allclose(pass_down(model, image, dead_ends="drop"), torch.tensor([[0.0, 1, 0]]))
    by_gradient = pass_down(model, image, dead_ends="drop", batchnorm="gradient")
    assert torch.allclose(by_gradient, torch.tensor([[-1.5, 0, 0]]))


@pytest.mark.parametrize("variance", [1e-8, 1.0, 1e16])
def test_folding_divides_by_the_deviation_not_by_the_variance(variance):
    """A source of 0.5 over a deviation of 1e8 is one still. Over the variance, 1e16, it would be a dead end."""
    model, image = nn.Sequential(conv([[[[1.0, 3.0]]]]), batchnorm([1.0], variance)), torch.tensor([[[0.0, 0.5, 0.5]]])
    folded = fuse_conv_bn_eval(*model.eval())
    for network in (model, folded):
        left, right = (pass_down(network, image, at=(0, 0, k), dead_ends="drop") for k in (0, 1))
        assert torch.allclose(left, torch.tensor([[0.0, 1, 0]]))
        assert torch.allclose(right, torch.tensor([[0.0, 1 / 4, 3 / 4]]))


def test_a_tiny_scale_whose_outputs_have_no_source_is_a_dead_end():
    """0.5 times 1e-9 is above the limit of 1e-10. A deviation of 10 brings it below the limit."""
    image = torch.tensor([[[0.0, 0.5]]])
    for variance, arrives in ((1.0, 1.0), (100.0, 0.0), (1e-4, 1.0)):
        model = nn.Sequential(conv([[[[1.0, 1.0]]]]), batchnorm([1e-9], variance))
        assert pass_down(model, image, dead_ends="drop").sum().item() == pytest.approx(arrives)


def test_a_peak_between_cells_is_shared_by_its_neighbours_by_distance():
    """On the finer grid of 2 x 3 cells rows lie at 0, 1/3, 2/3, 1 and columns at 0, .4, .8, 1.2, 1.6, 2."""
    model, image = conv([[[[1.0]]]], bias=5.0), torch.ones(1, 2, 3)
    image[0, 0, 0] = 0.5  # the minimum itself can be no source
    starts = torch.zeros(3, 1, 4, 6)
    starts[0, 0, 1, 3] = starts[1, 0, 3, 5] = starts[2, 0, 2, 4] = 1
    found = arrived_mass(model, image, starts, factor=2, rules=Rules(dead_ends="spread"))
    rows = torch.tensor([[2 / 3, 1 / 3], [0, 1], [1 / 3, 2 / 3]])
    columns = torch.tensor([[0, 0.8, 0.2], [0, 0, 1], [0, 0.4, 0.6]])
    assert torch.allclose(found, rows[:, :, None] * columns[:, None], atol=1e-6)


def test_mass_is_summed_over_colours():
    """Three colours of weights 1, 2 and 3 on one pixel: all three shares belong to it."""
    model = conv([[[[1.0, 1.0]], [[2.0, 0.0]], [[3.0, 1.0]]]])
    image = torch.tensor([[[0.0, 1, 1]], [[2.0, 1, 1]], [[1.0, 2, 1]]])  # first pixel 0 + 4 + 3, second 1 + 0 + 2
    assert torch.allclose(pass_down(model, image), torch.tensor([[0.7, 0.3, 0]]))


@pytest.mark.parametrize("size", [1e-6, 0.1, 100.0])
def test_response_maps_do_not_depend_on_how_much_mass_arrived(size):
    found = response_maps(size * torch.tensor([[[1.0, 3.0, -5.0]]]))
    assert torch.allclose(found, torch.tensor([[[0.25, 0.75, 0]]]))


class Twice(nn.Module):
    """A sum of two convolutions, so that their parts have unlike sizes and minima."""

    def __init__(self):
        super().__init__()
        self.one, self.two = conv([[[[1.0]]]], bias=-1.0), conv([[[[3.0]]]], bias=2.0)

    def forward(self, x):
        return self.one(x) + self.two(x)


def test_parts_of_a_sum_are_measured_from_their_common_minimum():
    """Of 1, 2, 4 the first part is 0, 1, 3 and the second 5, 8, 14. Their common minimum is 0."""
    image = torch.tensor([[[1.0, 2.0, 4.0]]])
    model = nn.Sequential(Twice(), conv([[[[1.0]]]]))
    for at in ((0, 0, 1), (0, 0, 2)):
        assert pass_down(model, image, at=at)[0].tolist() == pytest.approx([float(k == at[2]) for k in range(3)])
    # the pixel that is the image's minimum has no source of its own: its parts' mass is dropped
    assert pass_down(model, image, at=(0, 0, 0), dead_ends="drop").sum().item() == 0


def test_more_mass_at_the_start_is_more_at_the_end():
    """Mass 1, 2 and 4 at the same cell; the rules conserve it."""
    model, image = conv([[[[1.0, 2.0]]]]), torch.tensor([[[3.0, 1.0, 0.0]]])
    starts = torch.tensor([1.0, 2.0, 4.0])[:, None, None, None] * torch.tensor([[[[1.0, 0.0]]]])
    sums = arrived_mass(model, image, starts, factor=1, rules=Rules(dead_ends="spread")).sum((1, 2)).tolist()
    assert [b / a for a, b in pairwise(sums)] == pytest.approx([2, 2])
    assert sums[0] == pytest.approx(1)
