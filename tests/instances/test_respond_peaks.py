"""What is stored of an image's peaks, with a network and a method whose every number is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.tiny_set import write_tiny_set
from wsss.files.imaging import Normalisation
from wsss.files.index import ImageIndex
from wsss.stages.instances.respond_peaks import LEAST_SIDE, _pixel, image_peaks

MAPS = np.array(
    [
        [[1.0, 2.0, 5.0], [7.0, 0.5, 1.5]],
        [[9.0, 8.0, 9.5], [8.5, 8.0, 8.0]],
        [[0.0, 3.0, 0.0], [0.0, 0.0, 4.0]],
    ]
)
"""(C, h, w) class maps of every image."""
PEAKS = [(0, 0, 2), (0, 1, 0), (1, 0, 0), (2, 1, 2), (2, 0, 1)]
"""(channel, row, column) of what the method traces; channel 1 is of a class that the image does not have."""


class KnownModel(torch.nn.Module):
    """Answers `MAPS` and keeps what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = torch.nn.Identity()
        self.backbone.normalisation = Normalisation(mean=(10, 20, 30), std=(2, 4, 5))

    def forward(self, image_n: torch.Tensor) -> torch.Tensor:
        self.seen = image_n
        return torch.tensor(MAPS, dtype=torch.float32)[None]


class KnownMethod:
    """A response is 1 at its start's cell, elsewhere 0.25 times the channel's number, in the last row negative."""

    def traced_peaks(self, maps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        peaks = torch.zeros(maps.shape, dtype=torch.bool)
        for place in PEAKS:
            peaks[(0, *place)] = True
        return maps, peaks

    def responses(self, model: torch.nn.Module, image_n: torch.Tensor, starts: torch.Tensor) -> torch.Tensor:
        self.starts = starts
        height, width = image_n.shape[1:]
        if not len(starts):
            return torch.zeros(0, height, width)
        where = torch.nn.functional.interpolate(starts.sum(1)[None], (height, width), mode="nearest")[0]
        channel = starts.sum((2, 3)).argmax(1)
        mass = where + 0.25 * channel[:, None, None] * (1 - where)
        mass[:, -1] = -1
        return mass


def traced(tmp_path, *, height=20, width=30, scale=1.0, labels=(1, 3)):
    """The arrays of a random image, its pixels, the model and the method."""
    image_u8 = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    index, _ = write_tiny_set(tmp_path, {"a": (image_u8, labels)})
    method, model = KnownMethod(), KnownModel()
    arrays = image_peaks(method, model, ImageIndex(index).rows["a"], scale=scale, device=torch.device("cpu"))
    return arrays, image_u8, model, method


def expected_response(row, column, channel, *, height=20, width=30):
    """Of a start in a cell of 10 x 10 px: the density, of mean 1."""
    mass = np.full((height, width), 0.25 * channel)
    mass[10 * row : 10 * row + 10, 10 * column : 10 * column + 10] = 1
    mass[-1] = 0
    return mass / mass.mean()


def test_peaks_are_stored_by_class_and_from_the_highest_down(tmp_path):
    """Cells of 10 px: the centre of cell k is at 10 k + 4.5."""
    peak = traced(tmp_path)[0]["peak"]
    assert peak.tolist() == [[1, 14.5, 4.5, 7], [1, 4.5, 24.5, 5], [3, 14.5, 24.5, 4], [3, 4.5, 14.5, 3]]


def test_every_peak_is_traced_from_its_own_class_and_cell(tmp_path):
    arrays, _, _, method = traced(tmp_path)
    assert [tuple(t) for t in method.starts.nonzero().tolist()] == [
        (0, 0, 1, 0),
        (1, 0, 0, 2),
        (2, 2, 1, 2),
        (3, 2, 0, 1),
    ]
    assert set(method.starts[method.starts != 0].tolist()) == {1.0}
    expected = [expected_response(y, x, c) for c, y, x in ((0, 1, 0), (0, 0, 2), (2, 1, 2), (2, 0, 1))]
    np.testing.assert_allclose(arrays["response"].reshape(4, 20, 30), expected, rtol=1e-5)


def test_the_maps_of_the_present_classes_are_stored_as_they_are(tmp_path):
    np.testing.assert_array_equal(traced(tmp_path)[0]["map"], MAPS[[0, 2]])
    np.testing.assert_array_equal(traced(tmp_path / "other", labels=(2,))[0]["map"], MAPS[[1]])


def test_the_network_is_shown_the_normalised_image(tmp_path):
    _, image_u8, model, _ = traced(tmp_path)
    np.testing.assert_allclose(
        model.seen[0].permute(1, 2, 0), (image_u8 - np.array([10.0, 20, 30])) / [2, 4, 5], rtol=1e-6
    )


@pytest.mark.parametrize(("scale", "seen"), [(0.5, (60, 45)), (2.0, (240, 180)), (0.1, (LEAST_SIDE, LEAST_SIDE))])
def test_at_another_scale_places_and_responses_are_those_of_the_image(tmp_path, scale, seen):
    arrays, _, model, _ = traced(tmp_path, height=120, width=90, scale=scale)
    assert model.seen.shape[2:] == seen
    assert arrays["peak"][0].tolist() == [1, 89.5, 14.5, 7]  # cells of 60 x 30 px
    response = arrays["response"][0].reshape(120, 90)
    assert response.mean() == pytest.approx(1, rel=1e-5)
    assert response[60:110, :29].min() > 0.5
    assert response[:50].max() == response[60:, 40:].max() == 0


def test_responses_of_a_larger_image_are_averaged_and_of_a_smaller_one_bilinear(tmp_path):
    for scale, mode in ((2.0, "area"), (0.5, "bilinear")):
        arrays, _, model, method = traced(tmp_path / mode, height=121, width=93, scale=scale)
        mass = method.responses(model, model.seen[0], method.starts).clamp(min=0)
        mass = mass / mass.sum((1, 2), keepdim=True)
        resized = torch.nn.functional.interpolate(mass[None], (121, 93), mode=mode)[0]
        resized = resized / resized.sum((1, 2), keepdim=True) * 121 * 93
        np.testing.assert_allclose(arrays["response"].reshape(4, 121, 93), resized, rtol=1e-4, atol=1e-6)


def test_an_image_without_classes_has_empty_arrays_of_the_right_shape(tmp_path):
    for scale in (0.5, 1.0, 2.0):
        arrays = traced(tmp_path / str(scale), labels=(), scale=scale)[0]
        assert {name: a.shape for name, a in arrays.items()} == {"peak": (0, 4), "response": (0, 600), "map": (0, 2, 3)}


def test_a_place_on_a_finer_grid_lies_between_the_centres_of_cells():
    """2 x 3 cells of 10 px, a grid of 4 x 9.

    Its corners are the centres of the corner cells, 4.5 and 14.5, 4.5 and 24.5.
    """
    fine, cells, size = torch.Size([4, 9]), torch.Size([2, 3]), (20, 30)
    assert _pixel((0, 0), fine, cells, size) == (4.5, 4.5)
    assert _pixel((3, 8), fine, cells, size) == (14.5, 24.5)
    assert _pixel((1, 2), fine, cells, size) == pytest.approx((4.5 + 10 / 3, 4.5 + 2 * 20 / 8))
    assert _pixel((0, 0), torch.Size([5, 5]), torch.Size([5, 5]), (2, 3)) == (
        0.0,
        0.0,
    )  # cells smaller than pixels: no place outside
    assert _pixel((4, 4), torch.Size([5, 5]), torch.Size([5, 5]), (2, 3)) == (1.0, 2.0)


def test_peaks_of_equal_value_stay_in_reading_order(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "MAPS", np.full((3, 2, 3), 2.0))
    peak = traced(tmp_path)[0]["peak"]
    assert peak[:, 1:3].tolist() == [[4.5, 24.5], [14.5, 4.5], [4.5, 14.5], [14.5, 24.5]]
