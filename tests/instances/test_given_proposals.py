"""Precomputed proposals: run lengths, polygons, MATLAB files of both forms, and what is wrong with them."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import scipy.io

from tests.tiny_set import write_tiny_set
from wsss.files.errors import ArtefactError
from wsss.files.index import ImageIndex
from wsss.files.rle import pack
from wsss.settings.config import ConfigError, load
from wsss.settings.sections import ProposalFolderSection
from wsss.stages.instances import given_proposals

SIZE = (6, 8)


@pytest.fixture
def row(tmp_path):
    index, _ = write_tiny_set(tmp_path / "set", {"a": (np.zeros((*SIZE, 3), np.uint8), [1])})
    return ImageIndex(index).rows["a"]


def read_proposals(folder, row, *, count, min_area=0.0, max_area=2.0):
    """All sizes, unless a test is about them."""
    return given_proposals.read_proposals(folder, row, count=count, min_area=min_area, max_area=max_area)


def some_masks():
    masks = np.zeros((3, *SIZE), bool)
    masks[0, 1:3, 2:7], masks[1, :, 0], masks[2, 4, 4] = True, True, True
    return masks


def test_run_lengths(tmp_path, row):
    masks = some_masks()
    (tmp_path / "a.json").write_text(json.dumps(pack(masks)))
    np.testing.assert_array_equal(read_proposals(tmp_path, row, count=99), masks)
    np.testing.assert_array_equal(read_proposals(tmp_path, row, count=2), masks[:2])
    (tmp_path / "a.json").write_text(json.dumps([{"segmentation": p, "score": 0.5} for p in pack(masks)]))
    np.testing.assert_array_equal(read_proposals(tmp_path, row, count=99), masks)
    (tmp_path / "a.json").write_text("[]")
    assert read_proposals(tmp_path, row, count=99).shape == (0, *SIZE)


def test_polygons(tmp_path, row):
    (tmp_path / "a.json").write_text(json.dumps([[[2, 1, 7, 1, 7, 3, 2, 3]]]))
    np.testing.assert_array_equal(read_proposals(tmp_path, row, count=99), some_masks()[:1])


def test_superpixels_of_mcg(tmp_path, row):
    superpixels = np.arange(48).reshape(SIZE) // 8 + 1  # one a row
    labels = np.empty((2, 1), object)
    labels[0, 0], labels[1, 0] = np.array([[1, 3]], np.uint16), np.array([[6]], np.uint16)
    scipy.io.savemat(
        tmp_path / "a.mat",
        {"superpixels": superpixels.astype(np.uint16), "labels": labels, "scores": np.array([[2.0], [1.0]])},
    )
    found = read_proposals(tmp_path, row, count=99)
    assert [sorted({int(y) for y in m.nonzero()[0]}) for m in found] == [[0, 2], [5]]


def test_masks_of_cob(tmp_path, row):
    masks = some_masks()
    cell = np.empty((3, 1), object)
    for k, mask in enumerate(masks):
        cell[k, 0] = mask.astype(np.uint8)
    scipy.io.savemat(tmp_path / "a.mat", {"maskmat": cell})
    np.testing.assert_array_equal(read_proposals(tmp_path, row, count=99), masks)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("b.json", "[]", r"no a\.json and no a\.mat"),
        ("a.json", "{}", "found dict, expected a list"),
        ("a.json", "[", r"not valid JSON .*; put the whole file there$"),
        (
            "a.json",
            json.dumps([{"size": [8, 6], "counts": [48]}]),
            r"mask 0: run lengths of \[8, 6\], the image has \(height, width\) \[6, 8\]",
        ),
        ("a.json", json.dumps([3]), "mask 0: segmentation is 3"),
        ("a.mat", "no matlab", "no MATLAB file"),
    ],
)
def test_what_is_wrong_is_said(tmp_path, row, name, content, said):
    (tmp_path / name).write_text(content)
    with pytest.raises(ArtefactError, match=said):
        read_proposals(tmp_path, row, count=9)


def test_all_images_without_a_file_are_named_at_once(tmp_path, row):
    (tmp_path / "a.json").write_text("[]")
    given_proposals.check_folder(tmp_path, [row])
    rows = [row, *(replace(row, image_id=f"b{k}") for k in range(22))]
    with pytest.raises(
        ArtefactError,
        match=r"22 of 23 images have no file, IMAGE_ID\.json or IMAGE_ID\.mat: b0, b1, .*b19 and 2 more; instances",
    ):
        given_proposals.check_folder(tmp_path, rows)


def test_a_matlab_file_of_something_else_or_another_size(tmp_path, row):
    scipy.io.savemat(tmp_path / "a.mat", {"ucm2": np.zeros((3, 3))})
    with pytest.raises(ArtefactError, match="found ucm2, expected superpixels and labels"):
        read_proposals(tmp_path, row, count=9)
    cell = np.empty((1, 1), object)
    cell[0, 0] = np.zeros((8, 6))
    scipy.io.savemat(tmp_path / "a.mat", {"maskmat": cell})
    with pytest.raises(ArtefactError, match=r"mask 0 has \(height, width\) \(8, 6\), the image \(6, 8\)"):
        read_proposals(tmp_path, row, count=9)


def write_forms(folder, masks, form):
    """The masks as a.json, or as a.mat of MCG's or COB's form."""
    if form == "json":
        (folder / "a.json").write_text(json.dumps(pack(masks)))
        return
    cell = np.empty((len(masks), 1), object)
    superpixels = np.arange(masks[0].size).reshape(SIZE)  # a pixel each
    for k, mask in enumerate(masks):
        cell[k, 0] = mask.astype(np.uint8) if form == "cob" else superpixels[mask]
    scipy.io.savemat(
        folder / "a.mat", {"maskmat": cell} if form == "cob" else {"superpixels": superpixels, "labels": cell}
    )


@pytest.mark.parametrize("form", ["json", "mcg", "cob"])
def test_sizes_are_limited_before_the_first_are_taken(tmp_path, row, form):
    whole, large, single = np.ones(SIZE, bool), np.ones(SIZE, bool), np.zeros(SIZE, bool)
    large[0], single[2, 3] = False, True  # 40 of 48 px, and 1
    masks = np.stack([whole, large, single, *some_masks()])
    write_forms(tmp_path, masks, form)
    np.testing.assert_array_equal(read_proposals(tmp_path, row, count=99), masks)
    np.testing.assert_array_equal(read_proposals(tmp_path, row, count=99, max_area=1.0), masks[1:])  # from the limit on
    np.testing.assert_array_equal(read_proposals(tmp_path, row, count=99, max_area=40 / 48), masks[2:])
    np.testing.assert_array_equal(
        read_proposals(tmp_path, row, count=99, min_area=1 / 48), masks
    )  # the limit itself stays
    np.testing.assert_array_equal(read_proposals(tmp_path, row, count=2, min_area=1.5 / 48, max_area=0.8), masks[3:5])


def test_only_so_many_proposals_are_looked_at(tmp_path, row, monkeypatch):
    monkeypatch.setattr(given_proposals, "MOST_PROPOSALS", 2)
    for form in ("cob", "mcg", "json"):  # a.json goes first
        write_forms(tmp_path, np.stack([np.ones(SIZE, bool)] * 2 + [some_masks()[0]]), form)
        assert len(read_proposals(tmp_path, row, count=9, max_area=0.85)) == 0


def test_superpixels_of_another_size(tmp_path, row):
    labels = np.empty((1, 1), object)
    labels[0, 0] = np.array([[1]])
    scipy.io.savemat(tmp_path / "a.mat", {"superpixels": np.ones((3, 3)), "labels": labels})
    with pytest.raises(ArtefactError, match=r"superpixels have \(height, width\) \(3, 3\), the image \(6, 8\)"):
        read_proposals(tmp_path, row, count=9)


def test_the_limits_are_the_published_codes():
    assert (ProposalFolderSection().min_area, ProposalFolderSection().max_area) == (0.00002, 0.85)
    with pytest.raises(ConfigError, match=r"min_area 0\.9 is not below max_area 0\.85"):
        load({"instances": {"proposals": {"folder": {"min_area": 0.9}}}})
