"""Augmented training images: what the draws depend on, and that image and planes stay together."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from wsss.files.errors import ArtefactError
from wsss.files.imaging import Normalisation, read_indexed_image
from wsss.files.index import ImageIndex
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


def test_crops_of_an_image_that_is_no_square(rows):
    """40 x 60 px cropped to 32.

    Rows begin at 0..8, columns at 0..28, and the crop is that piece of the image, or of its mirror image.
    """
    y, x = np.mgrid[:40, :60]
    ramp = np.stack([y * 6, x * 4, y * 3 + x], axis=2).astype(np.uint8)
    Image.fromarray(ramp).save(rows[0].image)
    for flip in (False, True):
        corners, mirrored = set(), 0
        for epoch in range(250):
            found = pixels(images(rows[:1], crop=32, low=60, high=60, flip=flip)[(epoch, 0)]).transpose(1, 2, 0)
            turned = found[0, 1, 1] < found[0, 0, 1]
            whole = ramp[:, ::-1] if turned else ramp
            top, left = int(found[0, 0, 0]) // 6, int(found[0, 0, 1]) // 4
            left = 59 - left if turned else left
            np.testing.assert_array_equal(found, whole[top : top + 32, left : left + 32])
            corners.add((top, left))
            mirrored += turned
        assert {top for top, _ in corners} == set(range(9))
        assert {0, 28} <= {left for _, left in corners} <= set(range(29))
        assert 80 < mirrored < 170 if flip else mirrored == 0


def test_the_longest_side_is_drawn_between_the_limits(rows):
    """A mask of ones shows how large the image became; 40 x 60 px keep their shape."""
    ones = {"mask": lambda r: np.ones((r.height, r.width), np.uint8)}
    sides = []
    for epoch in range(80):
        mask = images(rows[:1], crop=80, low=32, high=72, planes=ones)[(epoch, 0)]["mask"].numpy() == 1
        height, width = int(mask[:, 0].sum()), int(mask[0].sum())
        assert mask.sum() == height * width
        assert abs(height - width * 40 / 60) <= 1
        sides.append(width)
    assert 32 <= min(sides) < 36
    assert 68 < max(sides) <= 72


def test_a_resumed_epoch_goes_on_where_it_stopped_and_each_process_loads_its_rows(rows):
    def order(**given):
        out = EpochOrder(images(rows * 3), batch_size=4, **given)
        out.epoch = 2
        return out

    whole = list(order())
    assert [len(b) for b in whole] == [4, 4, 4]
    assert sorted({key for batch in whole for key in batch}) == sorted(
        key for batch in whole for key in batch
    )  # none twice
    assert {epoch for batch in whole for epoch, _ in batch} == {2}
    later = order()
    later.begin = 2
    assert list(later) == whole[2:]
    halves = [list(order(rows=lambda size, k=k: slice(k * size // 2, (k + 1) * size // 2))) for k in (0, 1)]
    assert [a + b for a, b in zip(*halves, strict=True)] == whole


def test_processes_share_the_memory_of_decoded_images(rows, monkeypatch):
    size = rows[0].height * rows[0].width * 3
    monkeypatch.setattr("wsss.training.loading.CACHE_BYTES", 2 * size)
    for processes, kept in ((1, 2), (2, 1), (3, 0)):
        data = images([rows[0]] * 3)
        data.processes = processes
        for k in range(3):
            data[(0, k)]
        assert len(data._cache) == kept


def test_loader_processes_share_the_memory_of_decoded_images(rows, monkeypatch):
    size = rows[0].height * rows[0].width * 3
    monkeypatch.setattr("wsss.training.loading.CACHE_BYTES", 2 * size)
    for loaders, kept in ((1, 2), (2, 1), (3, 0)):
        data = images([rows[0]] * 3)
        monkeypatch.setattr(
            torch.utils.data, "get_worker_info", lambda loaders=loaders: SimpleNamespace(num_workers=loaders)
        )
        for k in range(3):
            data[(0, k)]
        assert len(data._cache) == kept


def test_a_turned_plane_is_refused(rows):
    for dtype in (np.uint8, np.float32):
        with pytest.raises(ArtefactError, match=r"mask of \(60, 40\), expected \(40, 60\)"):
            images(rows, planes={"mask": lambda r, dtype=dtype: np.zeros((r.width, r.height), dtype)})[(0, 0)]
