"""Instance metrics: hand-made precision-recall cases, and pycocotools where it counts the same."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from wsss.files.store import MapRecord
from wsss.stages.evaluate.instance_metrics import (
    POINTS,
    InstanceTally,
    average_precision,
    class_mean,
    match,
    overlap_matrix,
    pointing_hits,
    precision_recall,
    response_quality,
)
from wsss.stages.evaluate.measure_instances import PeakTally


def strip(*ranges, width=10):
    """(N, 1, width) bool masks of column ranges."""
    masks = np.zeros((len(ranges), 1, width), bool)
    for mask, (start, stop) in zip(masks, ranges, strict=True):
        mask[0, start:stop] = True
    return masks


def test_overlap_with_and_without_void():
    a, b = strip((0, 4), (0, 0)), strip((2, 6), (0, 4), (0, 0))
    np.testing.assert_allclose(overlap_matrix(a, b), [[2 / 6, 1, 0], [0, 0, 0]])
    void = np.zeros((1, 10), bool)
    void[0, 4:] = True
    np.testing.assert_allclose(overlap_matrix(a, b, void=void), [[2 / 4, 1, 0], [0, 0, 0]])


def test_a_true_instance_is_taken_once_by_the_best_score():
    iou = np.array([[0.6, 0.0], [0.9, 0.55], [0.8, 0.0]])
    scores = np.array([0.9, 0.8, 0.7])
    # the second takes the free instance, although it overlaps the other more
    assert match(iou, scores, threshold=0.5).tolist() == [True, True, False]
    assert match(iou, scores, threshold=0.6).tolist() == [True, False, False]  # exactly the threshold is enough
    assert match(iou, scores[::-1], threshold=0.5).tolist() == [False, True, True]
    assert match(iou[:, :0], scores, threshold=0.5).tolist() == [False] * 3


def test_a_hand_made_curve():
    """Right, wrong, right of 4 true instances: precision 1, 1/2, 2/3 at recall 1/4, 1/4, 1/2.

    The envelope at the last step is 2/3.
    """
    precision, recall = precision_recall(np.array([True, True, False]), np.array([0.9, 0.5, 0.7]), truths=4)
    np.testing.assert_allclose(precision, [1, 1 / 2, 2 / 3])
    np.testing.assert_allclose(recall, [1 / 4, 1 / 4, 1 / 2])
    assert average_precision(precision, recall) == pytest.approx(1 / 4 + 1 / 4 * 2 / 3)
    assert average_precision(precision, recall, points=POINTS) == pytest.approx((26 + 25 * 2 / 3) / 101)
    assert (
        average_precision(np.zeros(0), np.zeros(0)) == average_precision(np.zeros(0), np.zeros(0), points=POINTS) == 0
    )


def test_perfect_and_empty_images():
    tally = InstanceTally()
    truth = strip((0, 3), (5, 8))
    none = strip()
    tally.add(truth, np.array([1, 2]), np.array([0.5, 0.1]), truth=truth, truth_class_ids=np.array([1, 2]))
    assert tally.average_precisions(0.75) == {1: 1.0, 2: 1.0}
    tally.add(none, np.zeros(0, int), np.zeros(0), truth=truth, truth_class_ids=np.array([1, 1]))
    assert tally.average_precisions(0.75) == {1: pytest.approx(1 / 3), 2: 1.0}
    assert {c: v.tolist() for c, v in tally.best_overlaps().items()} == {1: [1.0, 0.0, 0.0], 2: [1.0]}
    tally.add(truth[:1], np.array([3]), np.array([0.9]), truth=none, truth_class_ids=np.zeros(0, int))
    assert tally.classes == [1, 2]  # a class without truth is not averaged
    assert class_mean(tally.average_precisions(0.5)) == pytest.approx((1 / 3 + 1) / 2)


def test_a_wrong_class_is_no_hit():
    tally, truth = InstanceTally(), strip((0, 3))
    tally.add(truth, np.array([2]), np.array([0.5]), truth=truth, truth_class_ids=np.array([1]))
    assert tally.average_precisions(0.25) == {1: 0.0}
    assert tally.best_overlaps()[1].tolist() == [0.0]


def random_images(count=12, classes=3):
    """Boxes as truth, and shifted, missing and additional ones as detections."""
    draw = np.random.default_rng(3)
    for _ in range(count):
        truth, found, truth_ids, found_ids = [], [], [], []
        for _ in range(draw.integers(1, 5)):
            y, x, h, w = draw.integers(1, 12, 4)
            c = int(draw.integers(1, classes + 1))
            mask = np.zeros((30, 30), bool)
            mask[y : y + h, x : x + w] = True
            truth.append(mask)
            truth_ids.append(c)
            for _ in range(draw.integers(0, 3)):
                dy, dx = draw.integers(-2, 3, 2)
                found.append(np.roll(mask, (dy, dx), (0, 1)))
                found_ids.append(c if draw.random() < 0.8 else int(draw.integers(1, classes + 1)))
        yield (
            np.array(truth),
            np.array(truth_ids),
            np.array(found, bool).reshape(-1, 30, 30),
            np.array(found_ids, int),
            draw.permutation(1000)[: len(found)] / 1000,
        )


def on_crowds(scenes):
    """The same images with a crowd at their right side, apart from the objects.

    Detections are on it, half on it, and beside it.
    """
    draw = np.random.default_rng(4)
    crowd = np.zeros((30, 60), bool)
    crowd[5:25, 40:52] = True
    for truth, truth_ids, found, found_ids, scores in scenes:
        more = np.zeros((3, 30, 60), bool)
        for mask in more:
            y, x = draw.integers(0, 20), draw.integers(33, 50)
            mask[y : y + 8, x : x + 8] = True
        truth, found = (np.pad(masks, ((0, 0), (0, 0), (0, 30))) for masks in (truth, found))
        ids = np.concatenate([found_ids, draw.integers(1, 4, 3)])
        yield (
            truth,
            truth_ids,
            np.concatenate([found, more]),
            ids,
            np.concatenate([scores, draw.permutation(1000)[:3] / 1000 + 1e-4]),
            crowd,
        )


def packed(mask):
    return coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))


def precisions_of_pycocotools(scenes, thresholds):
    """Mean precision at COCO's 101 recalls (thresholds, classes); a crowd is one of each class."""
    images, annotations, results = [], [], []
    for number, (truth, truth_ids, found, found_ids, scores, crowd) in enumerate(scenes, 1):
        images.append({"id": number, "height": truth.shape[1], "width": truth.shape[2]})
        things = [
            *((mask, int(c), 0) for mask, c in zip(truth, truth_ids, strict=True)),
            *((crowd, c, 1) for c in (1, 2, 3) if crowd.any()),
        ]
        for mask, c, iscrowd in things:
            common = {
                "id": len(annotations) + 1,
                "image_id": number,
                "category_id": c,
                "iscrowd": iscrowd,
                "bbox": [0, 0, 1, 1],
            }
            annotations.append({**common, "segmentation": packed(mask), "area": int(mask.sum())})
        for mask, c, score in zip(found, found_ids, scores, strict=True):
            results.append(
                {"image_id": number, "category_id": int(c), "segmentation": packed(mask), "score": float(score)}
            )
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "images": images,
            "annotations": annotations,
            "categories": [{"id": c, "name": str(c)} for c in (1, 2, 3)],
        }
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(results), "segm")
        evaluation.params.iouThrs = np.array(thresholds)
        evaluation.params.maxDets, evaluation.params.areaRng, evaluation.params.areaRngLbl = [1000], [[0, 1e9]], ["all"]
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation.eval["precision"][:, :, :, 0, 0].mean(1)


@pytest.mark.parametrize("crowds", [False, True])
def test_ap_is_that_of_pycocotools(crowds):
    """Both count alike here: crowds of all classes touch no object, detections have no limit, COCO's 101 recalls."""
    plain = random_images()
    scenes = list(on_crowds(plain) if crowds else ((*scene, np.zeros((30, 30), bool)) for scene in plain))
    tally, blind, thresholds = InstanceTally(), InstanceTally(), (0.25, 0.5, 0.75)
    for truth, truth_ids, found, found_ids, scores, crowd in scenes:
        tally.add(found, found_ids, scores, truth=truth, truth_class_ids=truth_ids, void=crowd)
        blind.add(found, found_ids, scores, truth=truth, truth_class_ids=truth_ids)
    expected = precisions_of_pycocotools(scenes, thresholds)
    for k, threshold in enumerate(thresholds):
        ours = tally.average_precisions(threshold, points=POINTS)
        np.testing.assert_allclose([ours[c] for c in (1, 2, 3)], expected[k], atol=1e-9)
        assert 0 < class_mean(ours) < 1
        without_void = class_mean(blind.average_precisions(threshold, points=POINTS))
        assert (class_mean(ours) > without_void) is crowds  # without crowds the figures are the same


def test_what_is_found_on_void_is_neither_right_nor_wrong():
    """Void is columns 6 to 9, the object columns 0 to 2.

    Its hit has a lower score than detections of which 4/4, 2/4 and 1/4 are void.
    """
    void = np.zeros((1, 10), bool)
    void[0, 6:] = True
    truth, class_ids = strip((0, 3)), np.array([1])

    def precision(*found, threshold=0.5):
        tally = InstanceTally()
        scores = np.linspace(0.9, 0.1, len(found))
        tally.add(strip(*found), np.ones(len(found), int), scores, truth=truth, truth_class_ids=class_ids, void=void)
        return tally.average_precisions(threshold)[1]

    assert precision((6, 10), (0, 3)) == 1
    assert precision((4, 8), (0, 3)) == 1  # exactly the threshold is enough
    assert precision((4, 8), (0, 3), threshold=0.75) == 0.5
    assert precision((3, 7), (0, 3)) == 0.5
    assert precision((3, 7), (0, 3), threshold=0.25) == 1
    assert precision((0, 10)) == 1  # of the pixels that count half are the object's
    assert precision((9, 9), (0, 3)) == 0.5  # an empty one is wrong


def test_a_hit_that_reaches_into_void_stays_a_hit():
    void = np.zeros((1, 10), bool)
    void[0, 3:] = True
    tally = InstanceTally()
    tally.add(
        strip((0, 10), (5, 10)),
        np.array([1, 1]),
        np.array([0.9, 0.8]),
        truth=strip((0, 3)),
        truth_class_ids=np.array([1]),
        void=void,
    )
    assert tally.average_precisions(0.75) == {1: 1.0}
    assert tally.best_overlaps()[1].tolist() == [1.0]
    only = InstanceTally()
    only.add(
        strip((5, 10)), np.array([1]), np.array([0.9]), truth=strip((0, 3)), truth_class_ids=np.array([1]), void=void
    )
    assert only.average_precisions(0.5) == {1: 0.0}  # nothing that counts is found


def test_pointing():
    boxes = [(2, 3, 5, 6), (8, 8, 9, 9)]
    assert pointing_hits([(2, 3), (5, 6), (5.5, 6), (8.5, 8.5), (0, 0)], boxes) == [True, True, False, True, False]
    assert pointing_hits([(2, 3)], []) == [False]


def test_a_response_counts_by_the_instances_of_its_own_class():
    """A peak of class 1, its response half on the only instance of class 1 and whole on one of class 2."""
    truth = strip((0, 2), (0, 4), width=4)
    peaks = {"peak": np.array([[1, 0, 1, 0.9]]), "response": np.full((1, 4), 0.25)}
    record, tally = MapRecord(image_id="a", class_ids=np.array([1]), arrays=peaks), PeakTally(2)
    tally.add(record, masks=truth, class_ids=np.array([1, 2]))
    assert (tally.hits, tally.good) == ({1: [True], 2: []}, [False])  # good needs more than half
    tally.add(record, masks=truth, class_ids=np.array([2, 1]))
    assert tally.good == [False, True]


def test_response_quality():
    response = np.array([[0.5, 0.25, 0.25, 0.0]])
    truth = np.array([[[True, False, False, False]], [[False, True, True, True]], [[True, True, False, False]]])
    assert response_quality(response, truth) == 0.75
    assert response_quality(response, truth[:0]) == 0
    assert response_quality(np.zeros((1, 4)), truth) == 0
