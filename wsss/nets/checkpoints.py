"""How trained networks are saved and read: tensors and a description in one safetensors file, without a pickle."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import nn

from wsss.files.atomic import atomic
from wsss.files.described_tensors import describe, read_description
from wsss.files.errors import ArtefactError
from wsss.files.limits import check_plain, regular
from wsss.runtime.out_of_memory import is_out_of_memory

MOST_DESCRIPTION = 16 << 20
"""Maximum bytes that describe the tensors of an archive of torch.save. 1,000 tensors take 0.1 MB."""


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor], *, description: Mapping[str, Any]) -> None:
    """Write tensors and what describes them, whole or not at all; equal content gives equal bytes.

    Args:
        path: The .safetensors file.
        tensors: Of any device and memory format.
        description: Plain values (JSON).

    Raises:
        UnwritableError: If the disk is full, or nothing may be written there.
        BaseException: Whatever interrupts it, e.g. a signal.
    """
    copies = {k: v.detach().cpu().clone(memory_format=torch.contiguous_format) for k, v in tensors.items()}
    data = describe(save(copies), description)
    with atomic(path) as temporary:
        temporary.write_bytes(data)


def read_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Read what `write_tensors` wrote.

    Returns:
        Tensors on the CPU by name, and their description.

    Raises:
        Exception: Of any kind, if the file is damaged or not one of these.
    """
    regular(path)
    data = path.read_bytes()
    description = read_description(data)
    return load(data), description


def read_pickled(path: Path) -> Any:
    """Read what torch.save wrote, e.g. published weights or a network of an earlier version; nothing in it is executed.

    Raises:
        Exception: Of any kind, if the archive is damaged, packed, or holds more than tensors and plain values.
    """
    regular(path)
    if zipfile.is_zipfile(path):  # else it is in torch's form before version 1.6
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            packed = any(e.compress_type != zipfile.ZIP_STORED for e in entries)
            if packed or sum(e.file_size for e in entries) > path.stat().st_size:
                raise ValueError("compressed or overlapping members")
            size = max((e.file_size for e in entries if e.filename.endswith(".pkl")), default=0)
            if size > MOST_DESCRIPTION:
                raise ValueError(f"{size:,} bytes describe its tensors, at most {MOST_DESCRIPTION:,} are read")
            if archive.testzip():  # torch does not look at the archive's checksums
                raise ValueError("flipped bits")
    return torch.load(path, map_location="cpu", weights_only=True)


def save_network(path: Path, *, state: Mapping[str, torch.Tensor], meta: Mapping[str, Any]) -> None:
    """Write a network, whole or not at all; the same network gives the same bytes.

    Args:
        path: The .safetensors file.
        state: State dict.
        meta: Plain values: what is needed to build and use the network.
    """
    write_tensors(path, state, description=meta)


def load_network(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Read a network.

    Args:
        path: A file of `save_network`, or a .pt file of an earlier version.

    Returns:
        (state dict on the CPU, meta).

    Raises:
        ArtefactError: If the file is missing, damaged or of another format.
    """
    try:
        state, meta = _read_pt(path) if path.suffix == ".pt" else read_tensors(path)
        check_plain(meta)
        return state, meta
    except FileNotFoundError:
        raise ArtefactError(f"{path}: no such network; run the workflow up to the stage that trains it") from None
    except ArtefactError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise ArtefactError(
            f"{path}: not a network of this package, or a damaged one ({_reason(error)}); "
            "expected a run's classifier.safetensors or segmenter.safetensors; "
            "`snakemake FILE --forcerun FILE` makes a damaged one again"
        ) from None


def _read_pt(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Read a network of an earlier version: a mapping of format, meta and state by torch.save."""
    saved = read_pickled(path)
    if saved["format"] != 1:
        raise ValueError(f"format {saved['format']}, expected 1")
    state, meta = saved["state"], saved["meta"]
    check_state(state)
    if not isinstance(meta, dict):
        raise ValueError("its description is missing")
    return state, meta


def check_state(state: Any) -> None:
    """Refuse what is no mapping of names to tensors.

    Raises:
        ValueError: If it is something else.
    """
    named = isinstance(state, Mapping) and all(isinstance(k, str) for k in state)
    if not named or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise ValueError("expected a mapping of names to tensors")


def _reason(error: Exception) -> str:
    """The first words of an error that may be long."""
    return f"{type(error).__name__}: {str(error).splitlines()[0][:150]}" if str(error).strip() else type(error).__name__


def restore_network(model: nn.Module, path: Path, *, class_names: Sequence[str] | None = None) -> dict[str, Any]:
    """Load a saved network into `model`.

    Args:
        model: Changed in place.
        path: As for `load_network`.
        class_names: Of the data set, by id, background first. A network of other classes, or of these in another
            order, is refused. None: not compared.

    Returns:
        The network's meta.

    Raises:
        ArtefactError: If the file is missing or damaged, or was made for another network or other classes.
    """
    state, meta = load_network(path)
    if class_names is not None and meta.get("classes") != list(class_names):
        found = ", ".join(map(str, (meta.get("classes") or ["", "none"])[1:]))
        raise ArtefactError(
            f"{path}: found a network of the classes {found}, expected {', '.join(class_names[1:])}, in this order; "
            "train it again"
        )
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        reason = str(error).splitlines()[1].strip()[:200]
        raise ArtefactError(
            f"{path}: made for another network than the settings name ({reason}); train it again"
        ) from None
    return meta
