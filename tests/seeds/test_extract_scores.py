"""The stage: scales, flips, erased images, guards."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.tiny_set import write_tiny_set
from wsss.files.errors import ArtefactError
from wsss.files.imaging import erase, normalise, resize_image
from wsss.files.store import MapReader, MapWriter
from wsss.nets.checkpoints import save_network
from wsss.settings.sections import BackboneSection, ComputeSection, ScoresSection
from wsss.settings.stage_settings import ScoresSettings
from wsss.stages.seeds.cam import Classifier, Method
from wsss.stages.seeds.extract_scores import extract_scores, score_maps

TINY = BackboneSection(name="test_resnet", weights="none", output_stride=16)
CPU = ComputeSection(device="cpu", threads=1, workers=0)
GENERATOR = np.random.default_rng(0)
IMAGES = {
    "a": (GENERATOR.integers(0, 256, (64, 80, 3), dtype=np.uint8), [1, 3]),
    "b": (GENERATOR.integers(0, 256, (48, 50, 3), dtype=np.uint8), [2]),
    "c": (GENERATOR.integers(0, 256, (33, 32, 3), dtype=np.uint8), []),
}


@pytest.fixture(scope="module")
def model() -> Classifier:
    torch.manual_seed(0)
    net = Classifier(3, backbone=TINY)
    with torch.no_grad():  # BatchNorm statistics that make scores of a size to speak of
        for _ in range(3):
            net.train()(torch.randn(4, 3, 64, 64))
    return net.eval()


def maps_of(
    model: Classifier, image_u8: np.ndarray, class_ids: list[int] | None = None, **scores: object
) -> np.ndarray:
    with torch.inference_mode():
        return score_maps(
            Method(), model, image_u8, class_ids=np.array(class_ids or [1, 2, 3]),
            normalisation=model.backbone.normalisation,
            settings=ScoresSection.model_validate(scores), device=torch.device("cpu"),
        )  # fmt: skip


def forward(model: Classifier, image_u8: np.ndarray) -> torch.Tensor:
    with torch.inference_mode():
        return model(torch.from_numpy(normalise(image_u8, model.backbone.normalisation))[None])[0]


def test_one_scale_without_flip_is_the_network(model: Classifier) -> None:
    image_u8 = IMAGES["a"][0]
    found = maps_of(model, image_u8, [3, 1][::-1], scales=[1.0], flip=False)
    np.testing.assert_allclose(found, forward(model, image_u8)[[0, 2]].numpy(), rtol=1e-4, atol=1e-7)
    assert found.min() < 0 < found.max()


def test_flip_is_the_mean_with_the_mirrored_image(model: Classifier) -> None:
    image_u8 = IMAGES["a"][0]
    expected = (forward(model, image_u8) + forward(model, image_u8[:, ::-1]).flip(-1)) / 2
    found = maps_of(model, image_u8, scales=[1.0], flip=True)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-6)
    np.testing.assert_allclose(maps_of(model, image_u8[:, ::-1], scales=[1.0], flip=True), found[..., ::-1], atol=1e-6)


def test_scales_are_averaged_on_the_grid_of_scale_one(model: Classifier) -> None:
    image_u8 = IMAGES["b"][0]  # 48 x 50
    twice = forward(model, resize_image(image_u8, size=(96, 100)))
    one = forward(model, image_u8)
    assert twice.shape != one.shape
    down = F.interpolate(twice[None], one.shape[1:], mode="bilinear", align_corners=False)[0]
    np.testing.assert_allclose(
        maps_of(model, image_u8, scales=[1.0, 2.0], flip=False), ((one + down) / 2).numpy(), atol=1e-6
    )
    np.testing.assert_allclose(maps_of(model, image_u8, scales=[2.0], flip=False), down.numpy(), atol=1e-6)


def run(
    folder: Path, model: Classifier, *, regions: list[Path] | None = None, **scores: object
) -> tuple[MapReader, Path]:
    index, shard = write_tiny_set(folder, IMAGES)
    save_network(
        folder / "classifier.pt",
        state=model.state_dict(),
        meta={"classes": ["background", "class1", "class2", "class3"]},
    )
    settings = ScoresSettings.model_validate({"kind": "erasing", "backbone": TINY.model_dump(), "scores": scores})
    extract_scores(
        index=index,
        shard=shard,
        classifier=folder / "classifier.pt",
        regions=regions or [],
        settings=settings,
        compute=CPU,
        output=folder / "scores.h5",
    )
    return MapReader(folder / "scores.h5"), index


def test_the_stage_keeps_raw_scores_of_present_classes(model: Classifier, tmp_path: Path) -> None:
    reader, _ = run(tmp_path, model, scales=[1.0], flip=True)
    assert reader.image_ids == ["a", "b", "c"]
    for image_id, (image_u8, class_ids) in IMAGES.items():
        record = reader.read(image_id)
        assert record.class_ids.tolist() == class_ids
        assert record["scores"].dtype == np.float16
        if class_ids:
            np.testing.assert_array_equal(
                record["scores"], maps_of(model, image_u8, class_ids, scales=[1.0], flip=True).astype(np.float16)
            )
    assert reader.read("c")["scores"].shape == (0, 3, 2)
    first = (tmp_path / "scores.h5").read_bytes()
    run(tmp_path / "again", model, scales=[1.0], flip=True)
    assert (tmp_path / "again" / "scores.h5").read_bytes() == first


def test_later_rounds_look_at_the_erased_image(model: Classifier, tmp_path: Path) -> None:
    region = {i: GENERATOR.random(image.shape[:2]) < 0.3 for i, (image, _) in IMAGES.items()}
    with MapWriter(tmp_path / "regions.h5", stage="claim_regions", settings={}) as writer:
        for image_id, (_, class_ids) in IMAGES.items():
            writer.write(image_id, class_ids, regions=np.repeat(region[image_id][None], len(class_ids), axis=0))
    reader, _ = run(tmp_path / "run", model, regions=[tmp_path / "regions.h5"], scales=[1.0], flip=False)
    hidden = erase(IMAGES["a"][0], region["a"], colour=np.full(3, 127.0))
    np.testing.assert_array_equal(
        reader.read("a")["scores"], maps_of(model, hidden, [1, 3], scales=[1.0], flip=False).astype(np.float16)
    )


def test_a_network_without_positive_scores_is_said(
    model: Classifier, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = Classifier(3, backbone=TINY)
    other.load_state_dict(model.state_dict())
    for weight, said in (
        (1.0, False),
        (-1.0, True),
    ):  # features are not negative, so scores have the sign of the weights
        torch.nn.init.constant_(other.head.weight, weight)
        run(tmp_path / str(said), other.eval(), scales=[1.0])
        assert ("2 of 3 images have no positive score" in capsys.readouterr().err) == said


def test_a_network_of_other_classes_or_another_order_is_refused(model: Classifier, tmp_path: Path) -> None:
    """Maps have class ids only, so a network of another order would give them to the wrong classes silently."""
    _, index = run(tmp_path, model, scales=[1.0])
    table = index.parent / "classes.csv"
    table.write_text(table.read_text().replace("class1", "x").replace("class2", "class1").replace("x", "class2"))
    settings = ScoresSettings.model_validate({"kind": "erasing", "backbone": TINY.model_dump()})
    wanted = (
        "network of the classes class1, class2, class3, expected class2, class1, class3, in this order; train it again"
    )
    with pytest.raises(ArtefactError, match=wanted):
        extract_scores(
            index=index, shard=index.parent / "shards" / "train-0.csv", classifier=tmp_path / "classifier.pt",
            regions=[], settings=settings, compute=CPU,
            output=tmp_path / "other.h5",
        )  # fmt: skip
    assert not (tmp_path / "other.h5").exists()


def test_a_broken_network_writes_nothing(tmp_path: Path) -> None:
    broken = Classifier(3, backbone=TINY)
    torch.nn.init.constant_(broken.head.weight, float("nan"))
    with pytest.raises(ValueError, match="NaN or infinity"):
        run(tmp_path, broken, scales=[1.0])
    assert not (tmp_path / "scores.h5").exists()
    with pytest.raises(ArtefactError, match="another network"):
        run(tmp_path / "other", Classifier(5, backbone=TINY), scales=[1.0])
