"""Outlines: COCO's instances files through index_images, and given proposals (JSON and MATLAB) through their reader."""

from __future__ import annotations

import copy
import io
import json
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

from .attempt import Case, each
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
    "a count of 10,000 digits": f'{{"size": [{SIDE}, {SIDE}], "counts": [{"1" * 10_000}]}}',
    "no counts": json.dumps(COUNTS_OF),
    "an empty text of counts": json.dumps({**COUNTS_OF, "counts": ""}),
    "a text of counts that is cut": json.dumps({**COUNTS_OF, "counts": "P"}),
    "a text of counts that never ends": json.dumps({**COUNTS_OF, "counts": "o" * 500}),
    "a text of counts beyond the image": json.dumps({**COUNTS_OF, "counts": "oooo0"}),
    "a text of other characters": json.dumps({**COUNTS_OF, "counts": "\u00e9\u4e2d ~"}),
    "a size of billions": json.dumps({"size": [2**31, 2**31], "counts": "P2"}),
    "a negative size": json.dumps({"size": [-8, -8], "counts": [64]}),
    "no size": json.dumps({"counts": [64]}),
    "a polygon out to a billion": "[[0, 0, 1e9, 0, 1e9, 1e9]]",
    "a polygon to infinity": "[[0, 0, 1e999, 0, 5, 5]]",
    "a polygon of NaN": "[[0, 0, NaN, 0, 5, 5]]",
    "a polygon of null": "[[null, 0, 1, 0, 5, 5]]",
    "a polygon of three numbers": "[[1, 2, 3]]",
    "a polygon of an odd number": "[[1, 2, 3, 4, 5, 6, 7]]",
    "no polygon": "[]",
    "a text": '"abc"',
    "null": "null",
    "lists 30 deep": "[" * 20 + "]" * 20,
}
FILES: dict[str, str | bytes | Callable[[], str]] = {
    "empty": "",
    "not JSON": "<html></html>",
    "cut short": json.dumps(WHOLE)[:-30],
    "a list": "[]",
    "a text": '"images"',
    "nothing in it": "{}",
    "members that are numbers": '{"images": [1], "annotations": [2], "categories": [3]}',
    "lists 100,000 deep": lambda: '{"categories": [' + "[" * 100_000 + "]" * 100_000 + "]}",
    "a member of 10 million numbers": lambda: outline("[[" + "1," * 10_000_000 + "1]]"),
    "a text of 30 MB": lambda: json.dumps(WHOLE).replace("a.png", "x" * 30_000_000),
    "300 categories": lambda: json.dumps({**WHOLE, "categories": [{"id": k, "name": f"c{k}"} for k in range(300)]}),
    "a category twice": added("categories", {"id": 1, "name": "dog"}),
    "a category of a list": changed("categories", id=[1]),
    "a category without a name": changed("categories", name=None),
    "a category with a control character": changed("categories", name="c\u0007at"),
    "an id of a list": changed("images", id=[1]),
    "an id of 400 digits": json.dumps(WHOLE).replace('"id": 1', '"id": ' + "9" * 400, 1),
    "a height of billions": changed("images", height=2**40, width=2**40),
    "an infinite height": json.dumps(WHOLE).replace('"height": 8', '"height": 1e999'),
    "a negative height": changed("images", height=-8),
    "a height that is a lie": changed("images", height=9),
    "a file out of the root": changed("images", file_name="../outside/secret.txt"),
    "an absolute file": changed("images", file_name="/etc/passwd"),
    "a file with NUL": changed("images", file_name="a\0.png"),
    "a file that is a number": changed("images", file_name=7),
    "a file of no name": changed("images", file_name=""),
    "half a character in a file": json.dumps(WHOLE).replace("a.png", "\\ud800.png"),
    "a file of 300 characters": changed("images", file_name="x" * 300 + ".png"),
    "an image twice": added("images", WHOLE["images"][0]),
    "an object of another image": changed("annotations", image_id=77),
    "an object of a list of images": changed("annotations", image_id=[1]),
    "an object of another category": changed("annotations", category_id=77),
    "an object that is a list": added("annotations", [1, 2]),
    "an object without an outline": added("annotations", {"image_id": 1, "category_id": 1}),
    "300 objects on an image": lambda: json.dumps({**WHOLE, "annotations": WHOLE["annotations"] * 300}),
}  # fmt: skip
HALF = json.dumps(WHOLE).replace('"cat"', '"c\\ud800at"')
NAMED_BY_IMAGE = (
    "a height that is a lie",
    "a file of no name",
    "a file of 300 characters",
    "half a character in a file",
)


def linked(folder: Path, *, content: str) -> str:
    """The file of this name is a link out of its folder."""
    plain_image(folder / "a.png", side=SIDE)
    (folder / "i.json").write_text(json.dumps(WHOLE))
    (folder / content).unlink(missing_ok=True)
    (folder / content).symlink_to(folder / "../outside/secret.txt")
    return content


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


def given(folder: Path, *, content: str | bytes | Callable[[], str], name: str = "a.json") -> str:
    made = content() if callable(content) else content
    (folder / name).write_bytes(made if isinstance(made, bytes) else made.encode())
    return name


JSONS: dict[str, str | bytes | Callable[[], str]] = {
    "an object": "{}",
    "cut short": '[{"size"',
    "lists 100,000 deep": lambda: "[" * 100_000 + "]" * 100_000,
    "a number of 10,000 digits": "[" + "1" * 10_000 + "]",
    "20 MB": lambda: "[" + "[]," * 7_000_000 + "[]]",
    "an object without an outline": '[{"score": 1}]',
}


def saved(**arrays: Any) -> bytes:
    out = io.BytesIO()
    scipy.io.savemat(out, arrays)
    return out.getvalue()


MATS: dict[str, bytes] = {
    "empty": b"",
    "text": b"no matlab at all",
    "no variables of that name": saved(x=np.ones(3)),
    "superpixels of another size": saved(superpixels=np.ones((3, 3)), labels=np.array([[np.array([1.0])]], object)),
    "masks of another size": saved(maskmat=np.array([[np.ones((3, 3))]], object)),
    "masks that are text": saved(maskmat="abc"),
}


def cases() -> list[Case]:
    """All of them."""
    by_image = {name: content for name, content in FILES.items() if name in NAMED_BY_IMAGE}
    by_file = {name: content for name, content in FILES.items() if name not in NAMED_BY_IMAGE}
    in_coco = {name: partial(_outline, text) for name, text in SEGMENTATIONS.items()}
    alone = {name: partial(_listed, text) for name, text in SEGMENTATIONS.items()}
    many = json.dumps([{"size": [SIDE, SIDE], "counts": [SIDE * SIDE]}] * 300_000)
    return [
        *each("COCO JSON", by_file, coco, read_coco_folder),
        *each("COCO JSON", by_image, partial(coco, named=""), read_coco_folder),
        *each("COCO JSON", {"half a character in a category": HALF}, coco, read_coco_folder, legal=None),
        *each("COCO JSON", {f"{name} is a link out": name for name in ("i.json", "a.png")}, linked, read_coco_folder),
        *each("COCO JSON", {f"outline: {name}": text for name, text in in_coco.items()}, coco, read_coco_folder),
        *each("proposals JSON", {"a link out": "a.json"}, linked, proposals),
        *each("proposals JSON", {f"outline: {name}": text for name, text in alone.items()}, given, proposals),
        *each("proposals JSON", JSONS, given, proposals),
        *each("proposals JSON", {"300,000 masks of no pixel": many}, given, proposals, legal=True),
        *each("proposals .mat", MATS, partial(given, name="a.mat"), proposals),
    ]


def _outline(text: str | Callable[[], str]) -> str:
    return outline(text() if callable(text) else text)


def _listed(text: str | Callable[[], str]) -> str:
    return f"[{text() if callable(text) else text}]"
