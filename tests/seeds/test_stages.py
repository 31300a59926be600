"""The seed stages on a few drawn images: two rounds of erasing and their fusion, end to end."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from wsss.files.errors import ArtefactError
from wsss.files.imaging import erase, normalise, read_image, resize_maps
from wsss.files.index import ImageIndex
from wsss.files.store import MapReader, MapWriter
from wsss.files.text_files import read_json, write_csv
from wsss.methods import load_method
from wsss.nets.checkpoints import load_network, restore_network
from wsss.settings.sections import (
    AugmentSection,
    BackboneSection,
    ClaimSection,
    ClassifierSection,
    ComputeSection,
    DatasetSection,
    FuseSection,
    OptimiserSection,
    ScenesSection,
    ScoresSection,
    ShardsSection,
)  # fmt: skip
from wsss.settings.stage_settings import ClaimSettings, ClassifierSettings, FuseSettings, IndexSettings, ScoresSettings
from wsss.stages.dataset.index_images import index_images
from wsss.stages.seeds.claim_regions import claim_regions
from wsss.stages.seeds.extract_scores import extract_scores
from wsss.stages.seeds.fuse_regions import fuse_regions
from wsss.stages.seeds.measure_round import measure_round
from wsss.stages.seeds.train_classifier import train_classifier

COMPUTE = ComputeSection(device="cpu", threads=1, workers=0)
BACKBONE = BackboneSection(name="test_efficientnet", weights="none", freeze_batchnorm=False)
CLASSIFIER = ClassifierSection(
    epochs=2,
    min_steps=1,
    batch_size=4,
    augment=AugmentSection(crop=64, resize_min=56, resize_max=80),
    optimiser=OptimiserSection(lr=1e-3),
)
THRESHOLD = 0.6


@dataclass(frozen=True)
class Run:
    """Where things are."""

    folder: Path

    @property
    def index(self) -> Path:
        return self.folder / "dataset" / "index.csv"

    def shard(self, number: int = 0) -> Path:
        return self.folder / "dataset" / "shards" / f"train-{number}.csv"

    @property
    def rows(self):
        return ImageIndex(self.index).split("train")

    def round(self, number: int) -> Path:
        return self.folder / f"round-{number}"

    def train(self, number: int, output: Path, *, regions: list[Path], kind: str = "erasing") -> None:
        settings = ClassifierSettings(kind=kind, round=number, backbone=BACKBONE, classifier=CLASSIFIER)
        train_classifier(
            index=self.index,
            regions=regions,
            saliency=[],
            settings=settings,
            compute=COMPUTE,
            output=output / "classifier.pt",
            record=output / "training.json",
        )

    def scores(self, number: int, output: Path, *, regions: list[Path], shard: Path | None = None) -> None:
        settings = ScoresSettings(
            kind="erasing", round=number, backbone=BACKBONE, scores=ScoresSection(scales=[1.0], flip=False)
        )
        extract_scores(
            index=self.index, shard=shard or self.shard(), classifier=self.round(number) / "classifier.pt",
            regions=regions, settings=settings, compute=COMPUTE, output=output,
        )  # fmt: skip

    def claim(self, scores: Path, output: Path, *, shard: Path | None = None) -> None:
        settings = ClaimSettings(claim=ClaimSection(rel_threshold=THRESHOLD))
        claim_regions(index=self.index, shard=shard or self.shard(), scores=scores, settings=settings, output=output)

    def fuse(self, kind: str, output: Path, *, later_weight: float = 0.5) -> Path:
        scores, regions = ([self.round(n) / f"{what}.h5" for n in (1, 2)] for what in ("scores", "regions"))
        fuse_regions(
            index=self.index,
            shard=self.shard(),
            scores=scores,
            regions=regions,
            settings=FuseSettings(kind=kind, fuse=FuseSection(later_weight=later_weight)),
            output=output,
        )
        return output


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    run = Run(tmp_path_factory.mktemp("run"))
    scenes = ScenesSection(train=8, val=2, min_side=64, max_side=80)
    index_images(
        settings=IndexSettings(dataset=DatasetSection(scenes=scenes), shards=ShardsSection(train=1)), output=run.index
    )
    earlier: list[Path] = []
    for number in (1, 2):
        folder = run.round(number)
        run.train(number, folder, regions=earlier)
        run.scores(number, folder / "scores.h5", regions=earlier)
        run.claim(folder / "scores.h5", folder / "regions.h5")
        measure_round(
            index=run.index,
            record=folder / "training.json",
            regions=[folder / "regions.h5"],
            earlier=earlier,
            output=folder / "metrics.json",
        )
        earlier = [*earlier, folder / "regions.h5"]
    return run


def regions_of(run, number):
    reader = MapReader(run.round(number) / "regions.h5")
    return {row.image_id: reader.read(row.image_id)["regions"] for row in run.rows}


def test_the_network_is_saved_with_what_made_it(run):
    state, meta = load_network(run.round(1) / "classifier.pt")
    classes = ImageIndex(run.index).class_names
    assert meta["stage"] == "train_classifier"
    assert meta["classes"] == classes
    assert ClassifierSettings(**meta["settings"]).classifier == CLASSIFIER
    assert state["head.weight"].shape[0] == len(classes) - 1
    assert not (run.round(1) / ".resume").exists()


def test_training_again_gives_the_same_file(run, tmp_path):
    run.train(1, tmp_path, regions=[], kind="cam")  # erasing's round 1 is CAM's
    again, first = load_network(tmp_path / "classifier.pt")[0], load_network(run.round(1) / "classifier.pt")[0]
    assert all(torch.equal(v, first[k]) for k, v in again.items())
    run.train(2, tmp_path, regions=[run.round(1) / "regions.h5"])
    assert (tmp_path / "classifier.pt").read_bytes() == (run.round(2) / "classifier.pt").read_bytes()


def test_what_is_erased_reaches_the_training(run, tmp_path):
    run.train(2, tmp_path, regions=[])
    assert (tmp_path / "classifier.pt").read_bytes() != (run.round(2) / "classifier.pt").read_bytes()


def test_scores_are_of_present_classes_on_the_feature_grid(run):
    reader = MapReader(run.round(1) / "scores.h5")
    assert reader.stage == "extract_scores"
    for row in run.rows:
        record = reader.read(row.image_id)
        np.testing.assert_array_equal(record.class_ids, row.class_ids)
        assert record["scores"].dtype == np.float16
        assert record["scores"].shape == (len(row.class_ids), -(-row.height // 16), -(-row.width // 16))


def test_round_2_scores_the_erased_image(run, tmp_path):
    run.scores(2, tmp_path / "unerased.h5", regions=[])
    method, data = load_method("erasing"), ImageIndex(run.index)
    model = method.build(data.num_classes, round=2, backbone=BACKBONE, previous=None)
    restore_network(model, run.round(2) / "classifier.pt")
    found, unerased, first = (
        MapReader(run.round(2) / "scores.h5"),
        MapReader(tmp_path / "unerased.h5"),
        regions_of(run, 1),
    )
    differing = 0
    for row in run.rows:
        region = first[row.image_id].any(0)
        image_u8 = erase(read_image(row.image), region, colour=data.mean_rgb)
        with torch.no_grad():
            maps = method.scores(
                model.eval(),
                torch.from_numpy(normalise(image_u8, model.backbone.normalisation))[None],
                [int(c) for c in row.class_ids],
            )[0]
        np.testing.assert_allclose(found.read(row.image_id)["scores"], maps.numpy(), rtol=2e-3, atol=1e-4)
        differing += bool(region.any()) and not np.array_equal(
            found.read(row.image_id)["scores"], unerased.read(row.image_id)["scores"]
        )
    assert differing >= 4


def test_regions_are_the_thresholded_upsampled_scores(run):
    scores, regions = MapReader(run.round(1) / "scores.h5"), regions_of(run, 1)
    claimed = 0
    for row in run.rows:
        maps = resize_maps(scores.read(row.image_id)["scores"], size=(row.height, row.width))
        expected = np.stack([m > THRESHOLD * m.max() if m.max() > 0 else np.zeros_like(m, bool) for m in maps])
        np.testing.assert_array_equal(regions[row.image_id], expected)
        claimed += int(expected.sum())
    assert claimed > 0


def test_the_figures_of_a_round(run):
    first, second = regions_of(run, 1), regions_of(run, 2)
    pixels = sum(row.height * row.width for row in run.rows)
    old = {i: r.any(0) for i, r in first.items()}
    expected = {
        "claimed_share": sum(r.any(0).sum() for r in second.values()) / pixels,
        "new_area": sum((r.any(0) & ~old[i]).sum() for i, r in second.items()) / pixels,
        "erased_share": sum(r.sum() for r in old.values()) / pixels,
    }
    found, record = read_json(run.round(2) / "metrics.json"), read_json(run.round(2) / "training.json")
    assert {k: found[k] for k in expected} == pytest.approx(expected)
    assert {k: found[k] for k in record} == record
    assert len(found["loss_curve"]) == 2
    start = read_json(run.round(1) / "metrics.json")
    assert start["erased_share"] == 0
    assert start["new_area"] == start["claimed_share"] == pytest.approx(expected["erased_share"])


def test_figures_by_hand(run, tmp_path):
    """Two rounds that claim the upper half and the left half of each image: a quarter is new, whatever the size."""
    paths = []
    for name, place in (
        ("one", lambda h, w: (slice(h // 2), slice(None))),
        ("two", lambda h, w: (slice(None), slice(w // 2))),
    ):
        paths.append(tmp_path / f"{name}.h5")
        with MapWriter(paths[-1], stage="claim_regions", settings={}) as writer:
            for row in run.rows:
                region = np.zeros((len(row.class_ids), row.height, row.width), bool)
                region[(0, *place(row.height, row.width))] = True
                writer.write(row.image_id, row.class_ids, regions=region)
    (tmp_path / "record.json").write_text(json.dumps({"final_loss": 0.5}))
    measure_round(
        index=run.index,
        record=tmp_path / "record.json",
        regions=paths[1:],
        earlier=paths[:1],
        output=tmp_path / "metrics.json",
    )
    pixels = sum(r.height * r.width for r in run.rows)
    expected = {
        "final_loss": 0.5,
        "claimed_share": sum(r.height * (r.width // 2) for r in run.rows) / pixels,
        "new_area": sum((r.height - r.height // 2) * (r.width // 2) for r in run.rows) / pixels,
        "erased_share": sum((r.height // 2) * r.width for r in run.rows) / pixels,
    }
    assert read_json(tmp_path / "metrics.json") == pytest.approx(expected)


def test_fused_rounds(run, tmp_path):
    fused = MapReader(run.fuse("erasing", tmp_path / "fused.h5"))
    first, second = regions_of(run, 1), regions_of(run, 2)
    rounds = [MapReader(run.round(n) / "scores.h5") for n in (1, 2)]
    for row in run.rows:
        record = fused.read(row.image_id)
        np.testing.assert_array_equal(record["regions"], first[row.image_id] | second[row.image_id])
        np.testing.assert_array_equal(record.class_ids, row.class_ids)
        for k, plane in enumerate(record["scores"]):
            one, two = (np.maximum(r.read(row.image_id)["scores"][k].astype(float), 0) for r in rounds)
            expected = np.maximum(one / (one.max() or 1), 0.5 * two / (two.max() or 1))
            np.testing.assert_allclose(plane, expected, atol=1e-3)


def test_a_method_without_fusion_takes_the_last_round(run, tmp_path):
    fused, second = MapReader(run.fuse("cam", tmp_path / "fused.h5")), regions_of(run, 2)
    for row in run.rows:
        np.testing.assert_array_equal(fused.read(row.image_id)["regions"], second[row.image_id])
        assert set(fused.read(row.image_id)["scores"].max((1, 2))) <= {0, 1}  # the last round has no reduced weight


def test_fusion_wants_scores_and_regions_of_every_round(run, tmp_path):
    for scores, regions in (([], []), ([run.round(1) / "scores.h5"], [])):
        with pytest.raises(ArtefactError, match=r"scores of \d rounds and regions of 0"):
            fuse_regions(
                index=run.index,
                shard=run.shard(),
                scores=scores,
                regions=regions,
                settings=FuseSettings(),
                output=tmp_path / "f.h5",
            )
    assert not (tmp_path / "f.h5").exists()


def test_shards_change_nothing(run, tmp_path):
    ids, whole = [row.image_id for row in run.rows], MapReader(run.round(2) / "scores.h5")
    seen = []
    for number, part in enumerate((ids[:3], ids[3:])):
        shard = tmp_path / f"train-{number}.csv"
        write_csv(shard, ("image_id",), [{"image_id": i} for i in part])
        run.scores(2, tmp_path / f"{number}.h5", regions=[run.round(1) / "regions.h5"], shard=shard)
        reader = MapReader(tmp_path / f"{number}.h5")
        seen += reader.image_ids
        for image_id in part:
            np.testing.assert_array_equal(reader.read(image_id)["scores"], whole.read(image_id)["scores"])
    assert seen == ids


def test_an_empty_shard(run, tmp_path):
    shard = tmp_path / "train-9.csv"
    write_csv(shard, ("image_id",), [])
    run.scores(1, tmp_path / "scores.h5", regions=[], shard=shard)
    run.claim(tmp_path / "scores.h5", tmp_path / "regions.h5", shard=shard)
    fuse_regions(
        index=run.index,
        shard=shard,
        scores=[tmp_path / "scores.h5"],
        regions=[tmp_path / "regions.h5"],
        settings=FuseSettings(),
        output=tmp_path / "fused.h5",
    )
    assert [len(MapReader(tmp_path / f"{n}.h5")) for n in ("scores", "regions", "fused")] == [0, 0, 0]


def test_a_network_of_other_settings_is_refused(run, tmp_path):
    settings = ScoresSettings(backbone=BACKBONE.model_copy(update={"name": "test_efficientnet_gn"}))
    with pytest.raises(ArtefactError, match=r"classifier\.pt: made for another network"):
        extract_scores(
            index=run.index,
            shard=run.shard(),
            classifier=run.round(1) / "classifier.pt",
            regions=[],
            settings=settings,
            compute=COMPUTE,
            output=tmp_path / "s.h5",
        )
    assert list(tmp_path.iterdir()) == []


def test_an_image_that_changed_its_size_is_named(run, tmp_path):
    row = run.rows[0]
    data = row.image.read_bytes()
    Image.fromarray(np.zeros((30, 31, 3), np.uint8)).save(tmp_path / "other.png")
    try:
        row.image.write_bytes((tmp_path / "other.png").read_bytes())
        with pytest.raises(ArtefactError, match=rf"{row.image.name}: found \(30, 31\)"):
            run.scores(1, tmp_path / "s.h5", regions=[])
    finally:
        row.image.write_bytes(data)
    assert not (tmp_path / "s.h5").exists()
