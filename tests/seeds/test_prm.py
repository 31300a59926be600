"""PRM as a seed method: stimulation, traced peaks, summed responses, and the stages with it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from tests.tiny_set import write_tiny_set
from wsss.files.store import MapReader
from wsss.files.text_files import read_json
from wsss.nets.checkpoints import load_network
from wsss.nets.topdown import response_maps
from wsss.settings.config import load
from wsss.settings.sections import AugmentSection, BackboneSection, ClassifierSection, ComputeSection, ScoresSection
from wsss.settings.stage_settings import ClassifierSettings, ScoresSettings
from wsss.stages.seeds import cam
from wsss.stages.seeds.extract_scores import extract_scores
from wsss.stages.seeds.prm import Method
from wsss.stages.seeds.train_classifier import train_classifier
from wsss.workflow.graph import Graph

BACKBONE = BackboneSection(name="test_resnet", weights="none", freeze_batchnorm=False, frozen_stride=1)
MAPS = torch.tensor(
    [[[[5.0, 0, 3, 0, 1], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]], [[-2.0, -9, -9, -9, -4], [-9] * 5, [-9] * 5]]]
)


def build(**options):
    torch.manual_seed(0)
    method = Method(options=options)
    return method, method.build(3, round=1, backbone=BACKBONE, previous=None).eval()


def test_pooling():
    plain = {"subpixel": 1}
    assert Method(options={**plain, "filter": "none"}).pool(MAPS).tolist() == [[3.0, -3.0]]
    assert Method(options={**plain, "filter": "max"}).pool(MAPS).tolist() == [[5.0, -2.0]]
    assert Method(options={**plain, "filter": "fixed", "filter_value": 2.0}).pool(MAPS).tolist() == [[4.0, -2.0]]
    assert Method(options={**plain, "filter": "median"}).pool(MAPS).tolist() == [[3.0, -3.0]]
    assert torch.equal(Method(options={"stimulation": False}).pool(MAPS), cam.Method().pool(MAPS))


def test_peaks_of_the_finer_grid_are_those_of_the_cells_where_these_stand_apart():
    """The maximum of a bilinear surface is at a cell; so are its other peaks, if no way up leads on."""
    assert torch.allclose(Method(options={"filter": "max"}).pool(MAPS), MAPS.amax((2, 3)))
    assert Method().pool(MAPS)[0, 0].item() < 5


def test_the_gradient_is_the_papers_unless_the_codes_is_asked_for():
    for gradient, each in (("mean", 1 / 3), ("sum", 1.0)):
        maps = MAPS.clone().requires_grad_()
        Method(options={"subpixel": 1, "filter": "none", "gradient": gradient}).pool(maps)[0, 0].backward()
        assert maps.grad[0, 0, 0].tolist() == pytest.approx([each, 0, each, 0, each])
        assert maps.grad.sum().item() == pytest.approx(3 * each)


def test_loss_goes_through_the_pooling():
    labels = torch.tensor([[1.0, 0.0]])
    settings = ClassifierSection()
    found = Method(options={"subpixel": 1, "filter": "max"}).losses(
        MAPS, {"labels": labels}, settings=settings, round=1
    )["classification"]
    expected = torch.nn.functional.multilabel_soft_margin_loss(torch.tensor([[5.0, -2.0]]), labels)
    assert found.item() == pytest.approx(expected.item())


@pytest.mark.parametrize(("threshold", "columns"), [(0.1, [0, 2, 4]), (0.5, [0, 2]), (0.7, [0])])
def test_traced_peaks_reach_a_share_of_the_maximum(threshold, columns):
    traced = Method(options={"peak_threshold": threshold, "filter": "none"}).traced_peaks(MAPS)[1]
    assert traced[0, 0].nonzero().tolist() == [[0, c] for c in columns]
    assert traced[0, 1].nonzero().tolist() == [[0, 0]]  # nowhere positive: its highest alone


def summed_by_hand(method, model, image_n, channel, *, size):
    """Sum of the response maps of a class's peaks, one pass each, as density on the grid; and the number of peaks."""
    maps = model(image_n[None])
    planes = method.traced_peaks(maps)[1][0]
    places = planes[channel].nonzero().tolist()
    total = torch.zeros(image_n.shape[1:])
    for y, x in places:
        start = torch.zeros(1, *planes.shape)
        start[0, channel, y, x] = 1
        total += response_maps(method.responses(model, image_n, start))[0]
    return torch.nn.functional.adaptive_avg_pool2d(total[None], size)[0] * total.numel(), len(places)


@pytest.mark.parametrize("factor", [1, 3])
@pytest.mark.parametrize(
    "over",
    [
        {"scores": "each"},
        {"dead_ends": "spread"},
        {"scores": "each", "batchnorm": "gradient", "residual": "copy"},
        {"scores": "each", "inputs": "signed"},
    ],
)
def test_scores_sum_the_response_maps_of_each_class(factor, over):
    """One pass a peak; or one a class where no mass is lost."""
    method, model = build(response_subpixel=factor, peak_threshold=0.0, filter="none", **over)
    image_n = torch.randn(2, 3, 96, 128)
    with torch.inference_mode():
        scores = method.scores(model, image_n, [1, 3])
        size = model(image_n).shape[2:]
    assert scores.shape == (2, 2, *size)
    for n in range(2):
        for k, channel in enumerate((0, 2)):
            expected, _ = summed_by_hand(method, model, image_n[n], channel, size=size)
            assert torch.allclose(scores[n, k], expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("over", [{}, {"batchnorm": "gradient", "residual": "copy"}])
def test_scores_of_all_peaks_together_have_the_same_sum(over):
    method, model = build(peak_threshold=0.0, filter="none", **over)
    image_n = torch.randn(1, 3, 96, 128)
    scores = method.scores(model, image_n, [1, 3])
    assert (scores >= 0).all()
    for k, channel in enumerate((0, 2)):
        one_by_one, count = summed_by_hand(method, model, image_n[0], channel, size=scores.shape[2:])
        assert scores[0, k].mean().item() == pytest.approx(count, rel=1e-3)
        assert one_by_one.mean().item() == pytest.approx(count, rel=1e-3)


def test_scores_can_be_the_class_maps_without_the_bias():
    method, model = build(scores="maps")
    image_n = torch.randn(2, 3, 96, 128)
    with torch.no_grad():
        model.head.bias.copy_(torch.tensor([5.0, -3.0, 1.0]))
        found, maps = method.scores(model, image_n, [1, 3]), model(image_n)
    assert torch.allclose(found, maps[:, [0, 2]] - torch.tensor([5.0, 1.0])[:, None, None], atol=1e-5)
    assert (found < 0).any()


def test_the_head_has_a_bias_that_trains():
    method, model = build()
    assert model.head.bias.tolist() == [0, 0, 0]
    assert any(p is model.head.bias for p in method.trainable(model, round=1)[1])


def test_a_backbone_with_gates_is_refused_before_it_is_trained():
    with pytest.raises(
        ValueError, match=r"backbone\.net\.bn1\.act \(SiLU\) uses silu, through which peak back-propagation cannot go"
    ):
        Method().build(3, round=1, backbone=BackboneSection(name="test_efficientnet", weights="none"), previous=None)


def test_settings_are_checked():
    with pytest.raises(ValidationError, match="window 4 has no centre"):
        Method(options={"window": 4})
    with pytest.raises(ValidationError):
        Method(options={"peak_treshold": 0.4})


def test_the_stages_train_it_and_store_its_scores(tmp_path):
    draw = np.random.default_rng(0)
    images = {
        f"i{k}": (draw.integers(0, 256, (64, 80, 3)).astype(np.uint8), [1] if k % 2 else [1, 3]) for k in range(5)
    }
    index, shard = write_tiny_set(tmp_path, images)
    compute = ComputeSection(device="cpu", threads=1, workers=0)
    common = {"kind": "prm", "backbone": BACKBONE, "options": {"subpixel": 2}}
    classifier = ClassifierSection(
        epochs=1, min_steps=1, batch_size=4, augment=AugmentSection(crop=64, resize_min=56, resize_max=80)
    )
    train_classifier(
        index=index, regions=[], saliency=[], compute=compute,
        settings=ClassifierSettings(**common, classifier=classifier),
        output=tmp_path / "classifier.pt", record=tmp_path / "training.json",
    )  # fmt: skip
    assert set(read_json(tmp_path / "training.json")["loss_curve"][0]) == {"epoch", "loss", "classification", "seconds"}
    assert load_network(tmp_path / "classifier.pt")[0]["head.bias"].abs().sum() > 0
    outputs = []
    for name in ("a", "b"):
        outputs.append(tmp_path / f"{name}.h5")
        extract_scores(
            index=index, shard=shard, classifier=tmp_path / "classifier.pt", regions=[],
            settings=ScoresSettings(**common, scores=ScoresSection(scales=[1.0, 2.0])), compute=compute,
            output=outputs[-1],
        )  # fmt: skip
    for k in range(5):
        first, second = (MapReader(path).read(f"i{k}") for path in outputs)
        assert first.class_ids.tolist() == ([1] if k % 2 else [1, 3])
        assert first["scores"].shape[1:] == (4, 5)
        assert (first["scores"] >= 0).all()
        assert first["scores"].astype(np.float32).mean() >= 0.9  # one response or more a class, each of mean 1
        np.testing.assert_array_equal(first["scores"], second["scores"])


def test_what_traces_peaks_back_does_not_retrain():
    def stages(**own):
        g = Graph(load({"methods": ["prm"], "seeds": {"prm": own}, "segment": {"methods": []}}))
        return [g.stage(name, method="prm") for name in ("train_classifier", "extract_scores")]

    plain = stages()
    for own in (
        {"peak_threshold": 0.7},
        {"response_subpixel": 8},
        {"batchnorm": "gradient"},
        {"residual": "copy"},
        {"dead_ends": "spread"},
        {"inputs": "signed"},
    ):
        training, scoring = stages(**own)
        assert training == plain[0]
        assert scoring != plain[1]
    assert stages(subpixel=4)[0] != plain[0]
