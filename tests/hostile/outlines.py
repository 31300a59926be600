"""Outlines: COCO's instances files through index_images, and given proposals (JSON and MATLAB) through their reader."""

from __future__ import annotations

import copy
import json
import struct
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io

from wsss.files.index import ImageRow
from wsss.settings.sections import CocoSection, DatasetSection
from wsss.settings.stage_settings import IndexSettings
from wsss.stages.dataset.index_images import index_images
from wsss.stages.instances.given_proposals import read_proposals

from .attempt import Case
from .tables import plain_image

SIDE = 8
SQUARE = [1, 1, 6, 1, 6, 6, 1, 6]
WHOLE: dict[str, Any] = {
    "images": [{"id": 1, "file_name": "a.png", "height": SIDE, "width": SIDE}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "segmentation": [SQUARE]}],
    "categories": [{"id": 1, "name": "cat"}],
}


def read_coco_folder(folder: Path) -> None:
    section = CocoSection(root=str(folder), train_annotations="i.json", train_images=".", val_annotations="")
    index_images(
        settings=IndexSettings(dataset=DatasetSection(kind="coco", coco=section)),
        output=folder.parent / "out" / "index.csv",
    )


def coco(folder: Path, *, content: str | bytes | Callable[[], str], named: str = "i.json") -> str:
    plain_image(folder / "a.png", side=SIDE)
    text = content() if callable(content) else content
    (folder / "i.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    return named


def changed(part: str, **values: Any) -> str:
    """The whole file with one member changed."""
    content = copy.deepcopy(WHOLE)
    content[part][0].update(values)
    return json.dumps(content)


def outline(segmentation: str) -> str:
    """The whole file with this JSON text for an outline."""
    return json.dumps(WHOLE).replace(json.dumps([SQUARE]), segmentation)


def added(part: str, entry: Any) -> str:
    content = copy.deepcopy(WHOLE)
    content[part].append(entry)
    return json.dumps(content)


COUNTS_OF = {"size": [SIDE, SIDE]}
SEGMENTATIONS: dict[str, str | Callable[[], str]] = {
    "counts beyond the image": json.dumps({**COUNTS_OF, "counts": [10, 1000]}),
    "counts short of the image": json.dumps({**COUNTS_OF, "counts": [10, 10]}),
    "negative counts": json.dumps({**COUNTS_OF, "counts": [100, -36]}),
    "counts of floating point": json.dumps({**COUNTS_OF, "counts": [10.5, 53.5]}),
    "counts of texts": json.dumps({**COUNTS_OF, "counts": ["10", "54"]}),
    "counts of 2^63": json.dumps({**COUNTS_OF, "counts": [2**62, 2**62]}),
    "counts that overflow to the image's size": json.dumps({**COUNTS_OF, "counts": [2**32, SIDE * SIDE]}),
    "a count of 60 digits": f'{{"size": [{SIDE}, {SIDE}], "counts": [{"1" * 60}]}}',
    "a count of 10,000 digits": f'{{"size": [{SIDE}, {SIDE}], "counts": [{"1" * 10_000}]}}',
    "counts of null": json.dumps({**COUNTS_OF, "counts": None}),
    "no counts": json.dumps(COUNTS_OF),
    "an empty text of counts": json.dumps({**COUNTS_OF, "counts": ""}),
    "a text of counts that is cut": json.dumps({**COUNTS_OF, "counts": "P"}),
    "a text of counts that never ends": json.dumps({**COUNTS_OF, "counts": "o" * 500}),
    "a text of counts beyond the image": json.dumps({**COUNTS_OF, "counts": "oooo0"}),
    "a text of negative counts": json.dumps({**COUNTS_OF, "counts": "L0L0"}),
    "a text of other characters": json.dumps({**COUNTS_OF, "counts": "\u00e9\u4e2d ~"}),
    "a text with NUL": json.dumps({**COUNTS_OF, "counts": "R\0X\0"}),
    "a size of billions": json.dumps({"size": [2**31, 2**31], "counts": "P2"}),
    "a negative size": json.dumps({"size": [-8, -8], "counts": [64]}),
    "a size that is a number": json.dumps({"size": 8, "counts": [64]}),
    "a size of texts": json.dumps({"size": ["8", "8"], "counts": [64]}),
    "no size": json.dumps({"counts": [64]}),
    "a polygon out to a billion": "[[0, 0, 1e9, 0, 1e9, 1e9]]",
    "a polygon out to 1e308": "[[0, 0, 1e308, 0, 1e308, 1e308]]",
    "a polygon to infinity": "[[0, 0, 1e999, 0, 5, 5]]",
    "a polygon of NaN": "[[0, 0, NaN, 0, 5, 5]]",
    "a polygon of minus infinity": "[[0, 0, -Infinity, 0, 5, 5]]",
    "a polygon of texts": '[["0", "0", "1", "0", "5", "5"]]',
    "a polygon of null": "[[null, 0, 1, 0, 5, 5]]",
    "a polygon of a million corners to and fro": lambda: "[[" + ",".join(["0,0,999999,0"] * 250_000) + "]]",
    "a polygon of three numbers": "[[1, 2, 3]]",
    "a polygon of an odd number": "[[1, 2, 3, 4, 5, 6, 7]]",
    "a flat list": json.dumps(SQUARE),
    "no polygon": "[]",
    "an empty polygon": "[[]]",
    "a text": '"abc"',
    "null": "null",
    "lists 30 deep": "[" * 20 + "]" * 20,
    "objects in polygons": '[[{"a": 1}, 2, 3, 4, 5, 6]]',
}
FILES: dict[str, str | bytes | Callable[[], str]] = {
    "empty": "",
    "not JSON": "<html></html>",
    "cut short": json.dumps(WHOLE)[:-30],
    "NUL bytes": b"\0" * 5000,
    "UTF-16": json.dumps(WHOLE).encode("utf-16"),
    "not UTF-8": json.dumps(WHOLE).replace("a.png", "\u00e9").encode() .replace(b"\\u00e9", b"\xe9"),
    "a list": "[]",
    "a number": "1",
    "a text": '"images"',
    "nothing in it": "{}",
    "members that are numbers": '{"images": [1], "annotations": [2], "categories": [3]}',
    "members that are objects": '{"images": {"item": [1]}, "annotations": {}, "categories": {"item": [{"id": 1, "name": "cat"}]}}',
    "lists 100,000 deep": lambda: '{"categories": [' + "[" * 100_000 + "]" * 100_000 + "]}",
    "objects 100,000 deep": lambda: '{"categories": [' + '{"a":' * 100_000 + "1" + "}" * 100_000 + "]}",
    "lists 10 million deep, left open": lambda: '{"categories": [' + "[" * 10_000_000,
    "a member of 10 million numbers": lambda: json.dumps(WHOLE).replace(json.dumps([SQUARE]), "[[" + "1," * 10_000_000 + "1]]"),
    "a member of 10 million empty lists": lambda: json.dumps(WHOLE).replace(json.dumps([SQUARE]), "[[" + "[]," * 10_000_000 + "1]]"),
    "a text of 30 MB": lambda: json.dumps(WHOLE).replace("a.png", "x" * 30_000_000),
    "a key of 30 MB": lambda: json.dumps(WHOLE).replace('"iscrowd"', '"' + "x" * 30_000_000 + '"'),
    "50,000 categories": lambda: json.dumps({**WHOLE, "categories": [{"id": k, "name": f"c{k}"} for k in range(50_000)]}),
    "300 categories": lambda: json.dumps({**WHOLE, "categories": [{"id": k, "name": f"c{k}"} for k in range(300)]}),
    "a category twice": added("categories", {"id": 1, "name": "dog"}),
    "a category of a list": changed("categories", id=[1]),
    "a category without a name": changed("categories", name=None),
    "a category of 100,000 characters": changed("categories", name="x" * 100_000),
    "a category with a control character": changed("categories", name="c\u0007at"),
    "half a character in a category": json.dumps(WHOLE).replace('"cat"', '"c\\ud800at"'),
    "an id of a list": changed("images", id=[1]),
    "an id of an object": changed("images", id={"a": 1}),
    "an id of null": changed("images", id=None),
    "an id of 400 digits": json.dumps(WHOLE).replace('"id": 1', '"id": ' + "9" * 400, 1),
    "a height of billions": changed("images", height=2**40, width=2**40),
    "a height of 1e300": changed("images", height=1e300),
    "an infinite height": json.dumps(WHOLE).replace('"height": 8', '"height": 1e999'),
    "a negative height": changed("images", height=-8),
    "a height of nothing": changed("images", height=0),
    "a height that is a list": changed("images", height=[8]),
    "a height that is a lie": changed("images", height=9),
    "a file out of the root": changed("images", file_name="../outside/secret.txt"),
    "an absolute file": changed("images", file_name="/etc/passwd"),
    "a file with NUL": changed("images", file_name="a\0.png"),
    "a file that is a number": changed("images", file_name=7),
    "a file that is an object": changed("images", file_name={"a": []}),
    "a file of no name": changed("images", file_name=""),
    "a file called dot dot": changed("images", file_name=".."),
    "half a character in a file": json.dumps(WHOLE).replace("a.png", "\\ud800.png"),
    "a file of 300 characters": changed("images", file_name="x" * 300 + ".png"),
    "an image twice": added("images", WHOLE["images"][0]),
    "an object of another image": changed("annotations", image_id=77),
    "an object of a list of images": changed("annotations", image_id=[1]),
    "an object of a list of categories": changed("annotations", category_id=[1]),
    "an object of another category": changed("annotations", category_id=77),
    "an object that is a list": added("annotations", [1, 2]),
    "an object without an outline": added("annotations", {"image_id": 1, "category_id": 1}),
    "300 objects on an image": lambda: json.dumps({**WHOLE, "annotations": WHOLE["annotations"] * 300}),
    "100,000 objects of no image": lambda: json.dumps({**WHOLE, "annotations": [{"image_id": k, "category_id": 1, "segmentation": []} for k in range(2, 100_000)]}),
}  # fmt: skip
NAMED_BY_IMAGE = (
    "a height that is a lie",
    "a file of no name",
    "a file called dot dot",
    "a file of 300 characters",
    "half a character in a file",
)


def linked(folder: Path, *, name: str, to: str) -> str:
    """A file that is a link out of its folder."""
    plain_image(folder / "a.png", side=SIDE)
    (folder / "i.json").write_text(json.dumps(WHOLE))
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(folder / to)
    return name


# ---------------------------------------------------------------- proposals

ROW = ImageRow(
    image_id="a",
    split="train",
    measured=False,
    height=SIDE,
    width=SIDE,
    labels=np.ones(1, np.uint8),
    image=Path("a.png"),
    mask=None,
    instances=None,
    context=None,
)


def proposals(folder: Path) -> np.ndarray:
    found = read_proposals(folder, ROW, count=50, min_area=0.00002, max_area=0.85)
    assert found.dtype == np.bool_, found.dtype
    assert found.shape[1:] == (SIDE, SIDE), found.shape
    return found


def write(folder: Path, *, content: str | bytes | Callable[[], str | bytes], name: str) -> str:
    made = content() if callable(content) else content
    (folder / name).write_bytes(made if isinstance(made, bytes) else made.encode())
    return name


JSONS: dict[str, str | bytes | Callable[[], str]] = {
    "an object": "{}",
    "a number": "5",
    "NaN": "[NaN]",
    "cut short": '[{"size"',
    "lists 100,000 deep": lambda: "[" * 100_000 + "]" * 100_000,
    "a number of 10,000 digits": "[" + "1" * 10_000 + "]",
    "20 MB": lambda: "[" + "[]," * 7_000_000 + "[]]",
    "not UTF-8": b'["\xff\xfe"]',
    "a list of nulls": "[null, null]",
    "an object without an outline": '[{"score": 1}]',
}


def element(kind: int, body: bytes) -> bytes:
    return struct.pack("<II", kind, len(body)) + body + b"\0" * (-len(body) % 8)


def matrix(kind: int, dimensions: tuple[int, ...], name: bytes, *parts: bytes) -> bytes:
    flags, shape = struct.pack("<II", kind, 0), struct.pack(f"<{len(dimensions)}i", *dimensions)
    return element(14, element(6, flags) + element(5, shape) + element(1, name) + b"".join(parts))


START = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<H", 0x0100) + b"IM"
ONE = element(9, struct.pack("<d", 1.0))


def nested(depth: int) -> bytes:
    """Cells within cells, from the inside outward."""
    inner, head = (
        matrix(6, (1, 1), b"", ONE),
        element(6, struct.pack("<II", 1, 0)) + element(5, struct.pack("<2i", 1, 1)),
    )
    parts, size = [], len(inner)
    for name in [b""] * depth + [b"labels"]:
        begin = head + element(1, name)
        parts.append(struct.pack("<II", 14, len(begin) + size) + begin)
        size += len(begin) + 8
    return START + matrix(6, (1, 1), b"superpixels", ONE) + b"".join(reversed(parts)) + inner


def bomb(kind: int, name: bytes, *, megabytes: int) -> bytes:
    packer, size = zlib.compressobj(9), megabytes << 20
    start = (
        element(6, struct.pack("<II", kind, 0))
        + element(5, struct.pack("<2i", 1 << 20, megabytes))
        + element(1, name)
        + struct.pack("<II", 2, size)
    )
    head = packer.compress(struct.pack("<II", 14, len(start) + size) + start) + packer.flush(zlib.Z_FULL_FLUSH)
    body = (
        head + (packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)) * megabytes
    )  # after a full flush equal input is equal output
    return START + struct.pack("<II", 15, len(body)) + body


def saved(**arrays: Any) -> Callable[[], bytes]:
    def make() -> bytes:
        import io

        out = io.BytesIO()
        scipy.io.savemat(out, arrays)
        return out.getvalue()

    return make


MATS: dict[str, bytes | Callable[[], bytes]] = {
    "empty": b"",
    "header alone": START,
    "text": b"no matlab at all",
    "version 4": struct.pack("<5i", 0, 100_000, 100_000, 0, 2) + b"a\0" + bytes(10),
    "version 7.3": b"MATLAB 7.3 MAT-file".ljust(124) + struct.pack("<H", 0x0200) + b"IM" + b"\x89HDF\r\n\x1a\n",
    "dimensions of billions": START + matrix(9, (2**30, 2**30), b"superpixels", ONE) + matrix(1, (1, 1), b"labels", matrix(9, (1, 1), b"", ONE)),
    "100 million cells": START + matrix(1, (100_000_000, 1), b"labels", ONE),
    "100 million structures": START + matrix(2, (100_000_000, 1), b"labels", element(5, struct.pack("<i", 32)), element(1, b"f" * 32)),
    "negative dimensions": START + matrix(1, (-5, 1), b"labels", ONE),
    "cells 100 deep": partial(nested, 100),
    "cells 100,000 deep": partial(nested, 100_000),
    "4 GB in 4 MB": partial(bomb, 9, b"superpixels", megabytes=4000),
    "4 GB in 4 MB, under another name": partial(bomb, 9, b"other", megabytes=4000),
    "a sparse matrix": START + matrix(5, (10, 10), b"superpixels", element(5, struct.pack("<2i", -1, 2**30)), element(5, struct.pack("<2i", 0, 2**30)), ONE),
    "a function": START + matrix(16, (1, 1), b"maskmat", matrix(9, (1, 1), b"", ONE)),
    "an object": START + matrix(17, (1, 1), b"maskmat", element(1, b"java"), element(1, b"a")),
    "an element of 4 GB": START + struct.pack("<II", 14, 0xFFFFFFF0) + bytes(64),
    "a name of 4 GB": START + struct.pack("<II", 14, 64) + element(6, bytes(8)) + element(5, bytes(8)) + struct.pack("<II", 1, 0xFFFFFFF0) + bytes(64),
    "no variables of that name": saved(x=np.ones(3)),
    "superpixels of another size": saved(superpixels=np.ones((3, 3)), labels=np.array([[np.array([1.0])]], object)),
    "masks of another size": saved(maskmat=np.array([[np.ones((3, 3))]], object)),
    "masks that are text": saved(maskmat="abc"),
    "damaged compression": START + struct.pack("<II", 15, 100) + bytes(range(100)),
}  # fmt: skip


def cases() -> list[Case]:
    """All of them."""
    out = [Case(kind="COCO JSON", name=name, build=partial(coco, content=content, named="i.json" if name not in NAMED_BY_IMAGE else ""), read=read_coco_folder,
                legal=None if name == "half a character in a category" else False)
           for name, content in FILES.items()]  # fmt: skip
    out.append(
        Case(
            kind="COCO JSON",
            name="a link out",
            build=partial(linked, name="i.json", to="../outside/secret.txt"),
            read=read_coco_folder,
        )
    )
    out.append(
        Case(
            kind="COCO JSON",
            name="an image that is a link out",
            build=partial(linked, name="a.png", to="../outside/secret.txt"),
            read=read_coco_folder,
        )
    )
    out.append(
        Case(
            kind="proposals JSON",
            name="a link out",
            build=partial(linked, name="a.json", to="../outside/secret.txt"),
            read=proposals,
        )
    )
    for name, text in SEGMENTATIONS.items():
        build = partial(coco, content=lambda text=text: outline(text() if callable(text) else text))
        out.append(Case(kind="COCO JSON", name=f"outline: {name}", build=build, read=read_coco_folder))
        given = partial(write, content=lambda text=text: f"[{text() if callable(text) else text}]", name="a.json")
        out.append(Case(kind="proposals JSON", name=f"outline: {name}", build=given, read=proposals))
    out += [
        Case(kind="proposals JSON", name=name, build=partial(write, content=content, name="a.json"), read=proposals)
        for name, content in JSONS.items()
    ]
    nothing = json.dumps([{"size": [SIDE, SIDE], "counts": [SIDE * SIDE]}] * 300_000)
    build = partial(write, content=nothing, name="a.json")
    out.append(Case(kind="proposals JSON", name="300,000 masks of no pixel", build=build, read=proposals, legal=True))
    out += [
        Case(kind="proposals .mat", name=name, build=partial(write, content=content, name="a.mat"), read=proposals)
        for name, content in MATS.items()
    ]
    return out
