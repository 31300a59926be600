"""A classifier's training step on a CPU against the plain way, in one run.

`python benchmarks/bench_training.py [--side 160] [--batch 16]`

The plain way: every layer trains, dilated depthwise convolutions as torch computes them, glibc's own policy for
freed memory. The others add one thing each. Ways take turns; the figure is the median step.
The memory policy holds for the whole process, so it is switched on for the second half of the turns.
"""

from __future__ import annotations

import argparse
import time
from statistics import median

import torch
import torch.nn.functional as F
from torch import nn

from wsss.nets.backbones import SubgridConv2d
from wsss.settings.sections import BackboneSection, ComputeSection
from wsss.stages.seeds.cam import Classifier
from wsss.training.loop import pick_device, set_train_mode


def build(*, subgrids: bool, frozen_stride: int) -> nn.Module:
    """A classifier of 20 classes at output stride 16."""
    model = Classifier(20, backbone=BackboneSection(frozen_stride=frozen_stride))
    if not subgrids:
        for module in model.modules():
            if isinstance(module, SubgridConv2d):
                module.forward = lambda x, m=module: nn.Conv2d.forward(m, x)  # type: ignore[method-assign,misc]
    model.to(memory_format=torch.channels_last)
    set_train_mode(model, freeze_batchnorm=True)
    return model


def step_seconds(model: nn.Module, image_n: torch.Tensor, labels: torch.Tensor) -> float:
    """Forward, loss, backward."""
    began = time.perf_counter()
    F.multilabel_soft_margin_loss(model(image_n).mean((2, 3)), labels).backward()
    return time.perf_counter() - began


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=160, help="of the crops, px")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--turns", type=int, default=6)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    image_n = torch.randn(arguments.batch, 3, arguments.side, arguments.side).contiguous(
        memory_format=torch.channels_last
    )
    labels = (torch.rand(arguments.batch, 20) < 0.1).float()
    ways = {
        "plain": build(subgrids=False, frozen_stride=1),
        "dilated convolutions by sub-grids": build(subgrids=True, frozen_stride=1),
        "and the layers up to stride 4 frozen": build(subgrids=True, frozen_stride=4),
    }
    times: dict[str, float] = {}
    for kept in (False, True):
        if kept:
            pick_device(ComputeSection(device="cpu", threads=arguments.threads))
        turns = [
            {name: step_seconds(model, image_n, labels) for name, model in ways.items()} for _ in range(arguments.turns)
        ][1:]
        times |= {name + (", freed memory kept" if kept else ""): median(t[name] for t in turns) for name in ways}
    print("| training step | ms an image | speed |\n|---|---|---|")
    for name, seconds in times.items():
        print(f"| {name} | {1000 * seconds / arguments.batch:.1f} | x{times['plain'] / seconds:.2f} |")


if __name__ == "__main__":
    main()
