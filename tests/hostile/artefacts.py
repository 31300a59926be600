"""Files of the package's own kinds from another hand: pickled labels, u2net's weights, indices.

Maps are in `stored_maps.py`, networks in `networks.py`.
"""

from __future__ import annotations

import os
import pickle
import pickletools
import struct
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from wsss.cli.convert_labels import convert_labels
from wsss.files.artefacts import INDEX_COLUMNS, ImageIndex, read_json
from wsss.stages.saliency.u2net import find_weights

from .attempt import Case

# ---------------------------------------------------------------- pickles


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


LAUGHS = b"(lq\x00(]" + b"".join(b"(" + b"h\x00" * 10 + b"lq\x00" for _ in range(12))
DEEP = b")" + b"\x85" * 1_000_000
PROGRAMS: dict[str, bytes] = {
    "os.system": pickle.dumps(Calls(os.system, "touch ../outside/ran"), 2),
    "eval": pickle.dumps(Calls(eval, "open('../outside/ran', 'w')"), 2),
    "os.system by another way": b"\x80\x04"
    + text("os")
    + text("system")
    + b"\x93"
    + text("touch ../outside/ran")
    + b"\x85R.",
    "an instance": b"(S'touch ../outside/ran'\nios\nsystem\n.",
    "an extension": b"\x80\x02\x82\x01.",
    "getattr": b"\x80\x02c__builtin__\ngetattr\n(c__builtin__\ndict\n" + text("fromkeys") + b"tR.",
    "importlib": b"\x80\x02cimportlib\nimport_module\n" + text("os") + b"\x85R.",
    "numpy.load": b"\x80\x02cnumpy\nload\n" + text("x.npy") + b"\x85R.",
    "torch.hub": b"\x80\x02ctorch.hub\nload\n" + text("x/y") + b"\x85R.",
    "2 GB of bytes": b"\x80\x02c__builtin__\nbytearray\n" + number(2_000_000_000) + b"\x85R.",
    "place 2^31 of its memory": b"\x80\x02}r\xff\xff\xff\x7f.",
    "place 10^8 of its memory": b"\x80\x02}r" + struct.pack("<I", 100_000_000) + b".",
    "a text of 3 GB": b"\x80\x04}\x8d" + struct.pack("<Q", 3_000_000_000) + b"abc.",
    "a frame of 3 GB": b"\x80\x04\x95" + struct.pack("<Q", 3_000_000_000) + b"}.",
    "bytes of 3 GB": b"\x80\x05\x96" + struct.pack("<Q", 3_000_000_000) + b".",
    "an integer of 200 MB": b"\x80\x02\x8b" + struct.pack("<i", 200_000_000) + b".",
    "an integer of 10,000 digits": b"I" + b"1" * 10_000 + b"\n.",
    "a million tuples in each other": b"\x80\x02" + DEEP + b".",
    "a key of a million tuples": b"\x80\x02}" + DEEP + b"K\x01s.",
    "400,000 lists in each other": b"\x80\x02" + b"](" * 400_000 + b"e" * 400_000 + b".",
    "a billion lists by reference": b"\x80\x02]q\x00(K\x01e"
    + b"".join(b"](" + b"h" + bytes([k]) + b"h" + bytes([k]) + b"eq" + bytes([k + 1]) for k in range(60))
    + b".",
    "a list in itself": b"\x80\x02]q\x00h\x00a.",
    "a frozen set": b"\x80\x04(K\x01K\x02\x91.",
    "an empty stack": b"\x80\x02.",
    "a mark left over": b"\x80\x02(((.",
    "a place that was never filled": b"\x80\x02h\x05.",
    "no end": b"\x80\x02}",
    "an unknown step": b"\x80\x02\xff.",
    "protocol 99": b"\x80\x63}.",
    "a number": b"\x80\x02K\x05.",
    "none": b"N.",
    "an empty dict": b"\x80\x02}.",
    "outside objects": b"\x80\x02" + text("anything") + b"Q.",
    "a call of a text": b"\x80\x02" + text("print") + text("x") + b"\x85R.",
}
"""Pickles for cls_labels.npy; all are refused."""
assert all(pickletools.dis is not None for _ in PROGRAMS)


def binary(folder: Path, *, content: bytes, name: str) -> str:
    (folder / name).write_bytes(content)
    return name


# ---------------------------------------------------------------- pickled labels


def npy(code: bytes, *, header: str = "{'descr': '|O', 'fortran_order': False, 'shape': (), }") -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + code


def read_labels(folder: Path) -> None:
    convert_labels(labels=folder / "a.npy", output=folder.parent / "out" / "labels.csv")


def dtype(kind: str, state: bytes) -> bytes:
    return b"cnumpy\ndtype\n(" + text(kind) + b"\x89\x88tR" + state + b"b"


def plain_state(flags: int, order: str = "|") -> bytes:
    return b"(K\x03" + text(order) + b"NNN" + number(-1) + number(-1) + b"K" + bytes([flags]) + b"t"


def array(kind: bytes, content: bytes, *, shape: bytes = b"(K\x01t") -> bytes:
    return (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tC\x01btR(K\x01"
        + shape
        + kind
        + b"\x89"
        + content
        + b"tb"
    )


def labels(value: bytes) -> bytes:
    return npy(b"\x80\x03}" + text("2007_000032") + value + b"s.")


POINTERS = b"C\x08AAAAAAAA"
TAGS: dict[str, bytes] = {
    "empty": b"",
    "text": b"image,labels\n",
    "numbers": npy(bytes(80), header="{'descr': '<f4', 'fortran_order': False, 'shape': (20,), }"),
    "a header that is a program": npy(b"", header="__import__('os').system('touch ../outside/ran')"),
    "a header of brackets": npy(b"", header="(" * 60_000),
    "a header of 10^18 values": npy(b"N.", header="{'descr': '|O', 'fortran_order': False, 'shape': (10**18,), }"),
    "objects at addresses in the file": labels(
        b"cnumpy.core.numeric\n_frombuffer\n(" + POINTERS + dtype("O8", plain_state(0)) + b"(K\x01t" + text("C") + b"tR"
    ),
    "objects at addresses by another way": labels(array(dtype("O8", plain_state(0)), POINTERS)),
    "numbers that are references": labels(
        array(dtype("f8", plain_state(63, "<")), b"](G" + struct.pack(">d", 1.5) + b"e")
    ),
    "a dtype with fields": labels(
        array(
            dtype("f8", b"(K\x03" + text("|") + b"N(" + text("a") + b"t}" + number(-1) + number(-1) + b"K\0t"), POINTERS
        )
    ),
    "a dtype of 2 GB": labels(
        array(dtype("f8", b"(K\x03" + text("|") + b"NNN" + number(2_000_000_000) + number(1) + b"K\0t"), POINTERS)
    ),
    "a state for a function": npy(b"\x80\x02c_codecs\nencode\n}" + text("a") + b"K\x01sb."),
    "a state for a class": npy(b"\x80\x02cnumpy\ndtype\n}" + text("of_objects") + b"\x89sb."),
    "an array of 10^12": labels(array(dtype("f4", plain_state(0, "<")), POINTERS, shape=b"(\x8a\x06\0\0\0\0\0\x01t")),
    "an array of other bytes": labels(array(dtype("f4", plain_state(0, "<")), POINTERS, shape=b"(K\x14t")),
    "an array that is never filled": labels(b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tC\x01btR"),
    "a list for a vector": labels(b"]"),
    "an id out of the root": npy(
        b"\x80\x03}"
        + text("../../etc/passwd")
        + array(dtype("u1", plain_state(0)), b"C\x14" + bytes(20), shape=b"(K\x14t")
        + b"s."
    ),
    **{f"pickle: {name}": npy(code) for name, code in PROGRAMS.items()},
}


# ---------------------------------------------------------------- the rest


def read_u2net(folder: Path) -> None:
    find_weights(str(folder / "a.onnx"))


def read_index(folder: Path) -> None:
    ImageIndex(folder / "index.csv")


def read_any_json(folder: Path) -> None:
    read_json(folder / "a.json")


def large(folder: Path, *, name: str) -> str:
    with (folder / name).open("wb") as file:
        file.truncate(1 << 36)
    return name


def index(folder: Path, *, row: Mapping[str, str], raw: str = "") -> str:
    (folder / "classes.csv").write_text("class_id,name\n0,background\n1,cat\n")
    line = (
        dict.fromkeys(INDEX_COLUMNS, "")
        | {"image_id": "a", "split": "train", "height": "8", "width": "8", "labels": "cat", "image": "a.png"}
        | row
    )
    (folder / "index.csv").write_text(",".join(INDEX_COLUMNS) + "\n" + (raw or ",".join(line.values())) + "\n")
    return "index.csv"


INDICES: dict[str, Mapping[str, str]] = {
    "an id out of the folder": {"image_id": "../../outside/ran"},
    "an id of two dots": {"image_id": ".."},
    "an id with NUL": {"image_id": "a\0b"},
    "a height of 30 digits": {"height": "9" * 30},
    "a size of billions": {"height": "999999999", "width": "999999999"},
    "a field of 10 MB": {"labels": "x" * 10_000_000},
    "another class": {"labels": "dog"},
}


def cases() -> list[Case]:
    """All of them."""
    out = [
        Case(kind="pickled labels", name=name, build=partial(binary, content=content, name="a.npy"), read=read_labels)
        for name, content in TAGS.items()
    ]
    out += [Case(kind="published weights", name=f"u2net: {name}", build=partial(binary, content=content, name="a.onnx"), read=read_u2net)
            for name, content in {"empty": b"", "one bit off": bytes(4_574_861), "text": b"onnx"}.items()]  # fmt: skip
    out.append(
        Case(kind="published weights", name="u2net: 64 GB", build=partial(large, name="a.onnx"), read=read_u2net)
    )
    out += [
        Case(kind="index", name=name, build=partial(index, row=row), read=read_index) for name, row in INDICES.items()
    ]
    out.append(Case(kind="index", name="a quote left open", build=partial(index, row={}, raw='"a'), read=read_index))
    out.append(Case(kind="index", name="JSON of 64 GB", build=partial(large, name="a.json"), read=read_any_json))
    return out
