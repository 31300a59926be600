"""How trained networks are saved and read."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from wsss.artefacts import ArtefactError, atomic

FORMAT = 1


def read_archive(path: Path, *, device: torch.device) -> Any:
    """What torch.save wrote. Its reader does not look at the archive's checksums, so that flipped bits would pass as weights."""
    with zipfile.ZipFile(path) as archive:
        if archive.testzip():
            raise ValueError("flipped bits")
    return torch.load(path, map_location=device, weights_only=True)


def save_network(path: Path, *, state: Mapping[str, torch.Tensor], meta: Mapping[str, Any]) -> None:
    """Write a network, whole or not at all.

    Args:
        path: The .pt file.
        state: State dict; moved to the CPU.
        meta: Plain values: what is needed to build and use the network.
    """
    with atomic(path) as temporary, temporary.open("wb") as file:
        # a file object, not a path: torch writes a path's name into the archive, and equal networks would differ
        torch.save(
            {"format": FORMAT, "meta": dict(meta), "state": {k: v.detach().cpu().clone(memory_format=torch.contiguous_format) for k, v in state.items()}}, file
        )


def load_network(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """(state dict, meta) of a file that `save_network` wrote; nothing in it is executed.

    Raises:
        ArtefactError: If the file is missing, damaged or of another format.
    """
    try:
        saved = read_archive(path, device=torch.device("cpu"))
        if saved["format"] != FORMAT:
            raise ArtefactError(f"{path}: format {saved['format']}, expected {FORMAT}; train it again")
        return saved["state"], saved["meta"]
    except FileNotFoundError:
        raise ArtefactError(f"{path}: no such network; run the workflow up to the stage that trains it") from None
    except ArtefactError:
        raise
    except Exception as error:
        ours = path.suffix == ".pt" and path.is_file()  # nobody is told to delete what is no file of ours
        advice = "`snakemake --forcerun FILE` makes a damaged one of a run anew" if ours else "expected a run's classifier.pt or segmenter.pt"
        raise ArtefactError(f"{path}: not a network of this package, or a damaged one ({type(error).__name__}); {advice}") from None


def restore_network(model: nn.Module, path: Path, *, class_names: Sequence[str] | None = None) -> dict[str, Any]:
    """Load a saved network into `model` and give its meta.

    Args:
        model: Changed in place.
        path: The .pt file.
        class_names: Of the data set, by id, background first; a network trained for others, or for these in another order, is refused. None: not compared.

    Raises:
        ArtefactError: If the file is missing or damaged, or was made for another network or other classes.
    """
    state, meta = load_network(path)
    if class_names is not None and meta.get("classes") != list(class_names):
        found = ", ".join(map(str, (meta.get("classes") or ["", "none"])[1:]))
        raise ArtefactError(f"{path}: found a network of the classes {found}, expected {', '.join(class_names[1:])}, in this order; train it again")
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise ArtefactError(f"{path}: made for another network than the settings name ({str(error).splitlines()[1].strip()[:200]}); train it again") from None
    return meta
