"""The segmenter's stages, end to end on a few drawn images with a very small network."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.tiny_set import write_tiny_set
from wsss.cli.predict import predict_images
from wsss.files.errors import ArtefactError
from wsss.files.imaging import VOC_COLOURS, normalise, read_mask
from wsss.files.index import ImageIndex
from wsss.files.store import MapReader, MapWriter
from wsss.files.text_files import read_json
from wsss.settings.sections import (
    AugmentSection,
    BackboneSection,
    ComputeSection,
    OptimiserSection,
    PredictSection,
    PslSection,
    TrainingSection,
)
from wsss.settings.stage_settings import PredictSettings, SegmenterSettings
from wsss.stages.segment.export_masks import export_masks
from wsss.stages.segment.inference import full_mask, load_segmenter, probabilities
from wsss.stages.segment.predict_masks import predict_masks
from wsss.stages.segment.psl import stricter, weigh
from wsss.stages.segment.train_segmenter import train_segmenter

COMPUTE = ComputeSection(device="cpu", threads=1, workers=0)
COLOURS = np.array([[120, 120, 120], [220, 40, 40], [40, 60, 220]])
IDS = ["odd name #1", "b", "c", "d", "e", "f", "g", "h"]


def draw(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """An image of one or two coloured boxes on grey, (64, 80), and its mask."""
    random = np.random.default_rng(seed)
    mask = np.zeros((64, 80), np.uint8)
    for k, class_id in enumerate([1, 2] if seed % 2 else [1 + seed // 2 % 2]):
        y, x = random.integers(2, 22), 4 + 38 * k + random.integers(0, 6)
        mask[y : y + 36, x : x + 28] = class_id
    image_u8 = np.clip(COLOURS[mask] + random.normal(0, 8, (64, 80, 3)), 0, 255).astype(np.uint8)
    return image_u8, mask


class Set:
    """Index, shard and pseudo masks of the drawn images."""

    def __init__(self, folder: Path) -> None:
        drawn = {image_id: draw(k) for k, image_id in enumerate(IDS)}
        self.folder, self.truth = folder, {i: mask for i, (_, mask) in drawn.items()}
        self.index, self.shard = write_tiny_set(
            folder,
            {i: (image, np.unique(mask[mask > 0]).tolist()) for i, (image, mask) in drawn.items()},
            num_classes=2,
        )
        self.masks = self.write_masks("pseudo.h5", self.truth)

    def write_masks(self, name: str, masks) -> Path:
        with MapWriter(self.folder / name, stage="refine_masks", settings={}) as writer:
            for image_id, mask in masks.items():
                writer.write(image_id, np.unique(mask[(mask > 0) & (mask < 255)]), mask=mask)
        return self.folder / name


def settings(*, epochs: int, psl: bool) -> SegmenterSettings:
    return SegmenterSettings(
        seed=0,
        backbone=BackboneSection(name="test_efficientnet", weights="none", freeze_batchnorm=False),
        train=TrainingSection(
            epochs=epochs,
            min_steps=1,
            batch_size=4,
            optimiser=OptimiserSection(lr=3e-3, head_lr_factor=2),
            augment=AugmentSection(crop=80, resize_min=80, resize_max=80, flip=False),
        ),
        psl=PslSection(enabled=psl, score="softmax", warmup=0.0),
    )


def train(data: Set, name: str, *, masks: list[Path] | None = None, **changes) -> Path:
    folder = data.folder / name
    chosen = changes.get("settings") or settings(**changes)
    masks = [data.masks] if masks is None else masks
    train_segmenter(
        index=data.index,
        masks=masks,
        settings=chosen,
        compute=COMPUTE,
        output=folder / "segmenter.safetensors",
        record=folder / "metrics.json",
    )
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Set:
    return Set(tmp_path_factory.mktemp("segment"))


@pytest.fixture(scope="module")
def plain(data) -> Path:
    return train(data, "plain", epochs=40, psl=False)


@pytest.fixture(scope="module")
def psl(data) -> Path:
    return train(data, "psl", epochs=40, psl=True)


def predict(data: Set, trained: Path, *, name: str = "predictions.h5", **changes) -> MapReader:
    chosen = PredictSettings(
        psl=changes.get("psl", PslSection()), predict=changes.get("predict", PredictSection(flip=False))
    )
    predict_masks(
        index=data.index,
        shard=data.shard,
        segmenter=trained / "segmenter.safetensors",
        settings=chosen,
        compute=COMPUTE,
        output=trained / name,
    )
    return MapReader(trained / name)


def agreement(data: Set, found: MapReader) -> float:
    return float(np.mean([found.read(i)["mask"] == mask for i, mask in data.truth.items()]))


def test_training_lowers_the_loss_and_leaves_no_resume_file(plain, psl):
    first, *_, last = read_json(plain / "metrics.json")["loss_curve"]
    assert last["loss"] < 0.25 * first["loss"]
    assert set(first) == {"epoch", "loss", "seed", "seconds"}
    first, *_, last = read_json(psl / "metrics.json")["loss_curve"]
    assert all(last[k] < 0.6 * first[k] for k in ("seed", "classification"))
    assert last["loss"] == pytest.approx(last["seed"] + last["online"] + last["classification"], rel=1e-5)
    assert not (plain / ".resume").exists()


def test_an_overfitted_network_gives_its_masks_back(data, plain, psl):
    assert agreement(data, predict(data, plain)) > 0.96
    unweighted = PslSection(enabled=True, score="softmax", warmup=0.0, test_weighting="none")
    assert agreement(data, predict(data, psl, name="unweighted.h5", psl=unweighted)) > 0.93


def test_equal_runs_give_equal_bytes(data, tmp_path):
    runs = [train(data, f"equal-{k}", epochs=2, psl=True) for k in range(2)]
    assert (runs[0] / "segmenter.safetensors").read_bytes() == (runs[1] / "segmenter.safetensors").read_bytes()
    files = [
        predict(data, run, psl=PslSection(enabled=True, score="softmax", warmup=0.0)).path.read_bytes() for run in runs
    ]
    assert files[0] == files[1]


def test_probs_are_background_and_labels_at_stride_4(data, plain):
    found = predict(data, plain, name="flip.h5", predict=PredictSection(flip=True, scales=[1.0, 0.75]))
    for row in ImageIndex(data.index).split("train"):
        record = found.read(row.image_id)
        assert record.class_ids.tolist() == [0, *row.class_ids]
        assert record["probs"].shape == (len(record.class_ids), 16, 20)
        assert record["mask"].shape == (64, 80)
        assert (record["probs"].sum(0) < 1.01).all()
    assert agreement(data, found) > 0.9


def test_scales_keep_the_grid_of_scale_1_and_flips_agree_with_a_mirrored_image(plain):
    trained = load_segmenter(plain / "segmenter.safetensors", device=torch.device("cpu"))
    image_u8 = draw(3)[0][:61, :75]
    both = PredictSection(scales=[1.0], flip=True)
    one = probabilities(trained, image_u8, psl=PslSection(), predict=both)
    assert (
        one.shape
        == probabilities(trained, image_u8, psl=PslSection(), predict=PredictSection(scales=[0.5, 1.5])).shape
        == (3, 16, 19)
    )
    assert one.sum(0) == pytest.approx(np.ones((16, 19)), abs=1e-5)
    whole = draw(3)[0]
    mirrored = probabilities(trained, whole[:, ::-1], psl=PslSection(), predict=both)[..., ::-1]
    assert mirrored == pytest.approx(probabilities(trained, whole, psl=PslSection(), predict=both), abs=1e-5)


def test_prediction_weights_by_the_scores_that_pass_p(psl):
    trained = load_segmenter(psl / "segmenter.safetensors", device=torch.device("cpu"))
    image_u8, single = draw(0)[0], PredictSection(scales=[1.0], flip=False)
    image_n = torch.from_numpy(normalise(image_u8, trained.model.normalisation))[None]
    with torch.inference_mode():
        maps, logits = trained.model(image_n)
        v = logits.softmax(1)
        p = float((v.min() + v.max()) / 2)
        expected = weigh(maps.softmax(1), stricter(v, p=p))[0].numpy()
    found = probabilities(
        trained, image_u8, psl=PslSection(enabled=True, score="softmax", warmup=0.0, test_p=p), predict=single
    )
    assert found == pytest.approx(expected, abs=1e-5)
    assert not found[1 + int(v.argmin())].any()
    assert found[1 + int(v.argmax())].any()
    labels = np.array([0, 1], np.uint8)
    assert not probabilities(
        trained,
        image_u8,
        psl=PslSection(enabled=True, score="softmax", warmup=0.0, test_weighting="labels"),
        predict=single,
        labels=labels,
    )[1].any()


def test_predicted_weights_need_a_network_trained_with_psl(data, plain):
    with pytest.raises(ValueError, match=r"trained with psl\.enabled false"):
        predict(data, plain, name="wrong.h5", psl=PslSection(enabled=True, score="softmax", warmup=0.0))
    assert not (plain / "wrong.h5").exists()


def test_all_background_is_said_aloud(data, psl, capsys):
    # no class passes p: background everywhere
    predict(data, psl, name="empty.h5", psl=PslSection(enabled=True, score="softmax", warmup=0.0, test_p=0.999999))
    assert f"all {len(IDS)} predicted masks are background" in capsys.readouterr().err


def test_full_mask_is_the_argmax_of_enlarged_maps():
    from wsss.files.imaging import resize_maps

    maps = np.random.default_rng(0).random((5, 6, 7), np.float32)
    assert (full_mask(maps, size=(31, 40)) == resize_maps(maps, size=(31, 40)).argmax(0)).all()


def test_masks_without_objects_stop_and_missing_classes_warn(data, capsys):
    empty = data.write_masks("empty.h5", {i: np.where(m > 0, 255, 0).astype(np.uint8) for i, m in data.truth.items()})
    with pytest.raises(ValueError, match="holds an object"):
        train(data, "empty", masks=[empty], epochs=1, psl=False)
    one = data.write_masks("one.h5", {i: np.where(m == 2, 0, m).astype(np.uint8) for i, m in data.truth.items()})
    train(data, "one", masks=[one], epochs=1, psl=False)
    assert "class2" in capsys.readouterr().err
    illegal = data.write_masks(
        "illegal.h5", {i: np.where(m == 2, 7, m).astype(np.uint8) for i, m in data.truth.items()}
    )
    with pytest.raises(ArtefactError, match=r"values \[7\]"):
        train(data, "illegal", masks=[illegal], epochs=1, psl=False)
    small = data.write_masks("small.h5", {i: m[:-1] for i, m in data.truth.items()})
    with pytest.raises(ArtefactError, match="mask is"):
        train(data, "small", masks=[small], epochs=1, psl=False)


def test_full_supervision_reads_the_truth_masks(data):
    chosen = settings(epochs=1, psl=False).model_copy(update={"full_supervision": True})
    with pytest.raises(ArtefactError, match="with truth masks"):
        train(data, "full", masks=[], settings=chosen)


def test_exported_masks_are_palette_images(data, plain, tmp_path):
    found = predict(data, plain, name="export.h5")
    output = tmp_path / "masks" / "train.csv"
    (tmp_path / "masks" / "train").mkdir(parents=True)
    (tmp_path / "masks" / "train" / "stale.png").write_bytes(b"")
    export_masks(index=data.index, masks=[found.path], output=output)
    with output.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [r["image_id"] for r in rows] == IDS
    assert rows[0]["file"] == f"train/{IDS[0]}.png"
    for row in rows:
        mask = found.read(row["image_id"])["mask"]
        path = output.parent / row["file"]
        assert (read_mask(path) == mask).all()
        assert (np.asarray(Image.open(path).convert("RGB")) == VOC_COLOURS[mask]).all()
        assert row["classes"] == ";".join(f"class{k}" for k in np.unique(mask[mask > 0]))
    assert len(list((tmp_path / "masks" / "train").glob("*"))) == len(IDS)


def photographs(folder: Path) -> Path:
    folder.mkdir()
    for k in (0, 1):
        Image.fromarray(draw(k)[0]).resize((160, 128)).save(folder / f"photo{k}.png")
    return folder


def test_new_photographs_get_masks_of_their_size(plain, tmp_path):
    folder = photographs(tmp_path / "photos")
    for _ in range(2):  # the second time, earlier results lie inside the folder
        predict_images(model=plain / "segmenter.safetensors", images=[folder], output=folder / "out", compute=COMPUTE)
    assert sorted(p.name for p in (folder / "out").iterdir()) == [
        "photo0.png",
        "photo0_overlay.png",
        "photo1.png",
        "photo1_overlay.png",
        "predictions.csv",
    ]
    mask = read_mask(folder / "out" / "photo1.png")
    truth = np.asarray(Image.fromarray(draw(1)[1]).resize((160, 128), Image.Resampling.NEAREST))
    assert mask.shape == (128, 160)
    assert (mask == truth).mean() > 0.95
    with (folder / "out" / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[1]["classes"] == "class1;class2"
    assert [float(s) for s in rows[1]["shares"].split(";")] == pytest.approx(
        [(mask == k).mean() for k in (1, 2)], abs=1e-3
    )


def test_bad_photographs_are_named_and_nothing_is_written(plain, tmp_path):
    folder = photographs(tmp_path / "photos")
    (folder / "broken.jpg").write_bytes(b"no image")
    with pytest.raises(ArtefactError, match=r"broken\.jpg"):
        predict_images(model=plain / "segmenter.safetensors", images=[folder], output=tmp_path / "out", compute=COMPUTE)
    with pytest.raises(ArtefactError, match="would overwrite it"):
        predict_images(
            model=plain / "segmenter.safetensors", images=[folder / "photo0.png"], output=folder, compute=COMPUTE
        )
    with pytest.raises(ArtefactError, match="no such image"):
        predict_images(
            model=plain / "segmenter.safetensors",
            images=[tmp_path / "absent.png"],
            output=tmp_path / "out",
            compute=COMPUTE,
        )
    assert not (tmp_path / "out").exists()
    assert len(list(folder.iterdir())) == 3


def test_another_networks_file_is_refused(tmp_path, data):
    from wsss.nets.checkpoints import save_network

    save_network(tmp_path / "classifier.safetensors", state={}, meta={"stage": "train_classifier"})
    with pytest.raises(ArtefactError, match="expected a segmenter"):
        load_segmenter(tmp_path / "classifier.safetensors", device=torch.device("cpu"))
