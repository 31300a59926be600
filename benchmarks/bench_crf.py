"""Time and effect of the CRF presets: `python benchmarks/bench_crf.py VOC_FOLDER [--images 44]`.

Hard labels made from the truth masks (outlines grown by 7 px, as a score map's are) go through each preset.
The table has ms an image on one core and the mean foreground IoU (class right) before and after.
It says how a preset treats hard labels, not how good a method is.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from wsss.settings.sections import CrfSection
from wsss.stages.pseudo.crf import PRESETS, crf_parameters, dense_crf, label_probabilities

GROWN = 15
"""Side of the dilation, px."""


def foreground_iou(mask: np.ndarray, truth: np.ndarray) -> float:
    """Pixels of the right class over pixels that are foreground in either, 255 left out."""
    valid = truth != 255
    return float(((mask == truth) & (truth > 0) & valid).sum() / max(1, (((mask > 0) | (truth > 0)) & valid).sum()))


def main() -> None:
    """Print one row a preset."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, help="a folder laid out as VOCdevkit/VOC2012, with SegmentationClassAug")
    parser.add_argument("--list", default="train_2007", help="list under ImageSets/Segmentation")
    parser.add_argument("--images", type=int, default=44)
    parser.add_argument("--confidence", type=float, default=0.7)
    arguments = parser.parse_args()
    ids = (arguments.root / "ImageSets" / "Segmentation" / f"{arguments.list}.txt").read_text().split()
    cases = []
    for image_id in ids[:: max(1, len(ids) // arguments.images)]:
        truth = np.array(Image.open(arguments.root / "SegmentationClassAug" / f"{image_id}.png"))
        grown = cv2.dilate(np.where(truth == 255, 0, truth).astype(np.uint8), np.ones((GROWN, GROWN), np.uint8))
        image = Image.open(arguments.root / "JPEGImages" / f"{image_id}.jpg").convert("RGB")
        cases.append((np.array(image), truth, grown))
    before = np.mean([foreground_iou(s, t) for _, t, s in cases])
    print(f"{len(cases)} images, label confidence {arguments.confidence}; before: {before:.3f}")
    for preset in PRESETS:
        parameters, ious, spent = crf_parameters(CrfSection(preset=preset)), [], 0.0  # type: ignore[arg-type]
        for image_u8, truth, grown in cases:
            class_ids = np.setdiff1d(truth, [0, 255])
            began = time.perf_counter()
            q = dense_crf(
                image_u8, label_probabilities(grown, class_ids, confidence=arguments.confidence), parameters=parameters
            )
            spent += time.perf_counter() - began
            ious.append(foreground_iou(np.concatenate([[0], class_ids])[q.argmax(0)], truth))
        print(f"{preset:10s} {spent / len(cases) * 1e3:6.0f} ms   after: {np.mean(ious):.3f}")


if __name__ == "__main__":
    main()
