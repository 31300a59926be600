"""Trained classifiers as stages get them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.conftest import ROOT
from tests.tiny_set import write_tiny_set
from wsss.files.errors import ArtefactError
from wsss.files.index import ImageIndex
from wsss.methods import load_method
from wsss.nets.checkpoints import save_network
from wsss.settings.sections import BackboneSection, ComputeSection
from wsss.settings.stage_settings import ResponseSettings, ScoresSettings
from wsss.training.classifiers import restore_classifier

BACKBONE = BackboneSection(name="test_resnet", weights="/no/such/file", freeze_batchnorm=False, frozen_stride=1)
COMPUTE = ComputeSection(device="cpu", threads=1)


@pytest.fixture
def data(tmp_path):
    index, _ = write_tiny_set(tmp_path / "set", {"a": (np.zeros((32, 32, 3), np.uint8), [1])})
    return ImageIndex(index)


@pytest.mark.parametrize(
    ("settings", "round"),
    [
        (ScoresSettings(kind="erasing", round=2, backbone=BACKBONE), 2),
        (ResponseSettings(kind="prm", backbone=BACKBONE, options={"window": 5}), 1),
    ],
)
def test_it_is_the_network_that_was_saved(tmp_path, data, settings, round):
    bare = BACKBONE.model_copy(update={"weights": "none"})
    saved = load_method(settings.kind).build(data.num_classes, round=round, backbone=bare, previous=None)
    save_network(tmp_path / "c.safetensors", state=saved.state_dict(), meta={"classes": data.class_names})
    method, model, device = restore_classifier(
        tmp_path / "c.safetensors", class_names=data.class_names, settings=settings, round=round, compute=COMPUTE
    )
    assert device == torch.device("cpu")
    assert type(method) is type(load_method(settings.kind))
    state = model.state_dict()  # nothing was read from backbone.weights
    assert all(torch.equal(v, state[k]) for k, v in saved.state_dict().items())
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in model.parameters() if p.ndim == 4)
    save_network(tmp_path / "c.safetensors", state=saved.state_dict(), meta={"classes": data.class_names[::-1]})
    with pytest.raises(ArtefactError, match="in this order; train it again"):
        restore_classifier(
            tmp_path / "c.safetensors", class_names=data.class_names, settings=settings, round=round, compute=COMPUTE
        )


def test_stages_that_look_through_a_classifier_restore_it_here():
    for stage in ("seeds/extract_scores", "instances/respond_peaks"):
        text = (ROOT / "wsss" / "stages" / f"{stage}.py").read_text()
        assert "restore_classifier(" in text
        assert "load_method" not in text
        assert ".build(" not in text
