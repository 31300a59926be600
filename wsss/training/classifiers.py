"""Trained classifiers, for the stages that look at images through them.

A module apart: `wsss/nets/checkpoints.py` serves segmenters too, which a change of a seed method must not rerun, and `wsss/methods.py` is read by rules without torch.
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
    """A round's method and network, as trained, on the stage's device.

    Args:
        path: classifier.safetensors.
        class_names: The data set's, background first; they must be those that the network was trained for.
        settings: Method kind, its own settings, backbone.
        round: From 1.
        compute: Device, threads.

    Returns:
        The method, the network with its channels last, in no particular mode, and its device.

    Raises:
        ArtefactError: If the file is missing or damaged, or was made for another network or other classes.
        ValueError: If there is no such device.
    """
    method = load_method(settings.kind, options=settings.options, class_names=class_names)
    bare = settings.backbone.model_copy(update={"weights": "none"})  # its own are in the file
    model = method.build(len(class_names) - 1, round=round, backbone=bare, previous=None)
    restore_network(model, path, class_names=class_names)
    device = pick_device(compute)
    model.to(device).to(memory_format=torch.channels_last)
    return method, model, device
