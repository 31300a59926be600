"""Rows of measured instances and peaks, on two images whose every figure is worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from wsss.files.rle import pack
from wsss.files.store import MapWriter
from wsss.files.text_files import write_json
from wsss.settings.stage_settings import RowKeys
from wsss.stages.evaluate.measure_instances import measure_instances

ROW = RowKeys(run="r", method="prm", stage="instances", split="train")
HEIGHT, WIDTH = 4, 6
BLOCK, OTHER, ROW_OF_DOG = np.s_[0:2, 0:2], np.s_[0:2, 4:6], np.s_[3, :]
"""Two trains of 4 px each, and a dog of one row."""


def plane(*places, value=1.0):
    """(H, W) with `value` in these places."""
    out = np.zeros((HEIGHT, WIDTH))
    for place in places:
        out[place] = value
    return out


def add(truth_set, image_id, *, trains, void=None, measured=1):
    """An image with trains and a dog."""
    mask, numbers = plane(), plane()
    for number, place in enumerate(trains, 1):
        mask[place], numbers[place] = 1, number
    mask[ROW_OF_DOG], numbers[ROW_OF_DOG] = 2, 9
    if void is not None:
        mask[void] = 255
    truth_set.add(image_id, mask, labels=[1, 2], measured=measured)
    Image.fromarray(numbers.astype(np.uint8)).save(truth_set.folder / f"{image_id}.instances.png")
    truth_set.rows[-1]["instances"] = f"{image_id}.instances.png"


def response(*parts):
    """(H W,) of (share, place), each share spread evenly over its place."""
    out = plane()
    for share, place in parts:
        out[place] += share / plane(place).sum()
    return out.ravel() * out.size


@pytest.fixture
def measured(truth_set, tmp_path, figures_of):
    """The figures of image a, with two trains and void at the end of the dog's row, and image d, with one train.

    B does not count.

    Found in a: the first train; half of the second one; the dog without a pixel, and the void one. In d: both, exactly.
    """
    add(truth_set, "a", trains=[BLOCK, OTHER], void=np.s_[3, 5])
    add(truth_set, "b", trains=[BLOCK], measured=0)
    add(truth_set, "d", trains=[BLOCK])
    found = {
        "a": [(1, plane(BLOCK), 0.9), (1, plane(np.s_[0:2, 4]), 0.5), (2, plane(np.s_[3, 0:4], np.s_[3, 5]), 0.7)],
        "b": [(2, plane(BLOCK), 0.95)],
        "d": [(1, plane(BLOCK), 0.8), (2, plane(ROW_OF_DOG), 0.6)],
    }
    entries = {
        image_id: [
            {"category_id": c, "segmentation": pack(mask[None] > 0)[0], "score": score} for c, mask, score in things
        ]
        for image_id, things in found.items()
    }
    write_json(tmp_path / "i.json", entries)
    rows = {
        "a": [
            (1, 3, 3, 2, [(0.3, OTHER), (0.7, ROW_OF_DOG)]),
            (1, 0, 1, 5, [(0.6, BLOCK), (0.4, np.s_[2, :])]),
            (2, 1, 1, 9, [(1, np.s_[3, 0:5])]),
        ],
        "b": [(1, 0, 0, 5, [(1, BLOCK)]), (2, 3, 0, 5, [(1, ROW_OF_DOG)])],
        "d": [(1, 2, 0, 5, [(0.5, BLOCK), (0.5, ROW_OF_DOG)]), (2, 3, 5, 1, [(1, ROW_OF_DOG)])],
    }
    with MapWriter(tmp_path / "p.h5", stage="respond_peaks", settings={}) as writer:
        for image_id, peaks in rows.items():
            peak = np.array([p[:4] for p in peaks], np.float16)
            writer.write(image_id, [1, 2], peak=peak, response=np.array([response(*p[4]) for p in peaks], np.float16))

    def run(*, responses=True):
        given = [tmp_path / "p.h5"] if responses else []
        measure_instances(
            index=truth_set.index, instances=[tmp_path / "i.json"], responses=given, row=ROW, output=tmp_path / "m.csv"
        )
        return figures_of(tmp_path / "m.csv")

    return run


def test_average_precisions_by_hand(measured):
    """IoUs of trains: 1, 2/4 and 1; of dogs, without void: 4/5 and 1. At 0.75 one train of three is missed."""
    f = measured()
    assert f("images") == 2
    for threshold, train in ((0.25, 1.0), (0.5, 1.0), (0.75, 2 / 3)):
        assert f("ap_r", "train", threshold=threshold) == pytest.approx(train)
        assert f("ap_r", "dog", threshold=threshold) == 1
        assert f("map_r", threshold=threshold) == pytest.approx((train + 1) / 2)
    assert sorted(set(f.table["threshold"].dropna())) == [0.25, 0.5, 0.75]
    assert f("ap_r", "cat", threshold=0.5) is None  # does not occur


def test_best_overlaps_by_hand(measured):
    f = measured()
    assert f("abo") == pytest.approx(((1 + 0.5 + 1) / 3 + (0.8 + 1) / 2) / 2)
    assert f("abo_instances") == pytest.approx((1 + 0.5 + 0.8 + 1 + 1) / 5)


def test_peaks_by_hand(measured):
    """The highest peak of trains hits in a and lies a row below the box in d.

    Of dogs it lies on a train in a and hits in d.

    Of the five responses three have more than half of themselves inside one object of their class; one has exactly
    half.
    """
    f = measured()
    assert f("pointing") == pytest.approx((1 / 2 + 1 / 2) / 2)
    assert f("response_quality") == pytest.approx(3 / 5)
    assert f("peaks_an_image") == 5 / 2


def test_without_peaks_there_are_no_figures_of_them(measured):
    f = measured(responses=False)
    assert not {"pointing", "response_quality", "peaks_an_image"} & set(f.table["metric"])
    assert f("abo_instances") == pytest.approx(0.86)
