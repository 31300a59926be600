"""Palette PNGs as users take them away."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from PIL import Image

from tests.segment.drawn_set import store_masks
from wsss.files.errors import ArtefactError
from wsss.files.imaging import read_mask
from wsss.stages.segment.export_masks import export_masks


def test_images_hold_the_indices_in_voc_colours(drawn, tmp_path):
    masks = dict(drawn.truth)
    masks["p0"] = masks["p0"].copy()
    masks["p0"][:2] = 255
    names = list(masks)
    shards = [
        store_masks(tmp_path / f"{k}.h5", {n: masks[n] for n in part})
        for k, part in enumerate((names[:4], names[4:], []))
    ]
    export_masks(index=drawn.index, masks=shards, output=tmp_path / "masks" / "train.csv")
    rows = list(csv.DictReader((tmp_path / "masks" / "train.csv").open(newline="")))
    assert [r["image_id"] for r in rows] == names
    assert [r["classes"] for r in rows] == ["class1", "class2"] * 3
    for row in rows:
        np.testing.assert_array_equal(read_mask(tmp_path / "masks" / row["file"]), masks[row["image_id"]])
    image = Image.open(tmp_path / "masks" / rows[0]["file"])
    colours = np.asarray(image.convert("RGB"))
    assert image.mode == "P"
    assert {tuple(c) for c in colours.reshape(-1, 3).tolist()} == {(0, 0, 0), (128, 0, 0), (224, 224, 192)}


def test_the_list_comes_last(drawn, tmp_path):
    """A damaged shard leaves no list that names images that are not there."""
    (tmp_path / "bad.h5").write_bytes(b"no store")
    with pytest.raises(ArtefactError, match="damaged"):
        export_masks(index=drawn.index, masks=[drawn.masks, tmp_path / "bad.h5"], output=tmp_path / "train.csv")
    assert not (tmp_path / "train.csv").exists()
