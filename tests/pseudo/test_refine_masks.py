"""The stage: hard labels and probabilities, label filter, processes, guard, photographs."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.tiny_set import write_tiny_set
from wsss.files.errors import ArtefactError
from wsss.files.store import MapReader, MapRecord, MapWriter
from wsss.settings.stage_settings import RefineSettings
from wsss.stages.pseudo.refine_masks import _refine_labels, _refine_probabilities, refine_masks

CRF, NONE = RefineSettings(), RefineSettings(refine="none")


def truth(k: int) -> np.ndarray:
    mask = np.zeros((26, 40 + k), np.uint8)
    mask[6:20, 4:16], mask[8:22, 22:36] = 1, 3
    return mask


@pytest.fixture
def scenes(tmp_path: Path) -> tuple[Path, Path]:
    """Five non-square images of class 1 (red) and 3 (blue) on green; the labels name both."""
    rng = np.random.default_rng(0)
    colours = np.array([[60, 120, 60], [200, 60, 40], [0, 0, 0], [50, 60, 190]])
    images = {
        f"i{k}": (np.clip(colours[truth(k)] + rng.normal(0, 6, (*truth(k).shape, 3)), 0, 255).astype(np.uint8), [1, 3])
        for k in range(5)
    }
    return write_tiny_set(tmp_path, images)


def write_seeds(path: Path, *, change: dict[int, int] | None = None) -> None:
    """Truth with 40 % unknown and 6 % wrong pixels; `change` renames classes."""
    rng = np.random.default_rng(1)
    with MapWriter(path, stage="make_seeds", settings={}) as writer:
        for k in range(5):
            mask = truth(k)
            draw = rng.random(mask.shape)
            mask = np.where(draw < 0.4, 255, np.where(draw > 0.94, rng.choice([0, 1, 3], mask.shape), mask)).astype(
                np.uint8
            )
            for old, new in (change or {}).items():
                mask[mask == old] = new
            writer.write(f"i{k}", [1, 3], mask=mask)


def write_predictions(path: Path, *, class_ids: list[int]) -> None:
    """Probabilities at a third of the size; where class 1 is, class 2 is likelier still."""
    with MapWriter(path, stage="predict_masks", settings={}) as writer:
        for k in range(5):
            weights = np.stack([(truth(k) == i) * 1.0 for i in range(4)])
            weights[2] = 1.4 * weights[1]
            size = (weights.shape[2] // 3, weights.shape[1] // 3)
            probs = np.stack([cv2.resize(w, size, interpolation=cv2.INTER_AREA) for w in weights]) + 0.1
            probs = probs / probs.sum(0)
            mask = np.where(truth(k) == 1, 2, truth(k)).astype(np.uint8)
            writer.write(f"i{k}", class_ids, mask=mask, probs=probs[class_ids].astype(np.float16))


def test_the_crf_repairs_seeds_and_leaves_nothing_unknown(scenes: tuple[Path, Path], tmp_path: Path) -> None:
    index, shard = scenes
    write_seeds(tmp_path / "seed.h5")
    for workers in (1, 2):
        refine_masks(
            index=index,
            shard=shard,
            masks=tmp_path / "seed.h5",
            settings=CRF,
            workers=workers,
            output=tmp_path / f"{workers}.h5",
        )
    assert (tmp_path / "1.h5").read_bytes() == (tmp_path / "2.h5").read_bytes()
    for k in range(5):
        record = MapReader(tmp_path / "1.h5").read(f"i{k}")
        assert record.class_ids.tolist() == [1, 3]
        assert record["mask"].shape == truth(k).shape
        assert (record["mask"] == truth(k)).mean() > 0.97


def test_a_stricter_preset_changes_the_result(scenes: tuple[Path, Path], tmp_path: Path) -> None:
    index, shard = scenes
    write_seeds(tmp_path / "seed.h5")
    weak = RefineSettings.model_validate({"crf": {"preset": "custom", "w_bilateral": 0, "w_gaussian": 0}})
    refine_masks(
        index=index, shard=shard, masks=tmp_path / "seed.h5", settings=weak, workers=1, output=tmp_path / "weak.h5"
    )
    seed, mask = MapReader(tmp_path / "seed.h5").read("i0")["mask"], MapReader(tmp_path / "weak.h5").read("i0")["mask"]
    known = seed != 255
    assert (mask[known] == seed[known]).all()
    assert (mask[~known] == 0).all()  # ties go to background


def test_refine_none_copies_and_filters(scenes: tuple[Path, Path], tmp_path: Path) -> None:
    index, shard = scenes
    write_seeds(tmp_path / "seed.h5", change={3: 2})
    refine_masks(
        index=index, shard=shard, masks=tmp_path / "seed.h5", settings=NONE, workers=1, output=tmp_path / "out.h5"
    )
    seed, mask = MapReader(tmp_path / "seed.h5").read("i1")["mask"], MapReader(tmp_path / "out.h5").read("i1")["mask"]
    np.testing.assert_array_equal(mask, np.where(seed == 2, 255, seed))
    refine_masks(
        index=index, shard=shard, masks=tmp_path / "seed.h5", settings=CRF, workers=1, output=tmp_path / "crf.h5"
    )
    assert set(np.unique(MapReader(tmp_path / "crf.h5").read("i1")["mask"])) <= {0, 1, 3}


@pytest.mark.parametrize("settings", [CRF, NONE], ids=["crf", "none"])
def test_probabilities_of_other_classes_are_left_out_before_the_decision(
    scenes: tuple[Path, Path], tmp_path: Path, settings: RefineSettings
) -> None:
    index, shard = scenes
    write_predictions(tmp_path / "predictions.h5", class_ids=[0, 1, 2, 3])
    refine_masks(
        index=index,
        shard=shard,
        masks=tmp_path / "predictions.h5",
        settings=settings,
        workers=1,
        output=tmp_path / "out.h5",
    )
    for k in range(5):
        mask = MapReader(tmp_path / "out.h5").read(f"i{k}")["mask"]
        assert set(np.unique(mask)) == {0, 1, 3}
        assert (mask == truth(k)).mean() > (0.97 if settings is CRF else 0.85)


def test_missing_probabilities_are_named(scenes: tuple[Path, Path], tmp_path: Path) -> None:
    index, shard = scenes
    write_predictions(tmp_path / "predictions.h5", class_ids=[0, 1])
    with pytest.raises(ArtefactError, match=r"image i0: probabilities for classes \[3\] are missing"):
        refine_masks(
            index=index,
            shard=shard,
            masks=tmp_path / "predictions.h5",
            settings=CRF,
            workers=2,
            output=tmp_path / "out.h5",
        )


def test_all_background_is_an_error(scenes: tuple[Path, Path], tmp_path: Path) -> None:
    index, shard = scenes
    write_seeds(tmp_path / "seed.h5", change={1: 0, 3: 0})
    with pytest.raises(ValueError, match=r"5 of 5 images with labels .*pseudo\.crf"):
        refine_masks(
            index=index, shard=shard, masks=tmp_path / "seed.h5", settings=CRF, workers=1, output=tmp_path / "out.h5"
        )
    assert not (tmp_path / "out.h5").exists()


def test_a_missing_input_and_an_empty_shard(scenes: tuple[Path, Path], tmp_path: Path) -> None:
    index, shard = scenes
    with pytest.raises(ArtefactError, match="no such file"):
        refine_masks(
            index=index, shard=shard, masks=tmp_path / "absent.h5", settings=CRF, workers=2, output=tmp_path / "out.h5"
        )
    write_seeds(tmp_path / "seed.h5")
    shard.write_text("image_id\n")
    refine_masks(
        index=index, shard=shard, masks=tmp_path / "seed.h5", settings=CRF, workers=2, output=tmp_path / "out.h5"
    )
    assert len(MapReader(tmp_path / "out.h5")) == 0


def test_photographs_come_closer_to_their_truth(shared: Path, tmp_path: Path) -> None:
    root = shared / "data" / "voc12_sub"
    truths = {
        i: np.array(Image.open(root / "SegmentationClassAug" / f"{i}.png"))
        for i in ("2007_000243", "2007_000648", "2007_001185")
    }
    images = {
        i: (np.array(Image.open(root / "JPEGImages" / f"{i}.jpg")), [int(c) for c in np.unique(mask) if 0 < c < 255])
        for i, mask in truths.items()
    }
    index, shard = write_tiny_set(tmp_path, images, num_classes=20)
    rough = {
        i: cv2.dilate(np.where(mask == 255, 0, mask).astype(np.uint8), np.ones((15, 15), np.uint8))
        for i, mask in truths.items()
    }
    with MapWriter(tmp_path / "seed.h5", stage="make_seeds", settings={}) as writer:
        for image_id, mask in rough.items():
            writer.write(image_id, images[image_id][1], mask=mask)
    settings = RefineSettings.model_validate({"crf": {"preset": "deeplabv2"}})
    refine_masks(
        index=index, shard=shard, masks=tmp_path / "seed.h5", settings=settings, workers=1, output=tmp_path / "out.h5"
    )

    def iou(mask: np.ndarray, image_id: str) -> float:
        truth, valid = truths[image_id], truths[image_id] != 255
        return float(((mask == truth) & (truth > 0) & valid).sum() / (((mask > 0) | (truth > 0)) & valid).sum())

    reader = MapReader(tmp_path / "out.h5")
    gains = [iou(reader.read(i)["mask"], i) - iou(rough[i], i) for i in truths]
    assert min(gains) > 0
    assert np.mean(gains) > 0.05


@pytest.fixture
def handed(monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """The probabilities that the CRF is given; it gives them back."""
    seen: list[np.ndarray] = []
    black = lambda row: np.zeros((row.height, row.width, 3), np.uint8)  # noqa: E731
    monkeypatch.setattr("wsss.stages.pseudo.refine_masks.read_indexed_image", black)
    monkeypatch.setattr(
        "wsss.stages.pseudo.refine_masks.dense_crf", lambda image_u8, p, *, parameters: seen.append(p) or p
    )
    return seen


def test_the_crf_starts_from_labels_of_the_confidence_that_is_set(handed: list[np.ndarray]) -> None:
    """Of three labels the own one has 0.6 and the others 0.2; of an unknown pixel each has a third."""
    row = SimpleNamespace(image_id="a", height=1, width=4, class_ids=np.array([2, 5], np.uint8))
    settings = RefineSettings.model_validate({"crf": {"label_confidence": 0.6}})
    mask = _refine_labels(row, np.array([[0, 5, 2, 255]], np.uint8), settings=settings)
    third = [1 / 3] * 3
    np.testing.assert_allclose(handed[0][:, 0].T, [[0.6, 0.2, 0.2], [0.2, 0.2, 0.6], [0.2, 0.6, 0.2], third], rtol=1e-6)
    assert mask[0, :3].tolist() == [0, 5, 2]


def test_probabilities_of_the_images_own_labels_are_made_to_sum_to_1(handed: list[np.ndarray]) -> None:
    """Class 2 is likeliest in the first cell, and is none of the image's: 0.1 and 0.3 become 1/4 and 3/4."""
    row = SimpleNamespace(image_id="a", height=1, width=2, class_ids=np.array([5], np.uint8))
    probs = np.array([[[0.1, 0.5]], [[0.6, 0.25]], [[0.3, 0.25]]], np.float32)
    record = MapRecord(image_id="a", class_ids=np.array([0, 2, 5], np.uint8), arrays={"probs": probs})
    mask = _refine_probabilities(row, record, settings=CRF)
    np.testing.assert_allclose(handed[0][:, 0], [[1 / 4, 2 / 3], [3 / 4, 1 / 3]], rtol=1e-6)
    assert mask.tolist() == [[5, 0]]
