"""What a full COCO run needs, estimated and not run: `python benchmarks/plan_coco.py`.

Disk is estimated by `wsss plan` with COCO 2014's numbers of images. Memory and work of the networks are counted on
random images. The annotation files hold nothing but their lists of images.
Memory is what the backward pass of a training step keeps, counted tensor by tensor on the CPU.
Work is multiplications and additions of the layers; a training step counts as three evaluations.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from wsss.cli.plan import count_jobs, plan
from wsss.methods import load_method
from wsss.nets.segmenters import build_segmenter
from wsss.settings.config import load
from wsss.settings.sections import CocoSection
from wsss.stages.dataset.coco import CocoSource
from wsss.workflow.graph import Graph

IMAGES = {"train": 82_081, "val": 40_137}
CONFIG = Path("configs/coco14.yaml")
PRM = {"methods": ["prm"], "instances": {"methods": ["prm"]}, "segment": {"methods": []}}


def kept_bytes(model: nn.Module, *, crop: int, batch: int = 2) -> float:
    """Bytes a crop that a training step keeps for its backward pass, weights left out."""
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if (place := tensor.untyped_storage().data_ptr()) not in own:
            kept[place] = tensor
        return tensor

    model.train()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model(torch.rand(batch, 3, crop, crop))
    return sum(t.untyped_storage().nbytes() for t in kept.values()) / batch


def evaluation(model: nn.Module, height: int, width: int) -> float:
    """Operations of one image through the network."""
    model.eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.rand(1, 3, height, width))
    return float(counter.get_total_flops())


def main() -> None:
    """Print the plans, and what the networks take."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "annotations").mkdir()
        for split, count in IMAGES.items():
            content = {
                "images": [{"id": k} for k in range(count)],
                "annotations": [],
                "categories": [{"id": 1, "name": "a"}],
            }
            (root / "annotations" / f"instances_{split}2014.json").write_text(json.dumps(content))
        for name, values in (("coco14", {}), ("prm", PRM)):
            (root / f"{name}.yaml").write_text(json.dumps({"dataset": {"coco": {"root": folder}}, **values}))
            print(plan([CONFIG, root / f"{name}.yaml"], probe=False), end="\n\n")
    config = load(CONFIG)
    jobs, shards = count_jobs(Graph(config)), len(Graph(config).shards("train"))
    backbone = config.backbone.model_copy(update={"weights": "none"})
    classifier = load_method("cam").build(80, round=1, backbone=backbone, previous=None)
    segmenter = build_segmenter(network=config.segment.network, weights="none", backbone=backbone, num_classes=80)
    scores, predict = config.seeds.scores, config.segment.predict
    for name, model, section, scales, flip, images in (
        (
            "classifier",
            classifier,
            config.seeds.classifier,
            scores.scales,
            scores.flip,
            jobs["extract_scores"] / shards * IMAGES["train"],
        ),
        (
            "segmenter",
            segmenter,
            config.segment.train,
            predict.scales,
            predict.flip,
            jobs["train_segmenter"] * sum(IMAGES.values()),
        ),
    ):
        crop, batch = section.augment.crop, section.batch_size
        steps = jobs[f"train_{name}"] * section.passes(IMAGES["train"] // batch) * IMAGES["train"]
        work = (
            steps * 3 * evaluation(model, crop, crop),
            images * evaluation(model, *CocoSource(CocoSection()).image_size()) * sum(s**2 for s in scales) * (1 + flip),
        )
        kept = kept_bytes(model, crop=crop)
        print(f"{name}: {kept / 1e6:.0f} MB kept a crop of {crop} px, {batch * kept / 1e9:.1f} GB a batch of {batch}")
        training = f"training: {steps / 1e6:.1f} million crops, {work[0] / 1e15:.0f} PFLOP"
        print(f"  {training}; maps: {images / 1e6:.2f} million images, {work[1] / 1e15:.0f} PFLOP")


if __name__ == "__main__":
    main()
