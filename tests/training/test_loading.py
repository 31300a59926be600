"""Augmented training images: what the draws depend on, and that image and planes stay together."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from wsss.files.artefacts import ArtefactError, ImageIndex
from wsss.files.imaging import Normalisation, read_indexed_image
from wsss.settings.sections import AugmentSection
from wsss.training.loading import EpochOrder, TrainingImages, start_loader

from ..tiny_set import write_tiny_set

PLAIN = Normalisation(mean=(0.0,) * 3, std=(1.0,) * 3)
MEAN = np.array([10.0, 20.4, 29.6], np.float32)


@pytest.fixture
def rows(tmp_path):
    rng = np.random.default_rng(0)
    drawn_images = {
        f"p{k}": (rng.integers(0, 256, (40 + 8 * k, 60 - 5 * k, 3), dtype=np.uint8), [1 + k % 3]) for k in range(5)
    }
    return list(ImageIndex(write_tiny_set(tmp_path, drawn_images)[0]).rows.values())


def images(rows, *, seed=0, round=1, crop=48, low=40, high=70, flip=True, stage="test", **options):
    augment = AugmentSection(crop=crop, resize_min=low, resize_max=high, flip=flip)
    return TrainingImages(
        rows, normalisation=PLAIN, augment=augment, seed=seed, stage=stage, round=round, mean_rgb=MEAN, **options
    )


def pixels(item):
    return item["image_n"].numpy()


def test_an_item(rows):
    item = images(rows)[(0, 1)]
    assert item["image_id"] == "p1"
    assert item["image_n"].shape == (3, 48, 48)
    assert item["image_n"].dtype == item["labels"].dtype == torch.float32
    assert item["labels"].tolist() == [0, 1, 0]


def test_draws_depend_on_image_epoch_round_seed_and_stage_only(rows):
    expected = pixels(images(rows)[(3, 2)])
    other = images(rows[::-1])  # other order, asked after other items
    other[(0, 0)], other[(3, 4)]
    np.testing.assert_array_equal(pixels(other[(3, 2)]), expected)
    np.testing.assert_array_equal(pixels(images(rows[2:3])[(3, 0)]), expected)
    for changed in (
        images(rows)[(4, 2)],
        images(rows, seed=1)[(3, 2)],
        images(rows, round=2)[(3, 2)],
        images(rows, stage="other")[(3, 2)],
    ):
        assert not np.array_equal(pixels(changed), expected)


@pytest.mark.parametrize("workers", [1, 2])
def test_loader_processes_change_nothing(rows, workers):
    data = images(rows)

    def load(count):
        order = EpochOrder(data, batch_size=2)
        order.epoch = 1
        return list(
            torch.utils.data.DataLoader(
                data, batch_sampler=order, num_workers=count, worker_init_fn=start_loader if count else None
            )
        )

    for here, there in zip(load(0), load(workers), strict=True):
        assert here["image_id"] == there["image_id"]
        assert torch.equal(here["image_n"], there["image_n"])


def test_image_and_planes_stay_together(rows):
    """A white block on black is marked in all planes; it must be at the same place after resize, crop and flip."""
    blocks = {}
    for row in rows:
        drawn = np.zeros((row.height, row.width, 3), np.uint8)
        drawn[8:24, 5:25] = 255
        Image.fromarray(drawn).save(row.image)
        blocks[row.image_id] = (drawn[..., 0] // 255).astype(np.uint8)
    data = images(
        rows, planes={"mask": lambda r: blocks[r.image_id], "cue": lambda r: blocks[r.image_id].astype(np.float32)}
    )
    seen = moved = 0
    for epoch in range(12):
        for k in range(len(rows)):
            item = data[(epoch, k)]
            white, mask, cue = pixels(item)[0], item["mask"].numpy(), item["cue"].numpy()
            inside = mask != 255
            np.testing.assert_allclose(cue[inside], white[inside] / 255, atol=0.01)  # both bilinear
            # nearest and bilinear differ along edges only, by half a step
            assert (mask[inside] == 1)[white[inside] > 200].all()
            assert (mask[inside] == 0)[white[inside] < 55].all()
            seen += int((mask == 1).sum())
            moved += bool((mask == 1).any()) and mask[:, :20].max(initial=0, where=mask[:, :20] != 255) == 0
    assert seen > 5000
    assert moved > 0  # some flips brought the left block to the right


def test_padding(rows):
    ones = {
        "mask": lambda r: np.ones((r.height, r.width), np.uint8),
        "cue": lambda r: np.ones((r.height, r.width), np.float32),
    }
    item = images(rows, crop=64, low=32, high=32, planes=ones)[(0, 0)]  # 40 x 60 becomes 21 x 32
    assert item["mask"].dtype == torch.uint8
    assert item["cue"].dtype == torch.float32
    inside = np.zeros((64, 64), bool)
    inside[:21, :32] = True
    np.testing.assert_array_equal(item["mask"].numpy(), np.where(inside, 1, 255))
    np.testing.assert_array_equal(item["cue"].numpy(), inside.astype(np.float32))
    assert {tuple(p) for p in pixels(item)[:, ~inside].T} == {(10, 20, 30)}


def test_no_resize_no_crop_no_flip_is_the_image(rows):
    item = images(rows[:1], crop=60, low=60, high=60, flip=False)[(0, 0)]
    np.testing.assert_array_equal(pixels(item)[:, :40], read_indexed_image(rows[0]).transpose(2, 0, 1))


def test_flip(rows):
    draws = [pixels(images(rows[:1], crop=60, low=60, high=60)[(e, 0)])[:, :40] for e in range(40)]
    drawn = read_indexed_image(rows[0]).transpose(2, 0, 1).astype(np.float32)
    flipped = [not np.array_equal(d, drawn) for d in draws]
    assert 8 < sum(flipped) < 32
    for d, f in zip(draws, flipped, strict=True):
        np.testing.assert_array_equal(d, drawn[:, :, ::-1] if f else drawn)


def test_crops_reach_every_part(rows):
    """60 x 60 cropped to 32: all corners 0..28 occur in both directions."""
    ramp = np.add.outer(np.arange(60) * 4, np.zeros(60)).astype(np.uint8)
    Image.fromarray(np.stack([ramp, ramp.T, ramp * 0], axis=2)).save(rows[0].image)
    square = [type(rows[0])(**{**rows[0].__dict__, "height": 60, "width": 60})]
    corners = {
        tuple((pixels(images(square, crop=32, low=60, high=60, flip=False)[(e, 0)])[:2, 0, 0] / 4).astype(int))
        for e in range(300)
    }
    for axis in (0, 1):
        found = {c[axis] for c in corners}
        assert {0, 28} <= found <= set(range(29))
        assert len(found) > 25


def test_erased_pixels_have_the_mean_colour(rows):
    region = np.zeros((40, 60), bool)
    region[10:20, 30:50] = True
    data = images(rows[:1], crop=60, low=60, high=60, flip=False, erased=lambda r: region)
    found, drawn = pixels(data[(0, 0)])[:, :40], read_indexed_image(rows[0]).transpose(2, 0, 1)
    assert {tuple(p) for p in found[:, region].T} == {(10, 20, 30)}
    np.testing.assert_array_equal(found[:, ~region], drawn[:, ~region])
    np.testing.assert_array_equal(pixels(data[(1, 0)])[:, :40], found)  # the second time from memory


def test_the_memory_of_decoded_images_is_bounded(rows, monkeypatch):
    first = rows[0].height * rows[0].width * 3
    monkeypatch.setattr("wsss.training.loading.CACHE_BYTES", first)
    data = images(rows)
    expected = [pixels(images(rows)[(0, k)]) for k in range(5)]
    for _ in range(2):
        for k in range(5):
            np.testing.assert_array_equal(pixels(data[(0, k)]), expected[k])
    assert data._cached <= first


def test_an_image_or_plane_of_another_size_is_refused(rows):
    with pytest.raises(ArtefactError, match=r"p0: cue of \(60, 40\), expected \(40, 60\)"):
        images(rows, planes={"cue": lambda r: np.zeros((60, 40), np.float32)})[(0, 0)]
    Image.fromarray(np.zeros((30, 30, 3), np.uint8)).save(rows[0].image)
    with pytest.raises(ArtefactError, match=r"p0\.png: found \(30, 30\), the index says \(40, 60\)"):
        images(rows)[(0, 0)]


def test_epoch_order(rows):
    def batches(epoch, size, **options):
        order = EpochOrder(images(rows, **options), batch_size=size)
        order.epoch = epoch
        assert len(list(order)) == len(order)
        return list(order)

    assert [len(b) for b in batches(0, 2)] == [2, 2]  # the fifth is dropped
    assert [len(b) for b in batches(0, 8)] == [5]  # unless the batch is the only one
    assert sorted(batches(3, 5)[0]) == [(3, k) for k in range(5)]
    assert batches(3, 5) == batches(3, 5)
    orders = {tuple(k for _, k in batches(e, 5)[0]) for e in range(8)}
    assert len(orders) > 5
    assert batches(3, 5, round=2) != batches(3, 5)
    assert len(EpochOrder(images([]), batch_size=4)) == 0
