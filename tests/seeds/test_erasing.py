"""Erasing: CAM's network, fresh each round; what makes it erasing is in the registry."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.tiny_set import write_tiny_set
from wsss.files.errors import ArtefactError
from wsss.files.index import ImageIndex
from wsss.files.store import MapWriter
from wsss.methods import FACTS, load_method
from wsss.settings.sections import BackboneSection
from wsss.settings.stage_settings import ClassifierSettings
from wsss.stages.seeds.earlier import Erased
from wsss.stages.seeds.train_classifier import initial_network

BACKBONE = BackboneSection(name="test_efficientnet", weights="none")


def weights(kind, **changed):
    settings = ClassifierSettings(kind=kind, backbone=BACKBONE, **changed)
    return initial_network(load_method(kind), num_classes=3, settings=settings, previous=None).state_dict()


def same(a, b):
    return all(torch.equal(v, b[k]) for k, v in a.items())


def test_round_1_is_cams_round_1():
    assert FACTS["erasing"].starts_as == "cam"
    assert same(weights("erasing"), weights("cam"))


def test_later_rounds_start_afresh_and_differently():
    torch.rand(3)  # global draws do not matter
    assert same(weights("erasing", round=2), weights("erasing", round=2))
    assert not same(weights("erasing", round=2), weights("erasing", round=1))
    assert not same(weights("erasing", seed=1), weights("erasing"))
    assert not FACTS["erasing"].inherits


@pytest.fixture
def rows(tmp_path):
    images = {name: (np.zeros((2, 4, 3), np.uint8), [1, 2]) for name in ("a", "b")}
    return list(ImageIndex(write_tiny_set(tmp_path, images)[0]).rows.values())


def write(path, **regions):
    with MapWriter(path, stage="claim_regions", settings={}) as writer:
        for image_id, region in regions.items():
            writer.write(image_id, [1, 2], regions=np.array(region, bool))
    return path


def test_erased_is_the_union_over_rounds_and_classes(rows, tmp_path):
    first = write(tmp_path / "1-0.h5", a=[[[1, 0, 0, 0], [0, 0, 0, 0]], [[0, 0, 0, 0], [0, 1, 0, 0]]])
    shard = write(tmp_path / "1-1.h5", b=np.zeros((2, 2, 4)))
    second = write(tmp_path / "2-0.h5", a=[[[1, 0, 0, 0], [0, 0, 0, 1]], np.zeros((2, 4))])
    erased = Erased([first, shard, second])
    np.testing.assert_array_equal(erased(rows[0]), [[True, False, False, False], [False, True, False, True]])
    assert not erased(rows[1]).any()
    np.testing.assert_array_equal(Erased([first])(rows[0]), [[True, False, False, False], [False, True, False, False]])


def test_without_rounds_nothing_is_erased(rows):
    assert Erased([])(rows[0]) is None


def test_an_image_without_regions_or_of_another_size_is_refused(rows, tmp_path):
    erased = Erased([write(tmp_path / "a.h5", a=np.zeros((2, 3, 3)))])
    with pytest.raises(ArtefactError, match=r"image a: regions of \(3, 3\), expected \(2, 4\)"):
        erased(rows[0])
    with pytest.raises(ArtefactError, match=r"image b is in none of .*a\.h5"):
        erased(rows[1])
