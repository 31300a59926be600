"""Tables of labels (CSV) and VOC's lists: cases for index_images."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from wsss.files.index import ImageIndex
from wsss.settings.sections import DatasetSection, FolderSection, VocSection
from wsss.settings.stage_settings import IndexSettings
from wsss.stages.dataset.index_images import index_images

from .attempt import Case, each

HEAD = "image,labels\n"


def plain_image(path: Path, *, side: int = 8) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((side, side, 3), 90, np.uint8)).save(path)


def read_table(folder: Path, **settings: object) -> ImageIndex:
    output = folder.parent / "out" / "index.csv"
    index_images(
        settings=IndexSettings(
            dataset=DatasetSection(kind="folder", folder=FolderSection(root=str(folder), **settings))
        ),
        output=output,
    )
    return ImageIndex(output)


def table(
    folder: Path, *, content: str | bytes, images: tuple[str, ...] = ("a.png", "b.png"), named: str = "labels.csv"
) -> str:
    for name in images:
        plain_image(folder / name)
    (folder / "labels.csv").write_bytes(content.encode() if isinstance(content, str) else content)
    return named


def rows(*lines: str) -> str:
    return HEAD + "".join(f"{line}\n" for line in lines)


def expect(folder: Path, *, ids: list[str], names: list[str]) -> None:
    """The table is read, and this is in it."""
    index = read_table(folder)
    assert list(index.rows) == ids, list(index.rows)
    assert index.class_names[1:] == names, index.class_names


def link(folder: Path, *, name: str, to: str, content: str) -> str:
    table(folder, content=content)
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).unlink(missing_ok=True)
    os.symlink(folder / to if to.startswith("..") else to, folder / name)
    return "labels.csv"


def pipe(folder: Path) -> str:
    plain_image(folder / "a.png")
    os.mkfifo(folder / "labels.csv")
    return "labels.csv"


def a_folder(folder: Path) -> str:
    (folder / "labels.csv").mkdir()
    return "labels.csv"


def huge_cell(folder: Path) -> str:
    with (folder / "labels.csv").open("w") as file:
        csv.writer(file).writerows([["image", "labels"], ["a.png", "x" * 20_000_000]])
    return "labels.csv"


def huge_file(folder: Path) -> str:
    with (folder / "labels.csv").open("wb") as file:
        file.write(HEAD.encode())
        file.truncate(1 << 32)  # 4 GB of NUL, none of it on the disk
    return "labels.csv"


def many_rows(folder: Path, *, row: str, count: int) -> str:
    table(folder, content=HEAD + row * count)
    return "labels.csv"


def many_missing(folder: Path) -> str:
    """A wrong folder: each missing image would be looked for among all others."""
    return table(
        folder, content=rows(*(f"gone{k}.png,cat" for k in range(5_000))), images=tuple(f"p{k}.png" for k in range(200))
    )


CONTENTS: dict[str, str | bytes] = {
    "empty": "",
    "blank cells": ",,,\n,,,\n",
    "header alone": HEAD,
    "NUL in a name": HEAD.encode() + b"a\0.png,cat\n",
    "NUL in a class": HEAD.encode() + b"a.png,c\0at\nb.png,dog\n",
    "UTF-16": rows("a.png,cat").encode("utf-16"),
    "latin-1": HEAD.encode() + "a.png,Löwe\n".encode("latin1"),
    "surrogate in UTF-8": HEAD.encode() + b"a\xed\xa0\x80.png,cat\n",
    "a ZIP file": b"PK\x03\x04" + bytes(range(256)) * 20,
    "quote left open": HEAD + 'a.png,"cat\nb.png,dog\n',
    "quote inside a cell": HEAD + 'a.png,"c"at\n',
    "newline in a name": HEAD + '"a\n.png",cat\n',
    "newline in a class": HEAD + 'a.png,"ca\nt"\nb.png,dog\n',
    "escape sequence in a name": HEAD + "\x1b[2J\x1b]0;owned\x07.png,cat\n",
    "escape sequence in a class": HEAD + "a.png,\x1b[31mcat\nb.png,dog\n",
    "semicolons": "image;labels\na.png;cat\n",
    "duplicate header": "image,labels,labels\na.png,cat,dog\n",
    "no image column": "photo,labels\na.png,cat\n",
    "too many cells": rows("a.png,cat,dog,mouse"),
    "too few cells": rows("a.png"),
    "1,500 columns": "image," + ",".join(f"c{k}" for k in range(1_500)) + "\na.png" + ",0" * 1_500 + "\n",
    "a row of 10 million cells": HEAD + "," * 10_000_000 + "\n",
    "2,000 classes": rows(*(f"a.png,class number {k}" for k in range(2_000))),
    "a class of 100,000 characters": rows("a.png," + "x" * 100_000, "b.png,dog"),
    "a class called background": rows("a.png,Background", "b.png,dog"),
    "a path out of the root": rows("../outside/secret.txt,cat"),
    "an absolute path": rows("/etc/passwd,cat"),
    "a path out and in again": rows("../in/a.png,cat"),
    "a URL": rows("http://127.0.0.1:9/a.png,cat"),
    "a Windows path": rows("C:\\Windows\\win.ini,cat"),
    "dot dot": rows("..,cat"),
    "no name": rows(",cat"),
    "a name of 300 characters": rows("x" * 300 + ".png,cat"),
    "an id of 250 bytes": rows("é" * 123 + ".png,cat"),
    "a name twice": rows("a.png,cat", "a.png,dog"),
    "two names of one id": rows("x/a.png,cat", "x__a.png,dog"),
    "a shell command": rows("$(touch ../outside/ran).png,cat"),
    "a split of another name": "image,labels,split\na.png,cat,test\n",
    "a formula for a split": "image,labels,split\na.png,cat,=1+1\n",
    "a mask out of the root": "image,labels,mask\na.png,cat,../outside/secret.txt\n",
    "an absolute mask": "image,labels,mask\na.png,cat,/etc/passwd\n",
    "a mask that is an image": "image,labels,mask\na.png,cat,b.png\n",
    "a number that is no label": "image,cat\na.png,2\nb.png,1\n",
    "infinity for a label": "image,cat\na.png,inf\nb.png,nan\n",
    "labels with nothing between": rows("a.png,;;;", "b.png,dog"),
}
"""Tables that are refused."""

COMMAND, SCRIPT, STARS = "$(touch ../outside/ran)", "<script>alert(1)</script>", "it's a * [b] {c} $d & e"
ODD: dict[str, tuple[str | bytes, list[str], list[str]]] = {
    "byte order mark": (b"\xef\xbb\xbf" + rows("a.png,cat", "b.png,dog").encode(), ["a", "b"], ["cat", "dog"]),
    "Windows line ends": (rows("a.png,cat", "b.png,dog").replace("\n", "\r\n"), ["a", "b"], ["cat", "dog"]),
    "a formula for a class": (rows("a.png,=1+1", "b.png,dog"), ["a", "b"], ["=1+1", "dog"]),
    "a shell command for a class": (rows(f"a.png,{COMMAND}", "b.png,dog"), ["a", "b"], [COMMAND, "dog"]),
    "quotes, blanks and stars in a name": (rows(f'"{STARS}.png",cat', "b.png,dog"), ["b", STARS], ["cat", "dog"]),
    "a name that begins with a dash": (rows("--output=x.png,cat", "b.png,dog"), ["--output=x", "b"], ["cat", "dog"]),
    "markup for a class": (rows(f"a.png,{SCRIPT}", "b.png,dog"), ["a", "b"], [SCRIPT, "dog"]),
    "a name of 200 bytes": (rows("x" * 196 + ".png,cat", "b.png,dog"), ["b", "x" * 196], ["cat", "dog"]),
    "names from right to left": (rows("\u202egnp.png,cat", "b.png,dog"), ["b", "\u202egnp"], ["cat", "dog"]),
}
"""Tables that look odd and are read: (content, ids, classes)."""


def odd(folder: Path, *, content: str | bytes) -> str:
    text = content if isinstance(content, bytes) else content.encode()
    names = [cells[0] for cells in csv.reader(text.decode("utf-8-sig").splitlines())][1:]
    return table(folder, content=text, images=tuple(names))


# ---------------------------------------------------------------- VOC's lists and annotations

XML = "<annotation>{}</annotation>"
NAMED = "<object><name>{}</name></object>"
DOG = NAMED.format("dog")


def read_voc_folder(folder: Path, **settings: object) -> ImageIndex:
    output = folder.parent / "out" / "index.csv"
    section = VocSection(root=str(folder), **{"train": "train", "measure": "", "val": ""} | settings)
    index_images(settings=IndexSettings(dataset=DatasetSection(kind="voc", voc=section)), output=output)
    return ImageIndex(output)


def voc(
    folder: Path,
    *,
    names: str | bytes = "a\n",
    xml: str | bytes = XML.format(DOG),
    change: Callable[[Path], None] | None = None,
    named: str = "a.xml",
) -> str:
    for part in ("JPEGImages", "Annotations", "ImageSets/Segmentation"):
        (folder / part).mkdir(parents=True)
    plain_image(folder / "JPEGImages" / "a.jpg")
    (folder / "Annotations" / "a.xml").write_bytes(xml.encode() if isinstance(xml, str) else xml)
    (folder / "ImageSets" / "Segmentation" / "train.txt").write_bytes(
        names.encode() if isinstance(names, str) else names
    )
    if change:
        change(folder)
    return named


def put_link(folder: Path, *, at: str, to: str = "../outside/secret.txt") -> None:
    (folder / at).parent.mkdir(exist_ok=True)
    (folder / at).unlink(missing_ok=True)
    os.symlink(folder / to, folder / at)


def put_pipe(folder: Path, *, at: str) -> None:
    (folder / at).unlink(missing_ok=True)
    os.mkfifo(folder / at)


def put_text(folder: Path, *, at: str, text: bytes) -> None:
    (folder / at).write_bytes(text)


LAUGHS = (
    '<!DOCTYPE a [<!ENTITY a0 "ha">'
    + "".join(f'<!ENTITY a{k} "{f"&a{k - 1};" * 10}">' for k in range(1, 10))
    + "]>"
    + XML.format(NAMED.format("&a9;"))
)
XMLS: dict[str, str | bytes] = {
    "billion laughs": LAUGHS,
    "quadratic blow-up": f'<!DOCTYPE a [<!ENTITY a "{"x" * 50_000}">]>' + XML.format(NAMED.format("&a;" * 5_000)),
    "an external entity": '<!DOCTYPE a [<!ENTITY e SYSTEM "../../outside/secret.txt">]>'
    + XML.format(NAMED.format("&e;")),
    "half a million levels": "<a>" * 130_000 + "</a>" * 130_000,
    "two megabytes": XML.format(DOG * 70_000),
    "an unknown encoding": '<?xml version="1.0" encoding="nosuch"?><annotation/>',
    "cut short": XML.format(DOG)[:-15],
    "empty": "",
    "no objects": XML.format(""),
    "an object without a name": XML.format("<object><part><name>head</name></part></object>"),
    "a class that is not known": XML.format("<object><name>unicorn</name></object>"),
    "a class of 500,000 characters": XML.format(f"<object><name>{'x' * 500_000}</name></object>"),
    "HTML": "<!DOCTYPE html><html><br><p>404</html>",
}
LISTS: dict[str, str | bytes] = {
    "empty": "",
    "a path out of the root": "../../outside/secret\n",
    "an absolute path": "/etc/passwd\n",
    "dot dot": "..\n",
    "NUL": b"a\0b\n",
    "escape sequence": "\x1b[2J\n",
    "UTF-16": "a\n".encode("utf-16"),
    "latin-1": "Löwe\n".encode("latin1"),
    "a name twice": "a\na\n",
    "a name of 5,000 characters": "x" * 5_000 + "\n",
    "10,000 missing": "".join(f"gone{k}\n" for k in range(10_000)),
    "a shell command": "$(touch ../outside/ran)\n",
}
LIST, IMAGE = "ImageSets/Segmentation/train.txt", "JPEGImages/a.jpg"
CHANGES: dict[str, tuple[str, Callable[[Path], None]]] = {
    "the image is a link out": ("a.jpg", partial(put_link, at=IMAGE)),
    "the annotation is a link out": ("a.xml", partial(put_link, at="Annotations/a.xml")),
    "the classes are a link out": ("classes.txt", partial(put_link, at="classes.txt")),
    "the list is a link out": ("train.txt", partial(put_link, at=LIST)),
    "the mask is a link out": ("a.png", partial(put_link, at="SegmentationClass/a.png")),
    "the image is a link to itself": ("a.jpg", partial(put_link, at=IMAGE, to=IMAGE)),
    "the image is a pipe": ("a.jpg", partial(put_pipe, at=IMAGE)),
    "the annotation is a pipe": ("a.xml", partial(put_pipe, at="Annotations/a.xml")),
    "the list is a pipe": ("train.txt", partial(put_pipe, at=LIST)),
    "classes.txt in latin-1": ("classes.txt", partial(put_text, at="classes.txt", text=b"L\xf6we\n")),
    "300 classes": (
        "classes.txt",
        partial(put_text, at="classes.txt", text=b"".join(b"c%d\n" % k for k in range(300))),
    ),
}
"""What is changed in a VOC folder, with the file that the message must name."""


def named_of(name: str) -> str:
    """What the message about an annotation names: its image, where only its content is at fault."""
    if name == "half a million levels":
        return "no labels"
    return "a" if "class" in name or "object" in name else "a.xml"


def made(folder: Path, *, content: Callable[[Path], str]) -> str:
    return content(folder)


def cases() -> list[Case]:
    """All of them."""
    out_of_root = "../outside/secret.txt"
    image_link = partial(link, name="a.png", content=rows("a.png,cat"))
    loop = partial(link, name="loop", to="..", content=rows("loop/outside/secret.txt,cat"))
    more: dict[str, Callable[[Path], str]] = {
        "a pipe": pipe,
        "a folder": a_folder,
        "a cell of 20 MB": huge_cell,
        "4 GB of nothing": huge_file,
        "2.1 million rows": partial(many_rows, row="a,b\n", count=2_100_000),
        "3,000 misspelt classes": partial(many_rows, row="a.png,catt\n", count=3_000),
        "5,000 missing images beside 200 others": many_missing,
        "a link out of the root": partial(link, name="labels.csv", to=out_of_root, content=""),
        "an image that is a link out": partial(image_link, to=out_of_root),
        "an image that is a link to itself": partial(image_link, to="a.png"),
        "an image that is a link to /dev/zero": partial(image_link, to="/dev/zero"),
        "a folder that is a link to its parent": loop,
    }
    out = [*each("labels CSV", CONTENTS, table, read_table), *each("labels CSV", more, made, read_table)]
    for name, (content, ids, names) in ODD.items():
        out += each("labels CSV", {name: content}, odd, partial(expect, ids=ids, names=names), legal=True)
    annotations = {name: partial(voc, xml=xml, named=named_of(name)) for name, xml in XMLS.items()}
    lists = {name: partial(voc, names=names, named="train.txt") for name, names in LISTS.items()}
    lists |= {name: partial(voc, change=change, named=named) for name, (named, change) in CHANGES.items()}
    return [
        *out,
        *each("VOC annotation", annotations, made, read_voc_folder),
        *each("VOC list", lists, made, read_voc_folder),
    ]
