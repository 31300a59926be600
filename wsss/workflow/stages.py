"""The stages (no torch)."""

from __future__ import annotations

STAGES = {
    "index_images": "dataset",
    "estimate_saliency": "saliency",
    "train_classifier": "seeds",
    "extract_scores": "seeds",
    "claim_regions": "seeds",
    "measure_round": "seeds",
    "fuse_regions": "seeds",
    "make_seeds": "pseudo",
    "refine_masks": "pseudo",
    "train_segmenter": "segment",
    "predict_masks": "segment",
    "export_masks": "segment",
    "propose_masks": "instances",
    "respond_peaks": "instances",
    "retrieve_instances": "instances",
    "export_instances": "instances",
    "measure_scores": "evaluate",
    "measure_masks": "evaluate",
    "measure_instances": "evaluate",
    "collect_metrics": "evaluate",
    "write_report": "report",
}
"""Stage (= rule = function = subcommand = log folder) to package folder."""

TRAININGS = ("train_classifier", "train_segmenter")
"""Stages whose work several processes can share."""
