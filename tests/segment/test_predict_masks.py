"""What predict_masks stores, and its guards."""

from __future__ import annotations

import csv
import shutil

import numpy as np
import pytest
import torch

from tests.segment.drawn_set import COMPUTE
from wsss.files.errors import ArtefactError
from wsss.files.store import MapReader
from wsss.files.text_files import write_csv
from wsss.nets.checkpoints import load_network, save_network
from wsss.settings.sections import PslSection
from wsss.settings.stage_settings import PredictSettings
from wsss.stages.segment.predict_masks import predict_masks

SETTINGS = PredictSettings(psl=PslSection(enabled=True))


def predict(drawn, segmenter, output, *, settings=SETTINGS, index=None, shard=None):
    predict_masks(
        index=index or drawn.index,
        shard=shard or drawn.shard,
        segmenter=segmenter,
        settings=settings,
        compute=COMPUTE,
        output=output,
    )
    return MapReader(output)


def test_validation_images_keep_those_of_their_mask(drawn, segmenter, tmp_path):
    shutil.copytree(drawn.index.parent, tmp_path / "dataset")
    index = tmp_path / "dataset" / "index.csv"
    rows = [row | {"split": "val", "labels": ""} for row in csv.DictReader(index.open(newline=""))]
    write_csv(index, tuple(rows[0]), rows)
    state, meta = load_network(segmenter)
    state["segment.bias"] = state["segment.bias"] + torch.tensor([0.0, 0.0, 100.0])  # everything is class 2
    save_network(tmp_path / "biased.safetensors", state=state, meta=meta)
    with predict(
        drawn, tmp_path / "biased.safetensors", tmp_path / "out.h5", settings=PredictSettings(), index=index
    ) as reader:
        for image_id in reader.image_ids:
            record = reader.read(image_id)
            assert record["mask"].shape == drawn.truth[image_id].shape
            assert np.unique(record["mask"]).tolist() == [2]
            assert record.class_ids.tolist() == [0, 2]
            assert record["probs"][1].min() > 0.99


def test_an_empty_shard_gives_an_empty_file(drawn, segmenter, tmp_path):
    write_csv(tmp_path / "empty.csv", ("image_id",), [])
    with predict(drawn, segmenter, tmp_path / "out.h5", shard=tmp_path / "empty.csv") as reader:
        assert len(reader) == 0


def test_a_segmenter_of_other_classes_is_refused(drawn, segmenter, tmp_path):
    state, meta = load_network(segmenter)
    save_network(tmp_path / "other.safetensors", state=state, meta=meta | {"classes": ["background", "cat", "dog"]})
    with pytest.raises(ArtefactError, match="trained for classes"):
        predict(drawn, tmp_path / "other.safetensors", tmp_path / "out.h5")
    assert not (tmp_path / "out.h5").exists()
