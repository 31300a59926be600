"""How trained networks are saved and read."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from wsss.files.atomic import atomic
from wsss.files.errors import ArtefactError
from wsss.files.limits import check_plain, regular
from wsss.runtime.out_of_memory import is_out_of_memory

FORMAT = 1


def read_archive(path: Path, *, device: torch.device) -> Any:
    """What torch.save wrote. Its own reader does not look at the archive's checksums, so that flipped bits would pass as weights.

    Raises:
        Exception: Of any kind, if the archive is damaged or not as torch.save writes it.
    """
    check_archive(path)
    with zipfile.ZipFile(path) as archive:
        if archive.testzip():
            raise ValueError("flipped bits")
    return torch.load(path, map_location=device, weights_only=True)


def check_archive(path: Path) -> None:
    """Refuse an archive that torch's restricted reader would unpack without limit.

    Args:
        path: What torch.save wrote, as a zip archive or in the form before torch 1.6.

    Raises:
        Exception: Of any kind, if it is damaged or not as torch.save writes it.
    """
    regular(path)
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        if (
            any(e.compress_type != zipfile.ZIP_STORED for e in entries)
            or sum(e.file_size for e in entries) > path.stat().st_size
        ):
            raise ValueError("compressed or overlapping members")


def write_archive(path: Path, value: Mapping[str, Any]) -> None:
    """What torch.save makes of `value`, whole or not at all.

    Raises:
        UnwritableError: If the disk is full, or nothing may be written there.
        BaseException: Whatever interrupts it, e.g. a signal.
    """
    # by way of memory: an exception amid torch's own writes to a file (a full disk, a signal, a lost loader process) may end the process in C++; and given a path, torch would
    # write its name into the archive, so that equal networks would differ
    whole = io.BytesIO()
    torch.save(value, whole)
    with atomic(path) as temporary:
        temporary.write_bytes(whole.getbuffer())


def save_network(path: Path, *, state: Mapping[str, torch.Tensor], meta: Mapping[str, Any]) -> None:
    """Write a network, whole or not at all.

    Args:
        path: The .pt file.
        state: State dict; moved to the CPU.
        meta: Plain values: what is needed to build and use the network.
    """
    tensors = {k: v.detach().cpu().clone(memory_format=torch.contiguous_format) for k, v in state.items()}
    write_archive(path, {"format": FORMAT, "meta": dict(meta), "state": tensors})


def load_network(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """(state dict, meta) of a file that `save_network` wrote; nothing in it is executed.

    Raises:
        ArtefactError: If the file is missing, damaged or of another format.
    """
    try:
        saved = read_archive(path, device=torch.device("cpu"))
        if saved["format"] != FORMAT:
            raise ArtefactError(f"{path}: format {saved['format']}, expected {FORMAT}; train it again")
        state, meta = saved["state"], saved["meta"]
        if not isinstance(state, dict) or not all(
            isinstance(k, str) and isinstance(v, torch.Tensor) for k, v in state.items()
        ):
            raise ValueError("its state is no mapping of names to tensors")
        if not isinstance(meta, dict):
            raise ValueError("it does not say what it is")
        check_plain(meta)
        return state, meta
    except FileNotFoundError:
        raise ArtefactError(f"{path}: no such network; run the workflow up to the stage that trains it") from None
    except ArtefactError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        ours = path.suffix == ".pt" and path.is_file()  # nobody is told to delete what is no file of ours
        advice = (
            "`snakemake FILE --forcerun FILE` makes a damaged one of a run anew"
            if ours
            else "expected a run's classifier.pt or segmenter.pt"
        )
        raise ArtefactError(
            f"{path}: not a network of this package, or a damaged one ({_reason(error)}); {advice}"
        ) from None


def _reason(error: Exception) -> str:
    """The first words of an error that may be long."""
    return f"{type(error).__name__}: {str(error).splitlines()[0][:150]}" if str(error).strip() else type(error).__name__


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
        raise ArtefactError(
            f"{path}: found a network of the classes {found}, expected {', '.join(class_names[1:])}, in this order; train it again"
        )
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise ArtefactError(
            f"{path}: made for another network than the settings name ({str(error).splitlines()[1].strip()[:200]}); train it again"
        ) from None
    return meta
