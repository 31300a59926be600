"""Reading images of every common form, resizing, erasing."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from wsss.files import imaging
from wsss.files.errors import ArtefactError
from wsss.files.imaging import (
    VOC_COLOURS,
    Normalisation,
    erase,
    normalise,
    read_image,
    read_indexed_image,
    read_mask,
    resize_image,
    resize_maps,
    resize_mask,
    save_mask,
)
from wsss.files.index import ImageRow

RED, GREEN = (255, 0, 0), (0, 255, 0)


def two_halves(height=4, width=6):
    """Left red, right green."""
    image_u8 = np.zeros((height, width, 3), np.uint8)
    image_u8[:, : width // 2], image_u8[:, width // 2 :] = RED, GREEN
    return image_u8


def test_sizes_are_height_width(tmp_path):
    Image.fromarray(two_halves(4, 6)).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), two_halves(4, 6))
    assert resize_image(two_halves(), size=(7, 3)).shape == (7, 3, 3)
    assert resize_maps(np.zeros((2, 4, 6), np.float32), size=(7, 3)).shape == (2, 7, 3)
    assert resize_mask(np.zeros((4, 6), np.uint8), size=(7, 3)).shape == (7, 3)


@pytest.mark.parametrize(
    ("label", "turned"),
    [
        (3, lambda a: a[::-1, ::-1]),
        (6, lambda a: np.rot90(a, -1)),
        (8, lambda a: np.rot90(a)),
        (2, lambda a: a[:, ::-1]),
    ],
)
def test_exif_rotation_is_applied(tmp_path, label, turned):
    exif = Image.Exif()
    exif[274] = label
    Image.fromarray(two_halves()).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), turned(two_halves()))


def test_grey_is_repeated(tmp_path):
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
    Image.fromarray(grey).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), np.repeat(grey[..., None], 3, axis=2))


def test_transparency_is_laid_on_white(tmp_path):
    rgba = np.zeros((1, 3, 4), np.uint8)  # clear black, half-clear black, opaque black
    rgba[0, :, 3] = [0, 128, 255]
    Image.fromarray(rgba).save(tmp_path / "a.png")
    found = read_image(tmp_path / "a.png")
    assert found.shape == (1, 3, 3)
    np.testing.assert_array_equal(found[0, :, 0], [255, 127, 0])


def test_palettes_are_looked_up(tmp_path):
    save_mask(tmp_path / "a.png", np.array([[0, 1, 2]], np.uint8))
    np.testing.assert_array_equal(read_image(tmp_path / "a.png")[0], VOC_COLOURS[:3])


def test_a_transparent_palette_colour_is_white(tmp_path):
    image = Image.fromarray(np.array([[0, 1]], np.uint8), mode="P")
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.save(tmp_path / "a.gif", transparency=0)
    np.testing.assert_array_equal(read_image(tmp_path / "a.gif")[0], [[255, 255, 255], [40, 50, 60]])


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "L"])
def test_transparency_in_strips_is_that_of_the_whole(tmp_path, mode, monkeypatch):
    pixels = np.random.default_rng(1).integers(0, 256, (23, 9, 4)).astype(np.uint8)
    image = Image.fromarray(pixels).convert(mode)
    image.save(tmp_path / "a.png", **({"transparency": 7} if mode in "PL" else {}))
    with Image.open(tmp_path / "a.png") as again:
        rgba = again.convert("RGBA")
        expected = np.asarray(
            Image.alpha_composite(Image.new("RGBA", rgba.size, (255, 255, 255, 255)), rgba).convert("RGB")
        )
    for strip in (1, 5, 23, 256):
        monkeypatch.setattr(imaging, "STRIP", strip)
        np.testing.assert_array_equal(read_image(tmp_path / "a.png"), expected)


def test_cmyk_becomes_rgb(tmp_path):
    cmyk = Image.new("CMYK", (8, 8), (0, 255, 255, 0))  # no cyan, full magenta and yellow: red
    cmyk.save(tmp_path / "a.jpg", quality=95)
    assert np.abs(read_image(tmp_path / "a.jpg").astype(int) - RED).max() < 12


def test_sixteen_bits_keep_their_upper_eight(tmp_path):
    levels = np.array([[0, 255, 256, 65535]], np.uint16)
    Image.fromarray(levels).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png")[0, :, 0], [0, 0, 1, 255])
    Image.fromarray(np.array([[0, 200]], np.int32)).save(tmp_path / "b.tif")  # mode I within 8 bits
    np.testing.assert_array_equal(read_image(tmp_path / "b.tif")[0, :, 2], [0, 200])


def test_float_images_are_refused(tmp_path):
    Image.fromarray(np.array([[0.0, 1.0]], np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(ArtefactError, match=r"a\.tif.*8 or 16 bits"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("read", [read_image, read_mask])
def test_bad_files_are_named(tmp_path, read):
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (40, 40), dtype=np.uint8)).save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:900])
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "folder.png").mkdir()
    for name in ("cut", "empty", "text", "folder", "absent"):
        with pytest.raises(ArtefactError, match=f"{name}.png"):
            read(tmp_path / f"{name}.png")


def test_masks_are_indices(tmp_path):
    mask = np.array([[0, 1, 20], [255, 7, 0]], np.uint8)
    save_mask(tmp_path / "palette.png", mask)
    Image.fromarray(mask).save(tmp_path / "grey.png")
    for name in ("palette", "grey"):
        np.testing.assert_array_equal(read_mask(tmp_path / f"{name}.png"), mask)
    Image.fromarray(mask == 1).save(tmp_path / "bits.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "bits.png"), mask == 1)


def test_a_coloured_mask_is_refused(tmp_path):
    Image.fromarray(two_halves()).save(tmp_path / "a.png")
    with pytest.raises(ArtefactError, match=r"a\.png.*found mode RGB"):
        read_mask(tmp_path / "a.png")


def test_voc_colours():
    expected = [
        (0, 0, 0),
        (128, 0, 0),
        (0, 128, 0),
        (128, 128, 0),
        (0, 0, 128),
        (128, 0, 128),
        (0, 128, 128),
        (128, 128, 128),
        (64, 0, 0),
    ]
    np.testing.assert_array_equal(VOC_COLOURS[:9], expected)
    assert tuple(VOC_COLOURS[20]) == (0, 64, 128)
    assert tuple(VOC_COLOURS[255]) == (224, 224, 192)


def test_normalise():
    image_u8 = np.array([[[127, 0, 255]]], np.uint8)
    found = normalise(image_u8, Normalisation(mean=(127, 10, 5), std=(128, 2, 50)))
    assert found.dtype == np.float32
    assert found.flags.c_contiguous
    np.testing.assert_allclose(found[:, 0, 0], [0, -5, 5])


@pytest.mark.parametrize("size", [(13, 29), (5, 3), (7, 11), (2, 40), (64, 1)])
def test_resized_maps_equal_torch(size):
    maps = np.random.default_rng(0).normal(size=(3, 7, 11)).astype(np.float32)
    before = maps.copy()
    expected = F.interpolate(torch.from_numpy(maps)[None], size, mode="bilinear", align_corners=False)[0].numpy()
    found = resize_maps(maps, size=size)
    np.testing.assert_allclose(found, expected, atol=2e-6)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(maps, before)


def test_no_maps_stay_no_maps():
    assert resize_maps(np.zeros((0, 3, 4), np.float16), size=(6, 8)).shape == (0, 6, 8)


def test_resized_masks_hold_old_values_only():
    mask = np.array([[1, 255], [9, 0]], np.uint8)
    np.testing.assert_array_equal(resize_mask(mask, size=(4, 6)), mask.repeat(2, 0).repeat(3, 1))


def test_erase_fills_a_copy():
    image_u8 = two_halves()
    region = np.zeros((4, 6), bool)
    region[1, 2] = True
    found = erase(image_u8, region, colour=np.array([10.4, 20.6, 300.0], np.float32))
    assert tuple(found[1, 2]) == (10, 21, 255)
    np.testing.assert_array_equal(image_u8, two_halves())
    np.testing.assert_array_equal(found[~region], image_u8[~region])


# ---------------------------------------------------------------- numbers of the field, and edges of the rules


def test_the_normalisation_of_imagenet_is_the_published_one():
    """Means 0.485, 0.456, 0.406 and deviations 0.229, 0.224, 0.225 of red, green, blue in 0..1."""
    np.testing.assert_allclose(imaging.IMAGENET.mean, np.multiply(255, [0.485, 0.456, 0.406]))
    np.testing.assert_allclose(imaging.IMAGENET.std, np.multiply(255, [0.229, 0.224, 0.225]))


def test_images_and_masks_of_files_have_red_first(tmp_path):
    Image.fromarray(np.array([[[250, 100, 10]]], np.uint8)).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png")[0, 0].tolist() == [250, 100, 10]
    found = normalise(read_image(tmp_path / "a.png"), Normalisation(mean=(50, 10, 0), std=(100, 30, 5)))
    np.testing.assert_allclose(found[:, 0, 0], [2, 3, 2])


def test_a_networks_input_has_rows_before_columns():
    image_u8 = np.random.default_rng(0).integers(0, 256, (2, 5, 3), dtype=np.uint8)
    found = normalise(image_u8, Normalisation(mean=(0, 0, 0), std=(1, 1, 1)))
    assert found.shape == (3, 2, 5)
    np.testing.assert_array_equal(found[2], image_u8[..., 2])


def test_an_image_that_was_turned_after_indexing_is_refused(tmp_path):
    Image.fromarray(two_halves(4, 6)).save(tmp_path / "a.png")
    row = {
        "image_id": "a",
        "split": "train",
        "measured": False,
        "labels": np.zeros(1, np.uint8),
        "image": tmp_path / "a.png",
    }
    row |= {"mask": None, "instances": None, "context": None}
    np.testing.assert_array_equal(read_indexed_image(ImageRow(**row, height=4, width=6)), two_halves(4, 6))
    with pytest.raises(ArtefactError, match=r"a\.png: found \(4, 6\), the index says \(6, 4\)"):
        read_indexed_image(ImageRow(**row, height=6, width=4))


def test_a_level_of_255_is_no_sign_of_16_bits(tmp_path):
    for levels, expected in (([0, 255], [0, 255]), ([0, 256], [0, 1])):
        Image.fromarray(np.array([levels], np.int32)).save(
            tmp_path / "a.tif"
        )  # mode I, which does not say how many bits are used
        assert read_image(tmp_path / "a.tif")[0, :, 0].tolist() == expected


def test_an_image_is_averaged_over_areas_where_it_shrinks_to_less_than_half():
    """Stripes of 0, 0, 240 down: averaged each third row is 80; bilinear takes the middle row of three, 0."""
    stripes = np.zeros((12, 4, 3), np.uint8)
    stripes[2::3] = (240, 120, 60)
    assert resize_image(stripes, size=(4, 4)).tolist() == [[[80, 40, 20]] * 4] * 4


def test_an_image_that_shrinks_to_no_less_than_half_is_bilinear():
    """Two thirds of the rows 0, 100, 0: bilinear takes 1/4 of the middle one; areas would take 1/3."""
    ramp = np.zeros((3, 2, 3), np.uint8)
    ramp[1] = 100
    assert resize_image(ramp, size=(2, 2))[:, 0, 0].tolist() == [25, 25]
    assert cv2.resize(ramp, (2, 2), interpolation=cv2.INTER_AREA)[:, 0, 0].tolist() != [25, 25]


def slow_bilinear(plane, height, width):
    """Half-pixel centres, the border repeated."""
    out = np.empty((height, width))
    for y, x in np.ndindex(height, width):
        at = [
            min(max((i + 0.5) * n / m - 0.5, 0), n - 1)
            for i, n, m in ((y, plane.shape[0], height), (x, plane.shape[1], width))
        ]
        top, left = (int(a) for a in at)
        bottom, right = min(top + 1, plane.shape[0] - 1), min(left + 1, plane.shape[1] - 1)
        v, u = at[0] - top, at[1] - left
        out[y, x] = (1 - v) * ((1 - u) * plane[top, left] + u * plane[top, right]) + v * (
            (1 - u) * plane[bottom, left] + u * plane[bottom, right]
        )
    return out


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32 - 1), st.integers(1, 7), st.integers(1, 7), st.integers(1, 15), st.integers(1, 15))
def test_maps_of_any_size_are_resized_as_by_a_plain_loop(seed, height, width, new_height, new_width):
    maps = np.random.default_rng(seed).normal(size=(2, height, width)).astype(np.float32)
    found = resize_maps(maps, size=(new_height, new_width))
    np.testing.assert_allclose(found, [slow_bilinear(plane, new_height, new_width) for plane in maps], atol=1e-5)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(1, 9), st.integers(1, 20), st.integers(1, 20))
def test_a_resized_mask_takes_the_pixel_whose_square_holds_the_centre(seed, height, width, new_height, new_width):
    mask = np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)
    found = resize_mask(mask, size=(new_height, new_width))
    assert found.shape == (new_height, new_width)
    for y, x in np.ndindex(new_height, new_width):
        (row, on_edge), (column, on_side) = (
            divmod((2 * y + 1) * height, 2 * new_height),
            divmod((2 * x + 1) * width, 2 * new_width),
        )
        assert found[y, x] == mask[row, column] or not (
            on_edge and on_side
        )  # a centre on the line between two pixels may take either


def test_an_image_that_grows_is_bilinear():
    image_u8 = np.random.default_rng(0).integers(0, 256, (3, 5, 3), dtype=np.uint8)
    expected = np.stack([slow_bilinear(image_u8[..., k].astype(float), 7, 8) for k in range(3)], -1)
    assert (
        np.abs(resize_image(image_u8, size=(7, 8)) - expected).max() < 1.01
    )  # rounded, in OpenCV's fixed-point numbers


def test_erasing_rounds_and_limits_the_colour():
    image_u8 = np.full((2, 3, 3), 9, np.uint8)
    found = erase(image_u8, np.ones((2, 3), bool), colour=np.array([-5.0, 99.6, 260.0], np.float32))
    assert found[1, 2].tolist() == [0, 100, 255]
