"""The embedded data set: deterministic, and its truth agrees with itself and with what it promises."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from wsss.settings.sections import ScenesSection
from wsss.stages.dataset.drawing import backdrops, layout, painting
from wsss.stages.dataset.drawing.layout import COOCCURRING, MIN_VISIBLE_PX
from wsss.stages.dataset.drawing.objects import CLASSES, class_names
from wsss.stages.dataset.drawing.scene import Scene, _track, draw_scene
from wsss.stages.dataset.drawing.shapes import Layer, ellipse
from wsss.stages.dataset.drawing.textures import PATTERNS, random_coat
from wsss.stages.dataset.drawing.vehicles import GLASS, STEEL, TYRE
from wsss.stages.dataset.drawing.writing import draw_scenes

SIDES = {"min_side": 96, "max_side": 128}
TRAIN = class_names().index(COOCCURRING) + 1


@pytest.fixture(scope="module")
def drawn() -> list[Scene]:
    return [draw_scene(0, "train", number, **SIDES) for number in range(1, 91)]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, object]]]:
    folder = tmp_path_factory.mktemp("scenes")
    return folder, draw_scenes(folder, settings=ScenesSection(train=5, val=2, **SIDES))


def test_class_names_are_ids_in_order() -> None:
    names = class_names()
    assert names == list(CLASSES)
    assert len(names) == len(set(names)) >= 5
    assert COOCCURRING in names


def test_equal_arguments_give_equal_scenes_whatever_was_drawn_before() -> None:
    first = draw_scene(3, "val", 7, **SIDES)
    draw_scene(3, "val", 8, **SIDES)
    np.random.default_rng(0)
    again = draw_scene(3, "val", 7, **SIDES)
    for plane in ("image_u8", "mask", "instances", "context"):
        np.testing.assert_array_equal(getattr(first, plane), getattr(again, plane))
    assert first.labels == again.labels


@pytest.mark.parametrize("other", [(4, "val", 7), (3, "train", 7), (3, "val", 8)])
def test_each_argument_changes_the_scene(other: tuple[int, str, int]) -> None:
    one, two = draw_scene(3, "val", 7, **SIDES).image_u8, draw_scene(*other, **SIDES).image_u8
    assert one.shape != two.shape or not np.array_equal(one, two)


def test_labels_are_the_classes_in_the_mask(drawn: list[Scene]) -> None:
    names = class_names()
    for scene in drawn:
        assert scene.labels == [names[k - 1] for k in np.unique(scene.mask) if k > 0]
        assert 1 <= len(scene.labels) <= 3


def test_every_object_has_one_class_and_enough_pixels(drawn: list[Scene]) -> None:
    for scene in drawn:
        ids = np.unique(scene.instances)
        ids = ids[ids > 0]
        assert ids.tolist() == list(range(1, len(ids) + 1))
        assert len(ids) <= 4
        np.testing.assert_array_equal(scene.instances > 0, scene.mask > 0)
        for k in ids:
            assert len(np.unique(scene.mask[scene.instances == k])) == 1
            assert (scene.instances == k).sum() >= MIN_VISIBLE_PX
        assert len(np.unique(scene.instances[scene.mask == TRAIN])) <= 1


def test_context_is_railway_only_and_never_under_an_object(drawn: list[Scene]) -> None:
    assert any(scene.context.any() for scene in drawn)
    for scene in drawn:
        assert set(np.unique(scene.context)) <= {0, 1}
        assert not (scene.context[scene.mask > 0]).any()


def test_railway_goes_with_the_train() -> None:
    # Only the layout is drawn: 400 images' labels and railways in a moment.
    with_train, without = [], []
    for number in range(1, 401):
        rng = np.random.default_rng(number)
        where = layout.surroundings(rng, **SIDES)
        things = layout.lay_out(rng, number=number, where=where)
        has_train = any(thing.name == COOCCURRING for thing in things)
        (with_train if has_train else without).append(_track(rng, things, where=where) is not None)
    assert 0.9 <= np.mean(with_train) <= 0.99
    assert np.mean(without) <= 0.05


def test_cooccurrence_in_the_images(drawn: list[Scene]) -> None:
    with_train = [scene.context.any() for scene in drawn if COOCCURRING in scene.labels]
    without = [scene.context.any() for scene in drawn if COOCCURRING not in scene.labels]
    assert len(with_train) > 15
    assert np.mean(with_train) > 0.85
    assert np.mean(without) < 0.1


def test_classes_are_roughly_even(drawn: list[Scene]) -> None:
    counts = np.array([sum(name in scene.labels for scene in drawn) for name in class_names()])
    assert counts.min() >= 0.6 * counts.mean()
    assert counts.max() <= 1.5 * counts.mean()


def test_sizes_vary_within_bounds(drawn: list[Scene]) -> None:
    sides = np.array([scene.mask.shape for scene in drawn])
    assert sides.min() >= SIDES["min_side"]
    assert sides.max() <= SIDES["max_side"]
    assert len({tuple(s) for s in sides.tolist()}) > 60
    for scene in drawn:
        assert scene.image_u8.shape == (*scene.mask.shape, 3)
        assert {p.dtype for p in (scene.image_u8, scene.mask, scene.instances, scene.context)} == {np.dtype(np.uint8)}
        assert scene.image_u8.std() > 8


def test_smallest_images_still_have_labels() -> None:
    for number in range(1, 25):
        scene = draw_scene(1, "train", number, min_side=64, max_side=64)
        assert scene.labels
        assert scene.mask.shape == (64, 64)


# ---------------------------------------------------------------- files


def test_files_hold_what_was_drawn(written: tuple[Path, list[dict[str, object]]]) -> None:
    folder, rows = written
    assert [row["image_id"] for row in rows] == [
        "train_0001",
        "train_0002",
        "train_0003",
        "train_0004",
        "train_0005",
        "val_0001",
        "val_0002",
    ]
    for row in rows:
        scene = draw_scene(0, str(row["split"]), int(str(row["image_id"])[-4:]), **SIDES)
        assert (row["height"], row["width"]) == scene.mask.shape
        assert row["labels"] == scene.labels
        for key, plane in (
            ("image", scene.image_u8),
            ("mask", scene.mask),
            ("instances", scene.instances),
            ("context", scene.context),
        ):
            np.testing.assert_array_equal(np.asarray(Image.open(folder / str(row[key]))), plane)


def test_bytes_do_not_depend_on_how_many_are_drawn(
    written: tuple[Path, list[dict[str, object]]], tmp_path: Path
) -> None:
    folder, _ = written
    fewer = draw_scenes(tmp_path, settings=ScenesSection(train=4, val=2, **SIDES))
    for row in fewer:
        for key in ("image", "mask", "instances", "context"):
            assert (tmp_path / str(row[key])).read_bytes() == (folder / str(row[key])).read_bytes()


def test_mask_files_have_the_voc_colours(written: tuple[Path, list[dict[str, object]]]) -> None:
    folder, rows = written
    image = Image.open(folder / str(rows[0]["mask"]))
    assert image.mode == "P"
    palette = image.getpalette()
    assert palette is not None
    assert [tuple(palette[3 * k : 3 * k + 3]) for k in (0, 1, 2, 3, 8, 15, 20, 255)] == [
        (0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (64, 0, 0), (192, 128, 128), (0, 64, 128), (224, 224, 192),
    ]  # fmt: skip


# ---------------------------------------------------------------- painting


def _disc(x: float, y: float, radius: float) -> painting.Placed:
    layer = Layer(polygons=[ellipse(0, 0, 1, 1)], paint=(200, 30, 40), relief=0.5, rim=True)
    middle = np.array([x, y])
    return painting.Placed(
        name="cat",
        layers=[layer],
        frame=np.array([[radius, 0, x], [0, radius, y]]),
        low=middle - radius,
        high=middle + radius,
        scale=radius,
        foot=y + radius,
        slope=0.0,
    )


@pytest.mark.parametrize(("x", "y"), [(30.0, 20.0), (30.4, 20.7), (3.0, 20.0), (58.2, 39.1)])
def test_mask_is_the_drawn_disc(x: float, y: float) -> None:
    size, radius = (40, 60), 9.0
    canvas, plane = np.full((120, 180, 3), 90, np.uint8), np.zeros((120, 180), np.uint8)
    painting.paint(canvas, [(plane, 5)], _disc(x, y, radius), light=1.0)
    mask = painting.image_plane(plane)
    rows, columns = np.mgrid[:40, :60] + 0.5
    distance = np.hypot(rows - y, columns - x)
    assert (mask[distance < radius - 0.4] == 5).all()
    assert (mask[distance > radius + 0.4] == 0).all()
    np.testing.assert_array_equal((canvas != 90).any(axis=2), plane > 0)
    inside, area = painting.silhouette(_disc(x, y, radius), size=size)
    np.testing.assert_array_equal(inside, mask > 0)
    assert area == pytest.approx(np.pi * radius**2, rel=0.04)


def test_what_is_hidden_is_left_out() -> None:
    back, front, side = _disc(20, 20, 8), _disc(21, 20, 9), _disc(45, 20, 8)
    assert layout._visible([back, front, side], size=(40, 60)) == [front, side]
    outside = _disc(-6, 20, 8)
    assert layout._visible([outside, side], size=(40, 60)) == [side]
    assert layout._visible([_disc(20, 20, 3), side], size=(40, 60)) == [side]


def test_clutter_never_leaves_an_image_without_an_object() -> None:
    only = _disc(20, 20, 8)
    clutter = _disc(20, 20, 12)
    object.__setattr__(clutter, "name", "")
    assert layout._visible([only, clutter], size=(40, 60)) == [only]


def test_shadow_only_darkens_and_falls_away_from_the_light() -> None:
    canvas = np.full((120, 180, 3), 200, np.uint8)
    painting.cast_shadow(canvas, _disc(30, 20, 6), light=1.0, strength=0.5)
    assert canvas.max() == 200
    assert 95 <= canvas.min() < 150
    assert np.nonzero(canvas[..., 0] < 190)[1].mean() < 90


# ---------------------------------------------------------------- objects


def test_coats_know_nothing_of_classes() -> None:
    drawn = [random_coat(np.random.default_rng(k)) for k in range(60)]
    assert {coat.pattern for coat in drawn} == set(PATTERNS)
    u, v = np.meshgrid(np.linspace(-0.5, 0.5, 24, dtype=np.float32), np.linspace(-1, 0, 20, dtype=np.float32))
    for coat in drawn[:20]:
        colours = coat.colours(u, v)
        assert colours.shape == (20, 24, 3)
        assert colours.dtype == np.float32
        assert np.isfinite(colours).all()


@pytest.mark.parametrize("name", list(CLASSES))
def test_own_part_is_small_and_body_is_coat(name: str) -> None:
    """The part in colours of its own, as area of the silhouette: under a third; the coat covers most of the body."""
    rng = np.random.default_rng(5)
    coat = random_coat(rng)
    layers = CLASSES[name](rng, coat)
    area = np.zeros((400, 400), np.uint8)
    for layer in layers:
        for shape in layer.polygons:
            cv2.fillPoly(
                area,
                [(shape * 300 + (200, 340)).round().astype(np.int32)],
                1 if layer.paint is coat else 3 if layer.paint in _SHARED else 2,
            )
    covered = (area > 0).sum()
    assert 0.04 <= (area == 2).sum() / covered <= 0.33
    assert (area == 1).sum() / covered >= 0.45


_SHARED = (GLASS, TYRE, STEEL)


def test_backdrops_of_all_kinds_fill_the_canvas() -> None:
    for ground in backdrops.GROUNDS:
        for hour, horizon in (("day", 0), ("night", 9)):
            canvas = backdrops.backdrop(
                np.random.default_rng(1), size=(33, 40), horizon=horizon, ground=ground, hour=hour, unit=3
            )
            assert canvas.shape == (99, 120, 3)
            assert canvas.dtype == np.uint8
            assert canvas.std(axis=(0, 1)).min() > 1
