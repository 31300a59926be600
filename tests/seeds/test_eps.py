"""EPS: saliency as pseudo-pixel supervision."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from tests.tiny_set import write_tiny_set
from wsss.files.imaging import Normalisation
from wsss.files.index import ImageIndex
from wsss.files.store import MapReader, MapWriter
from wsss.files.text_files import read_json
from wsss.settings.sections import AugmentSection, BackboneSection, ClassifierSection, ComputeSection, ScoresSection
from wsss.settings.stage_settings import ClaimSettings, ClassifierSettings, FuseSettings, ScoresSettings
from wsss.stages.seeds import cam
from wsss.stages.seeds.claim_regions import claim_regions
from wsss.stages.seeds.eps import Method, estimated_saliency, overlap, resize_saliency
from wsss.stages.seeds.extract_scores import extract_scores
from wsss.stages.seeds.fuse_regions import fuse_regions
from wsss.stages.seeds.train_classifier import train_classifier
from wsss.training.loading import TrainingImages

NAMES = ["background", "dog", "train", "person"]
SETTINGS = ClassifierSection()


def logits(*planes, scale=20.0):
    """(1, C + 1, h, w) maps whose softmax is close to the given 0/1 planes, background last; requires grad."""
    return (scale * torch.tensor(np.stack(planes), dtype=torch.float32))[None].requires_grad_()


def halves():
    """Left and right half of a 4 x 4 grid, and nothing."""
    left = np.zeros((4, 4), np.float32)
    left[:, :2] = 1
    return left, 1 - left, np.zeros((4, 4), np.float32)


def batch(saliency, labels):
    return {"saliency": torch.tensor(saliency)[None], "labels": torch.tensor([labels], dtype=torch.float32)}


def test_overlap_is_the_salient_share_of_a_classs_region():
    left, right, none = halves()
    salient = torch.tensor(left)[None]
    wide = np.ones((4, 4), np.float32)
    found = overlap(torch.tensor(np.stack([left, right, wide, none, 0.5 * wide]))[None], salient)[0]
    area, little = 8, 16e-4  # the published code adds 1e-4 a pixel
    assert torch.allclose(found, torch.tensor([area / (area + little), 0, area / (2 * area + little), 0, 0]))


def test_overlap_carries_no_gradient():
    left, *_ = halves()
    planes = torch.tensor(left)[None, None].requires_grad_()
    assert not overlap(planes, torch.tensor(left)[None]).requires_grad


def test_the_estimate_mixes_foreground_and_inverted_background():
    p = torch.tensor([0.5, 0.2, 0.1, 0.2])[None, :, None, None]  # dog, train, person, background
    labels, foreground = torch.tensor([[True, True, False]]), torch.tensor([[True, False, False]])
    for mix, expected in ((1.0, 0.5), (0.0, 1 - (0.2 + 0.2)), (0.25, 0.25 * 0.5 + 0.75 * 0.6)):
        assert estimated_saliency(p, labels=labels, foreground=foreground, mix=mix).item() == pytest.approx(expected)


def test_without_a_salient_class_the_foreground_is_empty():
    p = torch.rand(2, 4, 3, 3).softmax(1)
    none = torch.zeros(2, 3, dtype=torch.bool)
    assert (estimated_saliency(p, labels=~none, foreground=none, mix=1.0) == 0).all()


@pytest.mark.parametrize(
    ("selection", "expected"),
    [("adaptive", [[True, False, False]]), ("naive", [[True, True, False]]), ("predefined", [[False, True, False]])],
)
def test_strategies(selection, expected):
    left, right, none = halves()
    method = Method(options={"selection": selection, "background_classes": ["dog"]}, class_names=NAMES)
    maps = torch.tensor(np.stack([left, right, none, none]))[None]
    assert method._foreground(maps, torch.tensor(left)[None], torch.tensor([[True, True, False]])).tolist() == expected


def test_before_the_warm_up_is_over_every_present_class_is_salient():
    """A map beside what is salient costs as much as with naive selection first, then as with adaptive selection."""
    left, right, none = halves()
    labels = [1.0, 1.0, 0.0]
    maps = logits(left, right, none, none).detach()

    def loss(**options):
        progress = options.pop("progress", {})
        return Method(options=options).losses(maps, {**batch(left, labels), **progress}, settings=SETTINGS, round=1)[
            "saliency"
        ]

    naive, adaptive = loss(selection="naive"), loss()
    assert naive > adaptive + 0.1
    assert torch.equal(loss(warmup=0.5, progress={"progress": 0.49}), naive)
    assert torch.equal(loss(warmup=0.5, progress={"progress": 0.5}), adaptive)
    assert torch.equal(loss(progress={"progress": 0.0}), adaptive)


def test_the_threshold_of_the_overlap():
    left, _, none = halves()
    wide = torch.tensor(np.stack([np.ones((4, 4), np.float32), none, none, none]))[None]
    for limit, salient in ((0.4, True), (0.5, False)):
        method = Method(options={"overlap": limit}, class_names=NAMES)
        assert (
            method._foreground(wide, torch.tensor(left)[None], torch.tensor([[True, False, False]]))[0, 0].item()
            is salient
        )


def test_maps_that_agree_with_saliency_cost_nothing():
    left, right, none = halves()
    losses = Method(class_names=NAMES).losses(
        logits(left, none, none, right), batch(left, [1, 0, 0]), settings=SETTINGS, round=1
    )
    assert losses["saliency"].item() < 1e-6
    flipped = Method(class_names=NAMES).losses(
        logits(left, none, none, right), batch(right, [1, 0, 0]), settings=SETTINGS, round=1
    )
    assert flipped["saliency"].item() == pytest.approx(0.5)  # nothing is estimated salient, half of the pixels are


def test_the_loss_is_the_mean_squared_distance_of_a_pixel():
    maps, saliency = (
        torch.zeros(1, 4, 2, 2),
        np.array([[1, 0], [0, 0]], np.float32),
    )  # every map 1/4; the dog's region is empty, so it is background
    losses = Method(class_names=NAMES).losses(maps, batch(saliency, [1, 0, 0]), settings=SETTINGS, round=1)
    estimate = 0.5 * 0 + 0.5 * (1 - (0.25 + 0.25))
    assert losses["saliency"].item() == pytest.approx(((1 - estimate) ** 2 + 3 * estimate**2) / 4)
    heavier = Method(options={"saliency_weight": 3.0}, class_names=NAMES).losses(
        maps, batch(saliency, [1, 0, 0]), settings=SETTINGS, round=1
    )
    assert heavier["saliency"].item() == pytest.approx(3 * losses["saliency"].item())
    assert heavier["classification"].item() == losses["classification"].item()


def test_gamma_lifts_saliency_before_it_is_learnt_from():
    draw = np.random.default_rng(0)
    maps, saliency, labels = (
        torch.tensor(draw.normal(size=(1, 4, 4, 4)), dtype=torch.float32),
        draw.random((4, 4)).astype(np.float32),
        [1, 0, 1],
    )
    loss = [
        Method(options={"saliency_gamma": g}).losses(maps, batch(s, labels), settings=SETTINGS, round=1)["saliency"]
        for g, s in ((0.5, saliency**2), (1, saliency))
    ]
    assert torch.allclose(*loss)
    lifted = Method(options={"saliency_gamma": 0.5}).losses(maps, batch(saliency, labels), settings=SETTINGS, round=1)[
        "saliency"
    ]
    assert not torch.allclose(lifted, loss[1])


def test_which_map_learns_from_which_loss():
    """The dog is on what is salient, the train beside it, the person is absent.

    Where the estimate is too low, the dog has to rise. Where it is too high, the dog has to sink.
    """
    left, right, none = halves()
    maps = logits(left, right, none, none, scale=3.0)
    labels, dog, train, person, background = [1, 1, 0], 0, 1, 2, 3
    losses = Method(class_names=NAMES).losses(maps, batch(left, labels), settings=SETTINGS, round=1)
    (of_labels,) = torch.autograd.grad(losses["classification"], maps, retain_graph=True)
    assert (of_labels[0, [dog, train]] < 0).all()  # descent raises them
    assert (of_labels[0, person] > 0).all()
    assert (of_labels[0, background] == 0).all()  # it has no label
    (of_saliency,) = torch.autograd.grad(losses["saliency"], maps)
    salient, beside = torch.tensor(left) > 0, torch.tensor(right) > 0
    assert (of_saliency[0, dog][salient] < 0).all()
    assert (of_saliency[0, dog][beside] > 0).all()
    for of_background in (train, background):  # a present class that is not salient learns as the background does
        assert (of_saliency[0, of_background][salient] > 0).all()
        assert (of_saliency[0, of_background][beside] < 0).all()
    assert (of_saliency[0, person] != 0).all()  # through the softmax alone
    assert torch.allclose(of_saliency.sum(1), torch.zeros(1, 4, 4), atol=1e-7)  # a softmax moves no sum
    naive = Method(options={"selection": "naive"}, class_names=NAMES).losses(
        maps, batch(left, labels), settings=SETTINGS, round=1
    )
    (of_naive,) = torch.autograd.grad(naive["saliency"], maps)
    assert (of_naive[0, train][beside] > 0).all()  # taken for salient, it has to leave what is not


def test_classification_is_cams():
    maps = torch.randn(2, 4, 4, 4)
    labels = torch.tensor([[1.0, 0, 1], [0, 1, 0]])
    found = Method(class_names=NAMES).losses(
        maps, {"labels": labels, "saliency": torch.rand(2, 8, 8)}, settings=SETTINGS, round=1
    )["classification"]
    assert torch.equal(
        found, cam.Method().losses(maps[:, :3], {"labels": labels}, settings=SETTINGS, round=1)["classification"]
    )


def test_saliency_on_the_grid_of_the_maps():
    saliency = torch.zeros(1, 4, 4)
    saliency[0, 0, 0] = 1
    assert resize_saliency(saliency, size=(2, 2), mode="area")[0, 0, 0].item() == 0.25
    assert resize_saliency(saliency, size=(2, 2), mode="nearest")[0, 0, 0].item() == 1


def test_the_network_has_a_background_map_and_its_scores_are_probabilities():
    backbone = BackboneSection(weights="none")
    method = Method(class_names=NAMES)
    model = method.build(3, round=1, backbone=backbone, previous=None).eval()
    image_n = torch.randn(2, 3, 64, 48)
    with torch.no_grad():
        raw = model(image_n)
        every = method.scores(model, image_n, [0, 1, 2, 3])
        some = method.scores(model, image_n, [0, 3])
    assert raw.shape == (2, 4, 4, 3)
    assert torch.allclose(every.sum(1), torch.ones(2, 4, 3))
    assert torch.equal(every, raw.softmax(1)[:, [3, 0, 1, 2]])
    assert torch.equal(some, every[:, [0, 3]])
    assert method.pool(raw).shape == (2, 3)


def test_an_unknown_class_or_setting_is_refused():
    with pytest.raises(ValueError, match="rails not in the data set; expected some of dog, train, person"):
        Method(options={"background_classes": ["rails"]}, class_names=NAMES)
    with pytest.raises(ValidationError):
        Method(options={"tau": 0.4})


def test_saliency_is_cropped_resized_and_mirrored_with_the_image(tmp_path):
    """An image whose red channel is its saliency: after augmentation they still agree."""
    values = np.random.default_rng(0).integers(0, 256, (6, 8)).astype(np.uint8).repeat(10, 0).repeat(10, 1)
    index, _ = write_tiny_set(tmp_path, {"a": (np.stack([values] * 3, axis=2), [1])})
    images = TrainingImages(
        ImageIndex(index).split("train"), normalisation=Normalisation(mean=(0, 0, 0), std=(255, 255, 255)),
        augment=AugmentSection(crop=48, resize_min=60, resize_max=140),
        seed=0, stage="x", round=1, mean_rgb=np.zeros(3),
        planes={"saliency": lambda row: values.astype(np.float32) / 255},
    )  # fmt: skip
    mirrored = set()
    for epoch in range(12):
        item = images[epoch, 0]
        assert torch.allclose(item["image_n"][0], item["saliency"], atol=2 / 255)
        mirrored.add(float(item["saliency"][0, 0]))
    assert len(mirrored) > 6


def run_round(folder, *, number, index, shard, saliency, kind, earlier):
    """Train, extract and claim one round; its store files."""
    folder.mkdir()
    backbone = BackboneSection(name="test_efficientnet", weights="none", freeze_batchnorm=False)
    classifier = ClassifierSection(
        epochs=1, min_steps=1, batch_size=4, augment=AugmentSection(crop=64, resize_min=56, resize_max=80)
    )
    compute = ComputeSection(device="cpu", threads=1, workers=0)
    common = {"kind": kind, "round": number, "backbone": backbone, "options": {"overlap": 0.3}}
    train_classifier(
        index=index, regions=earlier, saliency=[saliency], compute=compute,
        settings=ClassifierSettings(**common, classifier=classifier),
        output=folder / "classifier.pt", record=folder / "training.json",
    )  # fmt: skip
    extract_scores(
        index=index, shard=shard, classifier=folder / "classifier.pt", regions=earlier,
        settings=ScoresSettings(**common, scores=ScoresSection(scales=[1.0, 0.5])), compute=compute,
        output=folder / "scores.h5",
    )  # fmt: skip
    claim_regions(
        index=index, shard=shard, scores=folder / "scores.h5", settings=ClaimSettings(), output=folder / "regions.h5"
    )


def test_the_stages_carry_the_background_map_to_the_seeds(tmp_path):
    """Two rounds of eps_erasing: scores hold class 0, regions do not, and the seeds are the networks' own decision."""
    draw = np.random.default_rng(0)
    drawn_images = {
        f"i{k}": (draw.integers(0, 256, (64, 80, 3)).astype(np.uint8), [1] if k % 2 else [1, 3]) for k in range(5)
    }
    index, shard = write_tiny_set(tmp_path, drawn_images)
    saliency, earlier = tmp_path / "saliency.h5", []
    with MapWriter(saliency, stage="estimate_saliency", settings={}) as writer:
        for image_id in drawn_images:
            writer.write(image_id, [], saliency=draw.integers(0, 256, (64, 80)).astype(np.uint8))
    for number in (1, 2):
        folder = tmp_path / f"round-{number}"
        run_round(
            folder, number=number, index=index, shard=shard, saliency=saliency, kind="eps_erasing", earlier=earlier
        )
        earlier = [*earlier, folder / "regions.h5"]
    assert set(read_json(tmp_path / "round-2" / "training.json")["loss_curve"][0]) == {
        "epoch",
        "loss",
        "classification",
        "saliency",
        "seconds",
    }
    fused = tmp_path / "fused.h5"
    scores = [tmp_path / f"round-{n}" / "scores.h5" for n in (1, 2)]
    fuse_regions(
        index=index,
        shard=shard,
        scores=scores,
        regions=earlier,
        settings=FuseSettings(kind="eps_erasing"),
        output=fused,
    )
    for k in range(5):
        labels = [1] if k % 2 else [1, 3]
        rounds = [MapReader(path).read(f"i{k}") for path in scores]
        assert [r.class_ids.tolist() for r in rounds] == [[0, *labels]] * 2
        assert all((r["scores"] > 0).all() and (r["scores"] < 1).all() for r in rounds)
        assert MapReader(earlier[1]).read(f"i{k}").class_ids.tolist() == labels
        record = MapReader(fused).read(f"i{k}")
        assert record.class_ids.tolist() == labels
        np.testing.assert_array_equal(record["background"], np.minimum(rounds[0]["scores"][0], rounds[1]["scores"][0]))
        np.testing.assert_array_equal(record["raw"], np.maximum(rounds[0]["scores"][1:], rounds[1]["scores"][1:]))
