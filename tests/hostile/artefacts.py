"""Networks, pickled labels, weights and indices from another hand. Maps are in `stored_maps.py`."""

from __future__ import annotations

import os
import pickle
import struct
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from wsss.cli.convert_labels import convert_labels
from wsss.files.index import INDEX_COLUMNS, ImageIndex
from wsss.files.text_files import read_json
from wsss.nets.backbones import load_state
from wsss.nets.checkpoints import load_network, save_network
from wsss.stages.segment.inference import load_segmenter

from .attempt import Case, each

# ---------------------------------------------------------------- networks


def good_network(path: Path, *, meta: Mapping[str, Any] | None = None) -> Path:
    state = {"w": torch.arange(8.0), "b": torch.ones(2, 3)}
    save_network(path, state=state, meta={"stage": "train_segmenter", "classes": ["background", "cat"], **(meta or {})})
    return path


def read_net(folder: Path) -> None:
    load_network(folder / "a.pt")


def read_segmenter(folder: Path) -> None:
    load_segmenter(folder / "a.pt", device=torch.device("cpu"))


def read_backbone(folder: Path) -> None:
    load_state(folder / "a.pt")


class Calls:
    """Unpickles to a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


COMMAND = "touch ../outside/ran"
PROGRAMS: dict[str, bytes] = {
    "os.system": pickle.dumps(Calls(os.system, COMMAND), 2),
    "eval": pickle.dumps(Calls(eval, "open('../outside/ran', 'w')"), 2),
    "os.system by another way": b"\x80\x04" + text("os") + text("system") + b"\x93" + text(COMMAND) + b"\x85R.",
    "an instance": b"(S'touch ../outside/ran'\nios\nsystem\n.",
    "getattr": b"\x80\x02c__builtin__\ngetattr\n(c__builtin__\ndict\n" + text("fromkeys") + b"tR.",
    "importlib": b"\x80\x02cimportlib\nimport_module\n" + text("os") + b"\x85R.",
    "torch.hub": b"\x80\x02ctorch.hub\nload\n" + text("x/y") + b"\x85R.",
    "an extension": b"\x80\x02\x82\x01.",
    "outside objects": b"\x80\x02" + text("anything") + b"Q.",
    "an empty stack": b"\x80\x02.",
    "no end": b"\x80\x02}",
    "a number": b"\x80\x02K\x05.",
}
"""Pickles in the place of a network and in cls_labels.npy; all are refused."""
METAS: dict[str, Mapping[str, Any]] = {
    "no settings": {},
    "settings with unknown keys": {"settings": {"evil": 1}},
    "a backbone on the hub": {"settings": {"backbone": {"name": "hf-hub:evil/model"}}},
    "a backbone of a local folder": {"settings": {"backbone": {"name": "local-dir:/etc"}}},
    "300 classes": {"classes": ["c"] * 300, "settings": {}},
    "classes that are lists": {"classes": [["background"], ["cat"]], "settings": {}},
    "of another stage": {"stage": "train_classifier"},
    "weights that do not fit": {"settings": {}},
}
"""What a network says of itself."""


def described(folder: Path, *, content: Mapping[str, Any]) -> str:
    good_network(folder / "a.pt", meta=content)
    return "" if "backbone" in str(content) else "a.pt"


def binary(folder: Path, *, content: bytes, name: str = "a.pt") -> str:
    (folder / name).write_bytes(content)
    return name


# ---------------------------------------------------------------- pickled labels

HEADER = "{'descr': '|O', 'fortran_order': False, 'shape': (), }"


def npy(code: bytes, *, header: str = HEADER) -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + code


def read_labels(folder: Path) -> None:
    convert_labels(labels=folder / "a.npy", output=folder.parent / "out" / "labels.csv")


def dtype(kind: str, state: bytes) -> bytes:
    return b"cnumpy\ndtype\n(" + text(kind) + b"\x89\x88tR" + state + b"b"


def plain_state(flags: int, order: str = "|") -> bytes:
    return b"(K\x03" + text(order) + b"NNN" + number(-1) + number(-1) + b"K" + bytes([flags]) + b"t"


RECONSTRUCT = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tC\x01btR"


def array(kind: bytes, content: bytes, *, shape: bytes = b"(K\x01t") -> bytes:
    return RECONSTRUCT + b"(K\x01" + shape + kind + b"\x89" + content + b"tb"


def labels(value: bytes) -> bytes:
    return npy(b"\x80\x03}" + text("2007_000032") + value + b"s.")


POINTERS = b"C\x08AAAAAAAA"
FROMBUFFER = b"cnumpy.core.numeric\n_frombuffer\n(" + POINTERS + dtype("O8", plain_state(0)) + b"(K\x01t" + text("C")
FIELDS = b"(K\x03" + text("|") + b"N(" + text("a") + b"t}" + number(-1) + number(-1) + b"K\0t"
TWENTY = array(dtype("u1", plain_state(0)), b"C\x14" + bytes(20), shape=b"(K\x14t")
LABELS: dict[str, bytes] = {
    "empty": b"",
    "text": b"image,labels\n",
    "numbers": npy(bytes(80), header="{'descr': '<f4', 'fortran_order': False, 'shape': (20,), }"),
    "a header that is a program": npy(b"", header="__import__('os').system('touch ../outside/ran')"),
    "a header of 10^18 values": npy(b"N.", header="{'descr': '|O', 'fortran_order': False, 'shape': (10**18,), }"),
    "objects at addresses in the file": labels(FROMBUFFER + b"tR"),
    "objects at addresses by another way": labels(array(dtype("O8", plain_state(0)), POINTERS)),
    "numbers that are references": labels(
        array(dtype("f8", plain_state(63, "<")), b"](G" + struct.pack(">d", 1) + b"e")
    ),
    "a dtype with fields": labels(array(dtype("f8", FIELDS), POINTERS)),
    "a state for a class": npy(b"\x80\x02cnumpy\ndtype\n}" + text("of_objects") + b"\x89sb."),
    "an array of 10^12": labels(array(dtype("f4", plain_state(0, "<")), POINTERS, shape=b"(\x8a\x06\0\0\0\0\0\x01t")),
    "an array of other bytes": labels(array(dtype("f4", plain_state(0, "<")), POINTERS, shape=b"(K\x14t")),
    "an array that is never filled": labels(RECONSTRUCT),
    "a list for a vector": labels(b"]"),
    "an id out of the root": npy(b"\x80\x03}" + text("../../etc/passwd") + TWENTY + b"s."),
    **{f"pickle: {name}": npy(code) for name, code in PROGRAMS.items()},
}


# ---------------------------------------------------------------- the index


def read_index(folder: Path) -> None:
    ImageIndex(folder / "index.csv")


def read_any_json(folder: Path) -> None:
    read_json(folder / "a.json")


def large(folder: Path) -> str:
    with (folder / "a.json").open("wb") as file:
        file.truncate(1 << 36)
    return "a.json"


ROW = {"image_id": "a", "split": "train", "height": "8", "width": "8", "labels": "cat", "image": "a.png"}


def index(folder: Path, *, content: Mapping[str, str] | str) -> str:
    (folder / "classes.csv").write_text("class_id,name\n0,background\n1,cat\n")
    line = (
        content
        if isinstance(content, str)
        else ",".join({**dict.fromkeys(INDEX_COLUMNS, ""), **ROW, **content}.values())
    )
    (folder / "index.csv").write_text(f"{','.join(INDEX_COLUMNS)}\n{line}\n")
    return "index.csv"


INDICES: dict[str, Mapping[str, str] | str] = {
    "an id out of the folder": {"image_id": "../../outside/ran"},
    "an id with NUL": {"image_id": "a\0b"},
    "a height of 30 digits": {"height": "9" * 30},
    "a size of billions": {"height": "999999999", "width": "999999999"},
    "a field of 10 MB": {"labels": "x" * 10_000_000},
    "another class": {"labels": "dog"},
    "a quote left open": '"a',
}


def cases() -> list[Case]:
    """All of them."""
    files = {"empty": b"", "text": b"no network", **PROGRAMS}
    weights = {f"backbone.weights: {name}": content for name, content in files.items()}
    return [
        *each("network", files, binary, read_net),
        *each("network", weights, binary, read_backbone),
        *each("network", {f"says of itself: {k}": v for k, v in METAS.items()}, described, read_segmenter),
        *each("pickled labels", LABELS, partial(binary, name="a.npy"), read_labels),
        *each("index", INDICES, index, read_index),
        Case(kind="index", name="JSON of 64 GB", build=large, read=read_any_json),
    ]
