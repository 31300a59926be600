"""Trained classifiers, restored for the stages that evaluate images with them.

It is a module of its own for two reasons. `wsss/nets/checkpoints.py` also serves segmenters, which a change of a seed
method must not rerun. `wsss/methods.py` is read by rules without torch.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from wsss.methods import SeedMethod, load_method
from wsss.nets.checkpoints import restore_network
from wsss.settings.sections import ComputeSection
from wsss.settings.stage_settings import ResponseSettings, ScoresSettings
from wsss.training.devices import pick_device


def restore_classifier(
    path: Path,
    *,
    class_names: list[str],
    settings: ScoresSettings | ResponseSettings,
    round: int,
    compute: ComputeSection,
) -> tuple[SeedMethod, nn.Module, torch.device]:
    """Restore the method and the trained network of a round.

    Args:
        path: classifier.safetensors.
        class_names: Of the data set, background first; the network must have been trained for them.
        settings: Method kind, its own settings, backbone.
        round: From 1.
        compute: Device, threads.

    Returns:
        The method, the network in channels-last format, and its device.

    Raises:
        ArtefactError: If the file is missing or damaged, or was made for another network or other classes.
        ValueError: If there is no such device.
    """
    method = load_method(settings.kind, options=settings.options, class_names=class_names)
    bare = settings.backbone.model_copy(update={"weights": "none"})  # the file holds its weights
    model = method.build(len(class_names) - 1, round=round, backbone=bare, previous=None)
    restore_network(model, path, class_names=class_names)
    device = pick_device(compute)
    model.to(device).to(memory_format=torch.channels_last)
    return method, model, device
