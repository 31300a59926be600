"""The stages claim_regions, measure_round and fuse_regions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from tests.tiny_set import write_tiny_set
from wsss.files.errors import ArtefactError
from wsss.files.store import MapReader, MapWriter
from wsss.files.text_files import read_json, write_json
from wsss.settings.stage_settings import ClaimSettings, FuseSettings
from wsss.stages.seeds.claim_regions import claim_regions
from wsss.stages.seeds.fuse_regions import fuse_regions
from wsss.stages.seeds.measure_round import measure_round
from wsss.stages.seeds.regions import claim, fuse_scores

SIZES = {"a": (8, 12), "b": (6, 10), "c": (5, 4)}
CLASSES: dict[str, list[int]] = {"a": [1, 3], "b": [2], "c": []}
GRIDS = {"a": (2, 3), "b": (3, 5), "c": (2, 2)}


@pytest.fixture
def tiny(tmp_path: Path) -> tuple[Path, Path]:
    return write_tiny_set(tmp_path, {i: (np.zeros((*SIZES[i], 3), np.uint8), CLASSES[i]) for i in SIZES})


def write(path: Path, name: str, arrays: Mapping[str, np.ndarray]) -> Path:
    with MapWriter(path, stage="test", settings={}) as writer:
        for image_id, array in arrays.items():
            writer.write(image_id, CLASSES[image_id], **{name: array})
    return path


def random_scores(seed: int) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    return {i: generator.normal(size=(len(CLASSES[i]), *GRIDS[i])).astype(np.float16) for i in SIZES}


def random_regions(seed: int, share: float = 0.3) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    return {i: generator.random((len(CLASSES[i]), *SIZES[i])) < share for i in SIZES}


@pytest.mark.parametrize("normalise", ["signed_max", "minmax"])
def test_regions_have_the_images_size(tiny: tuple[Path, Path], tmp_path: Path, normalise: str) -> None:
    index, shard = tiny
    scores = random_scores(0)
    settings = ClaimSettings.model_validate({"claim": {"rel_threshold": 0.4, "normalise": normalise}})
    claim_regions(
        index=index,
        shard=shard,
        scores=write(tmp_path / "s.h5", "scores", scores),
        settings=settings,
        output=tmp_path / "r.h5",
    )
    reader = MapReader(tmp_path / "r.h5")
    for image_id in SIZES:
        record = reader.read(image_id)
        assert record.class_ids.tolist() == CLASSES[image_id]
        expected = claim(scores[image_id], size=SIZES[image_id], rel_threshold=0.4, normalise=normalise)
        assert record["regions"].dtype == bool
        np.testing.assert_array_equal(record["regions"], expected)


@pytest.mark.parametrize(("value", "said"), [(-1.0, True), (1.0, False)])
def test_a_round_that_claims_nothing_is_said(
    tiny: tuple[Path, Path], tmp_path: Path, value: float, said: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    index, shard = tiny
    flat = {i: np.full_like(s, value) for i, s in random_scores(0).items()}
    claim_regions(
        index=index,
        shard=shard,
        scores=write(tmp_path / "s.h5", "scores", flat),
        settings=ClaimSettings(),
        output=tmp_path / "r.h5",
    )
    assert ("claims 0.0 %" in capsys.readouterr().err) == said


def test_round_figures_by_hand(tiny: tuple[Path, Path], tmp_path: Path) -> None:
    index, _ = tiny
    now = {i: np.zeros((len(CLASSES[i]), *SIZES[i]), bool) for i in SIZES}
    one, two = ({i: a.copy() for i, a in now.items()} for _ in range(2))
    now["a"][0, 0, :4] = now["a"][1, 0, 2:6] = True  # 6 pixels together
    now["b"][0, :2] = True  # 20
    one["a"][1, 0, :2] = True  # 2, both claimed again
    two["b"][0, 1:3] = True  # 20, of which 10 are claimed again
    write_json(
        tmp_path / "training.json",
        {
            "loss_curve": [{"epoch": 1, "loss": 0.5}],
            "final_loss": 0.5,
            "seconds": 3.0,
            "peak_memory_mb": 900,
            "device": "cpu",
        },
    )
    measure_round(
        index=index, record=tmp_path / "training.json", regions=[write(tmp_path / "now.h5", "regions", now)],
        earlier=[write(tmp_path / "1.h5", "regions", one), write(tmp_path / "2.h5", "regions", two)],
        output=tmp_path / "metrics.json",
    )  # fmt: skip
    figures = read_json(tmp_path / "metrics.json")
    pixels = 8 * 12 + 6 * 10 + 5 * 4
    assert figures["claimed_share"] == pytest.approx(26 / pixels)
    assert figures["new_area"] == pytest.approx(14 / pixels)
    assert figures["erased_share"] == pytest.approx(22 / pixels)
    assert figures["final_loss"] == 0.5
    assert figures["loss_curve"] == [{"epoch": 1, "loss": 0.5}]
    assert (figures["seconds"], figures["peak_memory_mb"]) == (3.0, 900)


def test_round_one_claims_only_what_is_new(tiny: tuple[Path, Path], tmp_path: Path) -> None:
    index, _ = tiny
    write_json(tmp_path / "training.json", {})
    regions = write(tmp_path / "r.h5", "regions", random_regions(0))
    measure_round(
        index=index, record=tmp_path / "training.json", regions=[regions], earlier=[], output=tmp_path / "metrics.json"
    )
    figures = read_json(tmp_path / "metrics.json")
    assert figures["new_area"] == figures["claimed_share"] > 0
    assert figures["erased_share"] == 0


def test_a_missing_shard_is_no_empty_one(tiny: tuple[Path, Path], tmp_path: Path) -> None:
    index, _ = tiny
    write_json(tmp_path / "training.json", {})
    half = write(tmp_path / "half.h5", "regions", {"a": random_regions(0)["a"]})
    with pytest.raises(ArtefactError, match="image b is in none of"):
        measure_round(
            index=index, record=tmp_path / "training.json", regions=[half], earlier=[], output=tmp_path / "metrics.json"
        )


def fuse(tiny: tuple[Path, Path], folder: Path, *, kind: str, weight: float = 1.0) -> MapReader:
    scores = [write(folder / f"s{k}.h5", "scores", random_scores(k)) for k in range(3)]
    regions = [write(folder / f"r{k}.h5", "regions", random_regions(k)) for k in range(3)]
    settings = FuseSettings.model_validate({"kind": kind, "fuse": {"later_weight": weight}})
    fuse_regions(
        index=tiny[0], shard=tiny[1], scores=scores, regions=regions, settings=settings, output=folder / "fused.h5"
    )
    return MapReader(folder / "fused.h5")


def test_erasing_unites_its_rounds(tiny: tuple[Path, Path], tmp_path: Path) -> None:
    fused = fuse(tiny, tmp_path, kind="erasing", weight=0.75)
    for image_id in SIZES:
        record = fused.read(image_id)
        assert record.class_ids.tolist() == CLASSES[image_id]
        np.testing.assert_array_equal(
            record["regions"], random_regions(0)[image_id] | random_regions(1)[image_id] | random_regions(2)[image_id]
        )
        expected = fuse_scores([random_scores(k)[image_id] for k in range(3)], later_weight=0.75)
        np.testing.assert_allclose(record["scores"], expected, atol=1e-3)
        assert record["scores"].dtype == np.float16
        assert record["scores"].max(initial=0) <= 1


def test_cam_takes_its_last_round(tiny: tuple[Path, Path], tmp_path: Path) -> None:
    fused = fuse(tiny, tmp_path, kind="cam", weight=0.5)
    for image_id in SIZES:
        np.testing.assert_array_equal(fused.read(image_id)["regions"], random_regions(2)[image_id])
        np.testing.assert_allclose(
            fused.read(image_id)["scores"], fuse_scores([random_scores(2)[image_id]], later_weight=1.0), atol=1e-3
        )


def test_rounds_must_be_complete(tiny: tuple[Path, Path], tmp_path: Path) -> None:
    scores = [write(tmp_path / f"s{k}.h5", "scores", random_scores(k)) for k in range(2)]
    regions = [write(tmp_path / "r.h5", "regions", random_regions(0))]
    for given in (regions, []):
        with pytest.raises(ArtefactError, match="of every round"):
            fuse_regions(
                index=tiny[0],
                shard=tiny[1],
                scores=scores,
                regions=given,
                settings=FuseSettings(kind="erasing"),
                output=tmp_path / "f.h5",
            )
