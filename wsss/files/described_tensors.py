"""Safetensors files with a description and a checksum in their metadata (no torch).

The format is an 8-byte length, a JSON header of that length, and the bytes of the tensors. It has no checksum itself.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

FORMAT = 2
"""Of the metadata. 1 was that of networks that torch.save wrote."""
KEY = "wsss"
"""The one key of the metadata, whose value is JSON."""


def describe(data: bytes, description: Mapping[str, Any]) -> bytes:
    """Put a description and the checksum of the whole into a safetensors file.

    Args:
        data: The file, without metadata.
        description: Plain values (JSON).

    Returns:
        The file with metadata; equal content gives equal bytes.
    """
    header, body = _parts(data)
    plain = json.loads(json.dumps(description))  # as it will be read
    whole = {"format": FORMAT, "checksum": _checksum(header, body, plain), "description": plain}
    text = json.dumps({"__metadata__": {KEY: json.dumps(whole)}, **header}).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at multiples of 8 bytes
    return b"".join([len(text).to_bytes(8, "little"), text, body])


def read_description(data: bytes) -> dict[str, Any]:
    """Check a file that `describe` made.

    Args:
        data: The file.

    Returns:
        Its description.

    Raises:
        ValueError: If it is damaged, of another format, or no such file.
    """
    try:
        header, body = _parts(data)
        whole = json.loads(header.pop("__metadata__")[KEY])
        found, checksum, description = whole["format"], whole["checksum"], whole["description"]
    except (KeyError, TypeError, AttributeError, RecursionError, ValueError):
        raise ValueError(f"it is no safetensors file with a description under {KEY!r}") from None
    if found != FORMAT:
        raise ValueError(f"format {found}, expected {FORMAT}")
    if checksum != _checksum(header, body, description):
        raise ValueError("flipped bits")
    if not isinstance(description, dict):
        raise ValueError("its description is no mapping")
    return description


def _parts(data: bytes) -> tuple[dict[str, Any], memoryview]:
    """The header, and the bytes of the tensors."""
    end = 8 + int.from_bytes(data[:8], "little")
    return json.loads(data[8:end]), memoryview(data)[end:]


def _checksum(header: Mapping[str, Any], body: memoryview, description: Mapping[str, Any]) -> str:
    """Digest of the whole content of a file, without the spacing of its header."""
    out = hashlib.blake2b(json.dumps([header, description], sort_keys=True).encode(), digest_size=16)
    out.update(body)
    return out.hexdigest()
