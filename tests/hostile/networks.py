"""Networks from another hand: safetensors files, and archives of torch.save."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from wsss.nets.checkpoints import load_network, save_network
from wsss.nets.weights import load_state
from wsss.stages.segment.inference import load_segmenter

from .attempt import Case

NAME = "a.safetensors"
EVIL = b"\x80\x02cos\nsystem\n" + b"X\x18\x00\x00\x00touch ../outside/ran    " + b"\x85R."
"""A pickle that runs a command."""


def good_network(path: Path, *, meta: Mapping[str, Any] | None = None) -> Path:
    save_network(
        path,
        state={"w": torch.arange(8.0), "b": torch.ones(2, 3)},
        meta={"stage": "train_segmenter", "classes": ["background", "cat"]} | dict(meta or {}),
    )
    return path


def read_net(folder: Path, *, name: str = NAME) -> None:
    load_network(folder / name)


def read_weights(folder: Path, *, name: str = NAME) -> None:
    load_state(folder / name)


def read_segmenter(folder: Path) -> None:
    load_segmenter(folder / NAME, device=torch.device("cpu"))


# ---------------------------------------------------------------- safetensors

Change = Callable[[dict[str, Any], bytes], tuple[dict[str, Any], bytes]]
"""(header, bytes of the tensors) of a good file to those of a bad one."""


def changed(folder: Path, *, change: Change) -> str:
    path = good_network(folder / NAME)
    data = path.read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    header, body = change(json.loads(data[8:end]), data[end:])
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)
    return NAME


def tensor(**values: Any) -> Change:
    return lambda header, body: (header | {"w": header["w"] | values}, body)


def metadata(text: str) -> Change:
    return lambda header, body: (header | {"__metadata__": {"wsss": text}}, body)


def described_by(**values: Any) -> Change:
    def change(header: dict[str, Any], body: bytes) -> tuple[dict[str, Any], bytes]:
        found = json.loads(header["__metadata__"]["wsss"]) | values
        return header | {"__metadata__": {"wsss": json.dumps(found)}}, body

    return change


CHANGES: dict[str, Change] = {
    "a tensor beyond the end": tensor(data_offsets=[0, 1 << 40]),
    "a tensor that ends before it begins": tensor(data_offsets=[32, 0]),
    "a tensor of 2^60 numbers": tensor(shape=[1 << 60]),
    "a tensor of 2^63 by 2 numbers": tensor(shape=[1 << 63, 2]),
    "a tensor of another type": tensor(dtype="I32"),
    "a type that does not exist": tensor(dtype="OBJECT"),
    "two tensors in one place": lambda header, body: (header | {"v": header["w"]}, body),
    "a tensor left out": lambda header, body: ({k: v for k, v in header.items() if k != "b"}, body),
    "data cut short": lambda header, body: (header, body[:5]),
    "one bit flipped": lambda header, body: (header, bytes([body[0] ^ 1]) + body[1:]),
    "no metadata": lambda header, body: ({k: v for k, v in header.items() if k != "__metadata__"}, body),
    "metadata that is no JSON": metadata("{"),
    "metadata that is a number": metadata("5"),
    "metadata of 100,000 lists in each other": metadata("[" * 100_000),
    "a description that is a list": described_by(description=[]),
    "another description": described_by(description={"stage": "train_segmenter"}),
    "another format": described_by(format=99),
}
METAS: dict[str, Mapping[str, Any]] = {
    "no settings": {},
    "settings that are a number": {"settings": 5},
    "settings with unknown keys": {"settings": {"evil": 1}},
    "settings of 200,000 values": {"settings": {"a": list(range(200_000))}},
    "a backbone on the hub": {"settings": {"backbone": {"name": "hf-hub:evil/model"}}},
    "a backbone of a local folder": {"settings": {"backbone": {"name": "local-dir:/etc"}}},
    "a backbone that timm does not know": {"settings": {"backbone": {"name": "../../etc/passwd"}}},
    "classes that are a number": {"classes": 5, "settings": {}},
    "300 classes": {"classes": ["c"] * 300, "settings": {}},
    "no classes": {"classes": [], "settings": {}},
    "classes that are lists": {"classes": [["background"], ["cat"]], "settings": {}},
    "of another stage": {"stage": "train_classifier"},
    "weights that do not fit": {"settings": {}},
}


def described(folder: Path, *, meta: Mapping[str, Any]) -> str:
    good_network(folder / NAME, meta=meta)
    return "" if "backbone" in str(meta) else NAME


def binary(folder: Path, *, content: bytes | Callable[[], bytes], name: str) -> str:
    (folder / name).write_bytes(content() if callable(content) else content)
    return name


BINARIES = {
    "empty": b"",
    "text": b"no network",
    "a header of 2^63 bytes": struct.pack("<Q", 1 << 63) + b"{}",
    "a header of 2 GB": struct.pack("<Q", 2 << 30) + b"{}",
    "a pickle that calls os.system": EVIL,
}

# ---------------------------------------------------------------- torch.save


def archive(content: bytes, *, packing: int = zipfile.ZIP_STORED, times: int = 1) -> bytes:
    """An archive of torch.save in which `content` describes the tensors; the directory names it several times."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", packing) as file:
        file.writestr("archive/data.pkl", content)
        file.writestr("archive/version", "3\n")
        file.filelist += [file.filelist[0]] * (times - 1)
    return out.getvalue()


def legacy(*codes: bytes) -> bytes:
    """torch's form before version 1.6."""
    heads = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
    return b"".join(pickle.dumps(head, 2) for head in heads) + b"".join(codes)


def flipped() -> bytes:
    out = io.BytesIO()
    torch.save({"w": torch.arange(8.0)}, out)
    numbers = torch.arange(8.0).numpy().tobytes()
    return out.getvalue().replace(numbers, bytes([numbers[0] ^ 1]) + numbers[1:])


ARCHIVES: dict[str, bytes | Callable[[], bytes]] = {
    "empty": b"",
    "text": b"no network",
    "a bare pickle that calls os.system": EVIL,
    "an archive that calls os.system": archive(EVIL),
    "the old form, with os.system": legacy(EVIL),
    "the old form, cut": legacy(),
    "a number": archive(pickle.dumps(5, 2)),
    "300 MB in 300 kB": lambda: archive(bytes(300_000_000), packing=zipfile.ZIP_DEFLATED),
    "a description of 64 MB": lambda: archive(bytes(64 << 20)),
    "a member named a thousand times": archive(bytes(100_000), times=1000),
    "one bit flipped": flipped,
}


def cases() -> list[Case]:
    """All of them."""

    def case(name: str, build: Callable[[Path], str], read: Callable[[Path], Any]) -> Case:
        return Case(kind="network", name=name, build=build, read=read)

    out = [case(name, partial(changed, change=change), read_net) for name, change in CHANGES.items()]
    out += [case(f"says of itself: {k}", partial(described, meta=meta), read_segmenter) for k, meta in METAS.items()]
    for name, content in BINARIES.items():
        build = partial(binary, content=content, name=NAME)
        out += [case(name, build, read_net), case(f"backbone.weights: {name}", build, read_weights)]
    for name, packed in ARCHIVES.items():
        build = partial(binary, content=packed, name="a.pt")
        out.append(case(f".pt: {name}", build, partial(read_net, name="a.pt")))
        out.append(case(f"backbone.weights, .pt: {name}", build, partial(read_weights, name="a.pt")))
    return out
