"""The stage: both kinds, both cues, the guard."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.tiny_set import write_tiny_set
from wsss.files.errors import ArtefactError
from wsss.files.store import MapReader, MapWriter
from wsss.settings.stage_settings import SeedMaskSettings
from wsss.stages.pseudo.make_seeds import make_seeds

SIZE = (12, 18)


def settings(**seed: object) -> SeedMaskSettings:
    return SeedMaskSettings.model_validate({"seed": seed})


@pytest.fixture
def artefacts(tmp_path: Path) -> tuple[Path, Path, Path, Path]:
    """index, shard, fused, saliency of five images: classes 1 and 3 each in a half, saliency low in the upper rows."""
    index, shard = write_tiny_set(tmp_path, {f"i{k}": (np.zeros((*SIZE, 3), np.uint8), [1, 3]) for k in range(5)})
    regions = np.zeros((2, *SIZE), bool)
    regions[0, 4:10, 0:10], regions[1, 4:10, 8:18] = True, True
    scores = np.full((2, 4, 6), -1, np.float16)
    scores[0, :, :3], scores[1, :, 3:] = 2, 5
    saliency = np.full(SIZE, 200, np.uint8)
    saliency[:6] = 15  # 0.0588: just below 0.06
    saliency[11] = 16  # 0.0627: just above
    with (
        MapWriter(tmp_path / "fused.h5", stage="fuse_regions", settings={}) as fused,
        MapWriter(tmp_path / "saliency.h5", stage="estimate_saliency", settings={}) as cue,
    ):
        for k in range(5):
            fused.write(f"i{k}", [1, 3], regions=regions, scores=scores)
            cue.write(f"i{k}", [], saliency=saliency)
    return index, shard, tmp_path / "fused.h5", tmp_path / "saliency.h5"


def test_regions_with_saliency(artefacts: tuple[Path, Path, Path, Path], tmp_path: Path) -> None:
    index, shard, fused, saliency = artefacts
    make_seeds(
        index=index,
        shard=shard,
        fused=fused,
        saliency=saliency,
        settings=settings(region_threshold=0.0),
        output=tmp_path / "seed.h5",
    )
    record = MapReader(tmp_path / "seed.h5").read("i2")
    assert record.class_ids.tolist() == [1, 3]
    mask = record["mask"]
    assert (mask[:4] == 0).all()  # low, unclaimed
    assert (mask[4:6] == 255).all()  # low, claimed
    assert (mask[6:10, :8] == 1).all()
    assert (mask[6:10, 8:10] == 255).all()  # claimed twice
    assert (mask[6:10, 10:] == 3).all()
    assert (mask[10:] == 255).all()  # salient, unclaimed


def test_regions_with_a_constant_cue(artefacts: tuple[Path, Path, Path, Path], tmp_path: Path) -> None:
    index, shard, fused, _ = artefacts
    make_seeds(
        index=index,
        shard=shard,
        fused=fused,
        settings=settings(cue="constant", region_threshold=0.0),
        output=tmp_path / "seed.h5",
    )
    mask = MapReader(tmp_path / "seed.h5").read("i0")["mask"]
    assert (mask[:4] == 0).all()
    assert (mask[4:10, :8] == 1).all()
    assert (mask[10:] == 0).all()


def test_regions_from_fused_scores(artefacts: tuple[Path, Path, Path, Path], tmp_path: Path) -> None:
    """Above the threshold is the object, whatever the rounds claimed; the truth table is the same."""
    index, shard, _, saliency = artefacts
    scores = np.zeros((2, *SIZE), np.float16)
    scores[0, 2:8, :10], scores[1, 2:8, 8:] = 0.7, 0.5
    with MapWriter(tmp_path / "f.h5", stage="fuse_regions", settings={}) as fused:
        for k in range(5):
            fused.write(f"i{k}", [1, 3], regions=np.zeros((2, *SIZE), bool), scores=scores)
    masks = {}
    for threshold in (0.45, 0.6):
        out = tmp_path / f"{threshold}.h5"
        make_seeds(
            index=index,
            shard=shard,
            fused=tmp_path / "f.h5",
            saliency=saliency,
            settings=settings(region_threshold=threshold),
            output=out,
        )
        masks[threshold] = MapReader(out).read("i1")["mask"]
    low, high = masks[0.45], masks[0.6]
    assert (low[:2] == 0).all()
    assert (low[2:6] == 255).all()  # claimed where nothing is salient
    assert (low[6:8, :8] == 1).all()
    assert (low[6:8, 8:10] == 255).all()  # both classes
    assert (low[6:8, 10:] == 3).all()
    assert (high[6:8, :10] == 1).all()
    assert (high[2:6, 10:] == 0).all()
    assert (high[6:8, 10:] == 255).all()


def test_scores_with_both_cues(artefacts: tuple[Path, Path, Path, Path], tmp_path: Path) -> None:
    index, shard, fused, saliency = artefacts
    make_seeds(
        index=index,
        shard=shard,
        fused=fused,
        saliency=saliency,
        settings=settings(kind="scores", cue="saliency"),
        output=tmp_path / "a.h5",
    )
    make_seeds(
        index=index,
        shard=shard,
        fused=fused,
        saliency=saliency,
        settings=settings(kind="scores", cue="constant", background=0.3),
        output=tmp_path / "b.h5",
    )
    a, b = MapReader(tmp_path / "a.h5").read("i0")["mask"], MapReader(tmp_path / "b.h5").read("i0")["mask"]
    assert (b[:, :7] == 1).all()
    assert (b[:, 11:] == 3).all()
    assert (a[6:11] == b[6:11]).mean() > 0.9
    assert (a[:5, 8:10] == 0).all()  # between the classes, where nothing is salient
    assert (a[:5, :6] == 1).all()  # score 1 beats 1 - 0.0588


def test_a_cue_that_is_not_there(artefacts: tuple[Path, Path, Path, Path], tmp_path: Path) -> None:
    index, shard, fused, _ = artefacts
    with pytest.raises(ValueError, match=r"set saliency\.kind"):
        make_seeds(index=index, shard=shard, fused=fused, settings=settings(), output=tmp_path / "seed.h5")


def test_saliency_of_another_size_is_named(artefacts: tuple[Path, Path, Path, Path], tmp_path: Path) -> None:
    index, shard, fused, _ = artefacts
    with MapWriter(tmp_path / "wrong.h5", stage="estimate_saliency", settings={}) as cue:
        for k in range(5):
            cue.write(f"i{k}", [], saliency=np.zeros(SIZE[::-1], np.uint8))
    with pytest.raises(ArtefactError, match="image i0: saliency is uint8"):
        make_seeds(
            index=index,
            shard=shard,
            fused=fused,
            saliency=tmp_path / "wrong.h5",
            settings=settings(),
            output=tmp_path / "seed.h5",
        )


def test_all_background_is_an_error_and_most_of_it_a_warning(
    artefacts: tuple[Path, Path, Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    index, shard, fused, saliency = artefacts
    with pytest.raises(ValueError, match=r"5 of 5 images with labels .*saliency_threshold"):
        make_seeds(
            index=index,
            shard=shard,
            fused=fused,
            saliency=saliency,
            settings=settings(saliency_threshold=1.0),
            output=tmp_path / "seed.h5",
        )
    assert not (tmp_path / "seed.h5").exists()
    with MapWriter(tmp_path / "cue.h5", stage="estimate_saliency", settings={}) as cue:
        for k in range(5):
            cue.write(f"i{k}", [], saliency=np.full(SIZE, 255 if k == 0 else 0, np.uint8))
    make_seeds(
        index=index,
        shard=shard,
        fused=fused,
        saliency=tmp_path / "cue.h5",
        settings=settings(),
        output=tmp_path / "seed.h5",
    )
    assert "4 of 5 images with labels" in capsys.readouterr().err


def test_an_empty_shard_and_a_few_empty_images_are_no_error(
    artefacts: tuple[Path, Path, Path, Path], tmp_path: Path
) -> None:
    index, shard, fused, saliency = artefacts
    for ids, threshold in (([], 0.06), (["i0", "i1", "i2"], 1.0)):
        shard.write_text("\n".join(["image_id", *ids]) + "\n")
        make_seeds(
            index=index,
            shard=shard,
            fused=fused,
            saliency=saliency,
            settings=settings(saliency_threshold=threshold),
            output=tmp_path / "seed.h5",
        )
        assert MapReader(tmp_path / "seed.h5").image_ids == ids


def test_the_networks_own_background(artefacts: tuple[Path, Path, Path, Path], tmp_path: Path) -> None:
    index, shard, fused, _ = artefacts
    raw = np.zeros((2, 1, 2), np.float16)
    raw[0, 0, 0], raw[1, 0, 1] = 0.6, 0.2
    with MapWriter(tmp_path / "own.h5", stage="fuse_regions", settings={}) as writer:
        for k in range(5):
            writer.write(f"i{k}", [1, 3], raw=raw, background=np.full((1, 2), 0.3, np.float16))
    make_seeds(
        index=index,
        shard=shard,
        fused=tmp_path / "own.h5",
        settings=settings(kind="scores", cue="network"),
        output=tmp_path / "seed.h5",
    )
    mask = MapReader(tmp_path / "seed.h5").read("i1")["mask"]
    assert (mask[:, :9] == 1).all()
    assert (mask[:, 9:] == 0).all()
    with pytest.raises(ArtefactError, match="no array 'raw'"):
        make_seeds(
            index=index,
            shard=shard,
            fused=fused,
            settings=settings(kind="scores", cue="network"),
            output=tmp_path / "none.h5",
        )
    assert not (tmp_path / "none.h5").exists()


def made(artefacts: tuple[Path, Path, Path, Path], output: Path, **seed: object) -> np.ndarray:
    index, shard, fused, saliency = artefacts
    make_seeds(index=index, shard=shard, fused=fused, saliency=saliency, settings=settings(**seed), output=output)
    return MapReader(output).read("i0")["mask"]


def test_the_threshold_of_saliency_is_the_settings(artefacts: tuple[Path, Path, Path, Path], tmp_path: Path) -> None:
    """Saliency is 0.0588 in the upper rows and 0.0627 in the last: 0.05 lies below both, 0.07 above."""
    low = made(artefacts, tmp_path / "low.h5", region_threshold=0.0, saliency_threshold=0.05)
    high = made(artefacts, tmp_path / "high.h5", region_threshold=0.0, saliency_threshold=0.07)
    assert (low[:4] == 255).all()
    assert (low[4:6, :8] == 1).all()
    assert (high[:4] == 0).all()
    assert (high[4:6] == 255).all()
    assert [low[11].tolist(), high[11].tolist()] == [[255] * 18, [0] * 18]


def test_a_score_at_the_threshold_is_no_object(artefacts: tuple[Path, Path, Path, Path], tmp_path: Path) -> None:
    index, shard, _, saliency = artefacts
    scores = np.stack([np.full(SIZE, 0.5, np.float16), np.full(SIZE, 0.75, np.float16)])
    with MapWriter(tmp_path / "f.h5", stage="fuse_regions", settings={}) as fused:
        for k in range(5):
            fused.write(f"i{k}", [1, 3], regions=np.zeros((2, *SIZE), bool), scores=scores)
    mask = made((index, shard, tmp_path / "f.h5", saliency), tmp_path / "m.h5", region_threshold=0.5)
    assert np.unique(mask[6:]).tolist() == [3]


def test_the_constant_background_is_the_settings(artefacts: tuple[Path, Path, Path, Path], tmp_path: Path) -> None:
    """Both halves are full of their class, so that only between them a background of 0.95 finds room."""
    constant = {"kind": "scores", "cue": "constant"}
    low, high = (made(artefacts, tmp_path / f"{b}.h5", **constant, background=b) for b in (0.0, 0.95))
    assert np.unique(low).tolist() == [1, 3]
    assert np.unique(high).tolist() == [0, 1, 3]
    assert (high == 0).any(0).nonzero()[0].tolist() == [8, 9]
