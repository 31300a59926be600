"""Proposals by hierarchical watershed."""

from __future__ import annotations

import sys

import higra as hg
import numpy as np

from wsss.stages.evaluate.instance_metrics import overlap_matrix
from wsss.stages.instances.watershed import watershed_proposals

SETTINGS = {"smoothings": [0.0, 1.0], "count": 40, "min_area": 0.005, "max_area": 0.85}


def squares():
    """Two coloured squares on noisy grey, and their masks."""
    draw = np.random.default_rng(0)
    image_u8 = draw.integers(110, 118, (40, 60, 3)).astype(np.uint8)
    masks = np.zeros((2, 40, 60), bool)
    masks[0, 5:20, 8:25] = masks[1, 15:35, 35:50] = True
    image_u8[masks[0]], image_u8[masks[1]] = (200, 40, 40), (30, 60, 190)
    return image_u8, masks


def test_it_finds_what_stands_out():
    image_u8, truth = squares()
    before = image_u8.copy()
    masks, values = watershed_proposals(image_u8, **SETTINGS)
    assert overlap_matrix(truth, masks).max(1).min() > 0.9
    assert overlap_matrix(truth, masks[:10]).max(1).min() > 0.9  # and ranks it high
    assert (np.diff(values) <= 0).all()
    assert 0 <= values.min() <= values.max() <= 1
    np.testing.assert_array_equal(image_u8, before)


def test_bounds_and_repeats():
    image_u8, _ = squares()
    masks, values = watershed_proposals(image_u8, **SETTINGS)
    areas = masks.mean((1, 2))
    assert len(masks) == len(values) <= 40
    assert areas.min() >= 0.005
    assert areas.max() <= 0.85
    assert len({m.tobytes() for m in masks}) == len(masks)
    again, _ = watershed_proposals(image_u8, **SETTINGS)
    np.testing.assert_array_equal(masks, again)
    assert len(watershed_proposals(image_u8, **{**SETTINGS, "count": 3})[0]) == 3


def test_a_flat_or_tiny_image_has_few_or_none():
    for shape in ((20, 20, 3), (2, 2, 3), (1, 1, 3), (9, 1, 3)):
        masks, values = watershed_proposals(np.full(shape, 127, np.uint8), **SETTINGS)
        assert masks.shape == (len(values), *shape[:2])


def test_other_hierarchies_give_other_regions():
    image_u8, truth = squares()
    by_area = watershed_proposals(image_u8, **SETTINGS)[0]
    np.testing.assert_array_equal(
        watershed_proposals(image_u8, **SETTINGS, hierarchy=hg.watershed_hierarchy_by_area)[0], by_area
    )
    by_volume = watershed_proposals(image_u8, **SETTINGS, hierarchy=hg.watershed_hierarchy_by_volume)[0]
    assert overlap_matrix(truth, by_volume).max(1).min() > 0.9
    assert {m.tobytes() for m in by_volume} != {m.tobytes() for m in by_area}


def test_the_comparison_of_proposals(monkeypatch, capsys):
    from benchmarks import bench_proposals

    monkeypatch.setattr("sys.argv", ["bench_proposals.py", "--images", "1"])
    monkeypatch.setitem(sys.modules, "skimage.segmentation", None)
    bench_proposals.main()
    printed = capsys.readouterr().out
    assert "left out: scikit-image cannot be imported" in printed
    rows = [line.split(" | ") for line in printed.splitlines() if line.startswith("| ")]
    assert {len(row) for row in rows} == {6}
    assert float(rows[1][2]) > 0.3  # the default finds something
    assert [r[0] for r in rows[1:]] == [f"| {name}" for name in bench_proposals.sources()]


def test_groups_of_several_scales_are_masks_of_legal_size_and_none_twice():
    from benchmarks.bench_proposals import of_groups

    def grouping(
        image_u8, *, scale, sigma, min_size
    ):  # two halves at each scale, and one pixel cut out of the left one at the second
        labels = np.repeat([[0] * 30 + [1] * 30], 40, axis=0)
        labels[0, 0] = 2 if scale > 1 else 0
        return labels

    image_u8, _ = squares()
    assert sorted(int(m.sum()) for m in of_groups(image_u8, grouping=grouping, scales=(1, 2, 3))) == [1199, 1200, 1200]


def test_best_overlaps_are_those_of_the_evaluation():
    from benchmarks.bench_proposals import best_overlaps, of_hierarchies
    from wsss.stages.dataset.drawing.scene import draw_scene

    scene = draw_scene(0, "train", 3, min_side=64, max_side=80)
    masks = of_hierarchies(scene.image_u8)
    objects = np.stack([scene.instances == k for k in range(1, scene.instances.max() + 1)])
    np.testing.assert_allclose(best_overlaps(scene, masks), overlap_matrix(objects, masks).max(1))
    assert best_overlaps(scene, masks[:0]).tolist() == [0.0] * len(objects)
