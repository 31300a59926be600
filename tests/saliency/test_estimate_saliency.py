"""The stage: kinds, processes, given maps and their faults."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.tiny_set import write_tiny_set
from wsss.files.errors import ArtefactError
from wsss.files.store import MapReader
from wsss.settings.stage_settings import SaliencySettings
from wsss.stages.saliency.barrier import barrier_saliency
from wsss.stages.saliency.estimate_saliency import estimate_saliency


def drawn_images(count: int = 5) -> dict[str, tuple[np.ndarray, list[int]]]:
    rng = np.random.default_rng(0)
    out = {}
    for k in range(count):
        image = rng.normal(100, 5, (24 + k, 31, 3))
        image[8:16, 9:20] = (220, 60 + 10 * k, 40)
        out[f"p{k}"] = (np.clip(image, 0, 255).astype(np.uint8), [1])
    return out


def given(root: Path) -> SaliencySettings:
    return SaliencySettings.model_validate({"saliency": {"kind": "folder", "folder": {"root": str(root)}}})


def test_processes_do_not_change_the_file(tmp_path: Path) -> None:
    images = drawn_images()
    index, shard = write_tiny_set(tmp_path, images)
    for workers in (1, 2):
        estimate_saliency(
            index=index, shard=shard, settings=SaliencySettings(), workers=workers, output=tmp_path / f"{workers}.h5"
        )
    assert (tmp_path / "1.h5").read_bytes() == (tmp_path / "2.h5").read_bytes()
    reader = MapReader(tmp_path / "1.h5")
    assert reader.image_ids == list(images)
    for image_id, (image, _) in images.items():
        record = reader.read(image_id)
        assert record.class_ids.size == 0
        np.testing.assert_array_equal(record["saliency"], np.rint(barrier_saliency(image) * 255).astype(np.uint8))
        assert record["saliency"].max() == 255


def test_an_empty_shard(tmp_path: Path) -> None:
    index, shard = write_tiny_set(tmp_path, drawn_images())
    shard.write_text("image_id\n")
    estimate_saliency(index=index, shard=shard, settings=SaliencySettings(), workers=2, output=tmp_path / "out.h5")
    assert len(MapReader(tmp_path / "out.h5")) == 0


def test_u2net_from_a_path(tmp_path: Path, shared: Path) -> None:
    index, shard = write_tiny_set(tmp_path, drawn_images(2))
    settings = SaliencySettings.model_validate(
        {"saliency": {"kind": "u2net", "u2net": {"weights": str(shared / "weights" / "u2netp.onnx")}}}
    )
    estimate_saliency(index=index, shard=shard, settings=settings, workers=1, output=tmp_path / "out.h5")
    saliency = MapReader(tmp_path / "out.h5").read("p0")["saliency"]
    assert saliency[9:15, 10:19].mean() > saliency[:6].mean() + 50


def test_given_maps_come_back_unchanged(tmp_path: Path) -> None:
    images = drawn_images(3)
    index, shard = write_tiny_set(tmp_path, images)
    (tmp_path / "maps").mkdir()
    rng = np.random.default_rng(1)
    maps = {i: rng.integers(0, 256, image.shape[:2], dtype=np.uint8) for i, (image, _) in images.items()}
    for image_id, values in maps.items():
        Image.fromarray(values).save(tmp_path / "maps" / f"{image_id}.png")
    estimate_saliency(
        index=index, shard=shard, settings=given(tmp_path / "maps"), workers=1, output=tmp_path / "out.h5"
    )
    for image_id, values in maps.items():
        np.testing.assert_array_equal(MapReader(tmp_path / "out.h5").read(image_id)["saliency"], values)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("missing", r"1 of 2 maps are missing.*8-bit grey(?s:.*)p1\.png"),
        ("size", "found 31×25 px .* expected the image's 25×31"),
        ("rgb", "mode RGB, expected 8-bit grey"),
        ("text", "not a readable image"),
    ],
)
def test_faulty_maps_are_named_and_nothing_is_written(tmp_path: Path, fault: str, message: str) -> None:
    images = drawn_images(2)
    index, shard = write_tiny_set(tmp_path, images)
    (tmp_path / "maps").mkdir()
    for image_id, (image, _) in images.items():
        Image.fromarray(image[..., 0]).save(tmp_path / "maps" / f"{image_id}.png")
    target = tmp_path / "maps" / "p1.png"
    if fault == "missing":
        target.unlink()
    elif fault == "text":
        target.write_text("not an image")
    else:
        Image.fromarray(images["p1"][0] if fault == "rgb" else images["p1"][0][..., 0].T).save(target)
    with pytest.raises(ArtefactError, match=message):
        estimate_saliency(
            index=index, shard=shard, settings=given(tmp_path / "maps"), workers=1, output=tmp_path / "out" / "out.h5"
        )
    assert not (tmp_path / "out").exists()


def test_missing_maps_are_listed_up_to_twenty(tmp_path: Path) -> None:
    index, shard = write_tiny_set(tmp_path, drawn_images(23))
    with pytest.raises(ArtefactError, match="and 3 more"):
        estimate_saliency(
            index=index, shard=shard, settings=given(tmp_path / "maps"), workers=1, output=tmp_path / "out.h5"
        )


def test_an_image_that_changed_since_the_index_is_named(tmp_path: Path) -> None:
    index, shard = write_tiny_set(tmp_path, drawn_images(2))
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(index.parent / "p1.png")
    with pytest.raises(ArtefactError, match=r"p1\.png: found \(9, 9\), the index says \(25, 31\)"):
        estimate_saliency(index=index, shard=shard, settings=SaliencySettings(), workers=2, output=tmp_path / "out.h5")


def test_flat_maps_are_warned_about(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flat = {f"f{k}": (np.full((20, 20, 3), 90, np.uint8), [1]) for k in range(3)}
    index, shard = write_tiny_set(tmp_path, flat)
    estimate_saliency(index=index, shard=shard, settings=SaliencySettings(), workers=1, output=tmp_path / "out.h5")
    assert "3 of 3 saliency maps are 0 everywhere" in capsys.readouterr().err


def test_kind_none_is_refused(tmp_path: Path) -> None:
    index, shard = write_tiny_set(tmp_path, drawn_images(1))
    with pytest.raises(ValueError, match=r"saliency\.kind is none"):
        estimate_saliency(
            index=index,
            shard=shard,
            settings=SaliencySettings.model_validate({"saliency": {"kind": "none"}}),
            workers=1,
            output=tmp_path / "out.h5",
        )
