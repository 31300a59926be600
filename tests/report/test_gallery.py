"""Which images are followed, and what is shown of them."""

from __future__ import annotations

import base64
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.report.sample_run import MEAN_RGB, make_run
from wsss.files.errors import ArtefactError
from wsss.files.index import ImageIndex
from wsss.stages.report.choice import choose, choose_varied
from wsss.stages.report.gallery import MAX_SIDE, MIN_SIDE, Gallery


def image(uri):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))).convert("RGB")).astype(int)


def test_best_typical_and_worst_are_the_extremes_and_those_at_the_median():
    scores = {f"i{k:02}": k / 20 for k in range(21)}
    chosen = choose(scores, 9)
    assert [i for i, r in chosen if r == "best"] == ["i20", "i19", "i18"]
    assert [i for i, r in chosen if r == "worst"] == ["i00", "i01", "i02"]
    assert [i for i, r in chosen if r == "typical"] == ["i11", "i10", "i09"]


@pytest.mark.parametrize(("images", "count"), [(0, 9), (1, 9), (2, 3), (4, 9), (9, 9), (30, 7), (30, 3)])
def test_no_image_twice_and_as_many_as_asked(images, count):
    chosen = choose({f"i{k}": 0.5 for k in range(images)}, count)
    assert len(chosen) == min(images, count) == len({i for i, _ in chosen})
    assert all(r == "best" for _, r in chosen[:1])


def test_equal_scores_are_ordered_by_name():
    assert choose({"b": 0.5, "a": 0.5, "c": 0.5}, 3) == choose({"c": 0.5, "a": 0.5, "b": 0.5}, 3)


def test_varied_choice_takes_new_classes_before_repeats():
    rows = [("a", (1,)), ("b", (1,)), ("c", (2,)), ("d", (1, 3)), ("e", (2,))]
    assert choose_varied(rows, 4) == ["a", "c", "d", "b"]
    assert choose_varied(rows, 9) == ["a", "c", "d", "b", "e"]
    assert choose_varied([("a", ()), ("b", ())], 2) == ["a", "b"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("run"), worse={"img1": 20, "img3": 4}, full=True)


@pytest.fixture
def gallery(run):
    return Gallery(index=ImageIndex(run.index), plan=run.plan)


def test_the_page_follows_the_method_with_predictions(gallery, run):
    assert gallery.method == "erasing"
    plan = replace(run.plan, methods=["erasing", "cam"])
    assert Gallery(index=ImageIndex(run.index), plan=plan).method == "erasing"


def test_images_are_ranked_by_the_masks_that_were_shifted(gallery):
    trails = gallery.trails(4)
    assert [(t.image_id, t.rank) for t in trails] == [
        ("img0", "best"),
        ("img2", "best"),
        ("img3", "typical"),
        ("img1", "worst"),
    ]
    notes = {t.image_id: next(f.note for f in t.masks if f.caption == "pseudo") for t in trails}
    assert notes["img0"] == "100"
    assert int(notes["img1"]) < int(notes["img3"]) < 100


def test_a_trail_has_every_stage_in_the_order_of_the_workflow(gallery):
    trail = gallery.trails(1)[0]
    assert [(r.title, [f.caption for f in r.figures]) for r in trail.rounds] == [
        ("round 1", ["photo", "scores", "region"]),
        ("round 2", ["erased", "scores", "region"]),
    ]
    assert [f"{f.caption} {f.detail}".strip() for f in trail.masks] == [
        "fused regions",
        "saliency",
        "seed",
        "pseudo cycle 0",
        "prediction plain, cycle 0",
        "prediction psl, cycle 0",
        "pseudo psl, cycle 1",
        "prediction psl, cycle 1",
        "exported from psl, cycle 1",
        "pseudo of cam",
    ]
    assert trail.truth is not None


def test_the_erased_image_hides_round_1s_regions_with_the_mean_colour(gallery):
    trail = gallery.trails(1)[0]
    photo, erased = image(trail.photo.uri), image(trail.rounds[1].figures[0].uri)
    changed = np.abs(photo - erased).sum(axis=2) > 90
    assert changed.sum() > 50
    np.testing.assert_allclose(np.median(erased[changed], axis=0), MEAN_RGB, atol=6)


def test_a_method_that_does_not_erase_sees_the_photograph_in_every_round(run):
    plan = replace(run.plan, kinds={"erasing": "esol"})
    trail = Gallery(index=ImageIndex(run.index), plan=plan).trails(1)[0]
    assert [r.figures[0].caption for r in trail.rounds] == ["photo", "photo"]


def test_validation_images_show_every_segmenter_and_the_reference(gallery):
    trails = gallery.val_trails(3)
    assert {t.image_id for t in trails} == {"img4", "img5"}
    assert [f.detail for f in trails[0].masks] == ["plain, cycle 0", "psl, cycle 0", "psl, cycle 1", "full supervision"]


def test_without_truth_the_first_images_are_shown(tmp_path):
    run = make_run(tmp_path, truth=False)
    gallery = Gallery(index=ImageIndex(run.index), plan=run.plan)
    trails = gallery.trails(3)
    assert [(t.image_id, t.rank) for t in trails] == [("img0", ""), ("img1", ""), ("img2", "")]
    assert all(t.truth is None and all(f.note == "" for f in t.masks) for t in trails)
    assert len(gallery.hero(6)) == 2


def test_absent_files_are_left_out_but_damaged_ones_are_named(tmp_path):
    run = make_run(tmp_path)
    (seed,), (fused,) = (run.plan.find(method="erasing", stage=stage) for stage in ("seed", "fused"))
    # the first round's regions are at their owner, cam; erasing's second round erases what they say
    (claimed,) = run.plan.find(method="erasing", stage="regions", round=1)
    for artefact in (claimed, seed):
        Path(artefact.files[0]).unlink()
    trail = Gallery(index=ImageIndex(run.index), plan=run.plan).trails(1)[0]
    captions = [f.caption for f in trail.rounds[1].figures]
    assert captions == ["photo", "scores", "region"]  # nothing is known to be erased, so nothing is called so
    assert "seed" not in [f.caption for f in trail.masks]
    path = Path(fused.files[0])
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ArtefactError, match=r"fused.*train-0\.h5"):
        Gallery(index=ImageIndex(run.index), plan=run.plan).trails(1)


def test_many_images_get_smaller_images(gallery):
    assert MIN_SIDE <= gallery._side(99) < gallery._side(9) <= gallery._side(1) == MAX_SIDE
