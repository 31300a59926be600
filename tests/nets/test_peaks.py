"""Peaks: hand-made maps, ties, gradients, and a slow search by loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from wsss.nets.peaks import filter_peaks, find_peaks, map_level, peak_mean, relative_level, upsample


def grid(rows):
    return torch.tensor(rows, dtype=torch.float32)[None, None]


def slow_peaks(plane, window):
    """Cells that are the first maximum, in reading order, of the window around them."""
    h, w = plane.shape
    found = np.zeros((h, w), bool)
    for y in range(h):
        for x in range(w):
            cells = [
                (i, j)
                for i in range(max(0, y - window // 2), min(h, y + window // 2 + 1))
                for j in range(max(0, x - window // 2), min(w, x + window // 2 + 1))
            ]
            best = cells[0]
            for cell in cells:
                best = cell if plane[cell] > plane[best] else best
            found[y, x] = best == (y, x)
    return found


@pytest.mark.parametrize("window", [3, 5])
def test_peaks_are_those_of_a_slow_search_ties_too(window):
    maps = torch.randint(-3, 3, (3, 2, 9, 7), generator=torch.Generator().manual_seed(0)).float()
    found = find_peaks(maps, window=window)
    for n in range(3):
        for c in range(2):
            np.testing.assert_array_equal(found[n, c], slow_peaks(maps[n, c].numpy(), window))


def test_a_constant_map_has_one_peak_and_a_plateau_its_first_cell():
    assert find_peaks(torch.zeros(1, 1, 4, 5), window=3).nonzero().tolist() == [[0, 0, 0, 0]]
    plateau = torch.zeros(1, 1, 5, 5)
    plateau[..., 2:4, 2:4] = 1
    assert [0, 0, 2, 2] in find_peaks(plateau, window=3).nonzero().tolist()
    assert find_peaks(plateau, window=9).nonzero().tolist() == [[0, 0, 2, 2]]


def test_levels():
    maps = grid([[4.0, -1.0], [0.0, 1.0]])
    found = {kind: map_level(maps, kind=kind, value=0.5).item() for kind in ("median", "mean", "max", "fixed", "none")}
    assert found == {"median": 0.0, "mean": 1.0, "max": 4.0, "fixed": 0.5, "none": -np.inf}
    assert relative_level(maps, share=0.25).item() == 1.0
    assert relative_level(-maps - 9, share=0.25).item() == -8.0  # nowhere positive: its maximum


def test_the_highest_peak_always_stays():
    maps = grid([[5.0, 0, 3, 0, 1]])
    peaks = find_peaks(maps, window=3)
    for level, kept in ((-1.0, [0, 2, 4]), (3.0, [0, 2]), (3.1, [0]), (99.0, [0])):
        assert filter_peaks(maps, peaks, at_least=torch.tensor([[level]]))[0, 0, 0].nonzero().flatten().tolist() == kept


@pytest.mark.parametrize(("gradient", "each"), [("mean", 1 / 3), ("sum", 1.0)])
def test_the_score_is_the_mean_of_the_peaks_and_its_gradient_their_share(gradient, each):
    maps = grid([[5.0, 0, 3, 0, 1]]).requires_grad_()
    score = peak_mean(maps, find_peaks(maps, window=3), gradient=gradient)
    assert score.item() == 3.0
    (found,) = torch.autograd.grad(2 * score.sum(), maps)
    assert torch.allclose(found, 2 * each * grid([[1.0, 0, 1, 0, 1]]))


def test_the_finer_grid_has_its_corners_on_the_maps_corners():
    maps = grid([[0.0, 2.0], [4.0, 6.0]])
    assert upsample(maps, factor=1) is maps
    fine = upsample(maps, factor=2)
    assert torch.allclose(fine[0, 0, 0], torch.tensor([0, 2 / 3, 4 / 3, 2]))
    assert (fine[0, 0, 3, 3].item(), fine[0, 0, 3, 0].item()) == (6.0, 4.0)
