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

from .attempt import Case

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
    "one newline": "\n",
    "blank cells": ",,,\n,,,\n",
    "header alone": HEAD,
    "NUL in a name": HEAD.encode() + b"a\0.png,cat\n",
    "NUL in the header": b"ima\0ge,labels\na.png,cat\n",
    "NUL bytes only": b"\0" * 5000,
    "NUL in a class": HEAD.encode() + b"a.png,c\0at\nb.png,dog\n",
    "UTF-16": rows("a.png,cat").encode("utf-16"),
    "UTF-32": rows("a.png,cat").encode("utf-32"),
    "latin-1": HEAD.encode() + "a.png,Löwe\n".encode("latin1"),
    "EBCDIC": rows("a.png,cat").encode("cp500"),
    "overlong UTF-8": HEAD.encode() + b"a.png,c\xc0\xaet\n",
    "surrogate in UTF-8": HEAD.encode() + b"a\xed\xa0\x80.png,cat\n",
    "UTF-7": "+AGkAbQBhAGcAZQ-,labels\na.png,cat\n",
    "a ZIP file": b"PK\x03\x04" + bytes(range(256)) * 20,
    "random bytes": np.random.default_rng(1).integers(0, 256, 5000).astype(np.uint8).tobytes(),
    "an image": b"\x89PNG\r\n\x1a\n" + bytes(200),
    "quote left open": HEAD + 'a.png,"cat\nb.png,dog\n',
    "quote inside a cell": HEAD + 'a.png,"c"at\n',
    "newline in a name": HEAD + '"a\n.png",cat\n',
    "carriage return in a name": HEAD + '"a\r.png",cat\n',
    "newline in a class": HEAD + 'a.png,"ca\nt"\nb.png,dog\n',
    "escape sequence in a name": HEAD + "\x1b[2J\x1b]0;owned\x07.png,cat\n",
    "escape sequence in a class": HEAD + "a.png,\x1b[31mcat\nb.png,dog\n",
    "semicolons": "image;labels\na.png;cat\n",
    "tabs": "image\tlabels\na.png\tcat\n",
    "duplicate header": "image,labels,labels\na.png,cat,dog\n",
    "duplicate image column": "image,image,labels\na.png,b.png,cat\n",
    "no image column": "image,labels\na.png,cat\n",
    "image column twice in other capitals": "Image,IMAGE,labels\na.png,b.png,cat\n",
    "too many cells": rows("a.png,cat,dog,mouse"),
    "too few cells": rows("a.png"),
    "100,000 columns": "image," + ",".join(f"c{k}" for k in range(100_000)) + "\na.png" + ",0" * 100_000 + "\n",
    "1,500 columns": "image," + ",".join(f"c{k}" for k in range(1_500)) + "\na.png" + ",0" * 1_500 + "\n",
    "100,000 equal columns": "image" + ",x" * 100_000 + "\n",
    "a row of 10 million cells": HEAD + "," * 10_000_000 + "\n",
    "2,000 classes": rows(*(f"a.png,class number {k}" for k in range(2_000))),
    "a class of 100,000 characters": rows("a.png," + "x" * 100_000, "b.png,dog"),
    "a class called background": rows("a.png,Background", "b.png,dog"),
    "a path out of the root": rows("../outside/secret.txt,cat"),
    "an absolute path": rows("/etc/passwd,cat"),
    "a path out and in again": rows("../in/a.png,cat"),
    "a path through a folder that is not there": rows("no/../../outside/secret.txt,cat"),
    "a home folder": rows("~/a.png,cat"),
    "a URL": rows("http://127.0.0.1:9/a.png,cat"),
    "a file URL": rows("file:///etc/passwd,cat"),
    "a Windows path": rows("C:\\Windows\\win.ini,cat"),
    "dot": rows(".,cat"),
    "dot dot": rows("..,cat"),
    "slash": rows("/,cat"),
    "no name": rows(",cat"),
    "a name of 300 characters": rows("x" * 300 + ".png,cat"),
    "a path of 5,000 characters": rows("d/" * 2500 + "a.png,cat"),
    "an id of 250 bytes": rows("é" * 123 + ".png,cat"),
    "a name twice": rows("a.png,cat", "a.png,dog"),
    "two names of one id": rows("x/a.png,cat", "x__a.png,dog"),
    "a shell command": rows("$(touch ../outside/ran).png,cat"),
    "backticks": rows("`touch ../outside/ran`.png,cat"),
    "a formula for an image": rows("=cmd|'/c calc'!A1,cat"),
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

ODD: dict[str, tuple[str | bytes, list[str], list[str]]] = {
    "byte order mark": (b"\xef\xbb\xbf" + rows("a.png,cat", "b.png,dog").encode(), ["a", "b"], ["cat", "dog"]),
    "Windows line ends": (rows("a.png,cat", "b.png,dog").replace("\n", "\r\n"), ["a", "b"], ["cat", "dog"]),
    "a formula for a class": (rows("a.png,=1+1", "b.png,dog"), ["a", "b"], ["=1+1", "dog"]),
    "a shell command for a class": (rows("a.png,$(touch ../outside/ran)", "b.png,dog"), ["a", "b"], ["$(touch ../outside/ran)", "dog"]),
    "quotes, blanks and stars in a name": (rows("\"it's ""a"" * [b] {c} $d & e.png\",cat", "b.png,dog"), ["b", "it's a * [b] {c} $d & e"], ["cat", "dog"]),
    "a name that begins with a dash": (rows("--output=x.png,cat", "b.png,dog"), ["--output=x", "b"], ["cat", "dog"]),
    "markup for a class": (rows("a.png,<script>alert(1)</script>", "b.png,dog"), ["a", "b"], ["<script>alert(1)</script>", "dog"]),
    "a name of 200 bytes": (rows("x" * 196 + ".png,cat", "b.png,dog"), ["b", "x" * 196], ["cat", "dog"]),
    "names from right to left": (rows("\u202egnp.png,cat", "b.png,dog"), ["b", "\u202egnp"], ["cat", "dog"]),
}  # fmt: skip
"""Tables that look odd and are read: (content, ids, classes)."""


def odd(folder: Path, *, content: str | bytes) -> str:
    text = content if isinstance(content, bytes) else content.encode()
    names = [cells[0] for cells in csv.reader(text.decode("utf-8-sig").splitlines())][1:]
    return table(folder, content=text, images=tuple(names))


# ---------------------------------------------------------------- VOC's lists and annotations

XML = "<annotation>{}</annotation>"
DOG = "<object><name>dog</name></object>"


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


def put_link(folder: Path, *, at: str, to: str) -> None:
    (folder / at).unlink(missing_ok=True)
    os.symlink(folder / to, folder / at)


def put_pipe(folder: Path, *, at: str) -> None:
    (folder / at).unlink(missing_ok=True)
    os.mkfifo(folder / at)


def linked_mask(folder: Path) -> None:
    (folder / "SegmentationClass").mkdir()
    put_link(folder, at="SegmentationClass/a.png", to="../outside/secret.txt")


LAUGHS = (
    '<!DOCTYPE a [<!ENTITY a0 "ha">'
    + "".join(f'<!ENTITY a{k} "{f"&a{k - 1};" * 10}">' for k in range(1, 10))
    + "]><annotation><object><name>&a9;</name></object></annotation>"
)
XMLS: dict[str, str | bytes] = {
    "billion laughs": LAUGHS,
    "quadratic blow-up": f'<!DOCTYPE a [<!ENTITY a "{"x" * 50_000}">]><annotation><object><name>{"&a;" * 5_000}</name></object></annotation>',
    "an external entity": '<!DOCTYPE a [<!ENTITY e SYSTEM "../../outside/secret.txt">]><annotation><object><name>&e;</name></object></annotation>',
    "an external entity by URL": '<!DOCTYPE a [<!ENTITY e SYSTEM "http://127.0.0.1:9/">]><annotation><object><name>&e;</name></object></annotation>',
    "a parameter entity": '<!DOCTYPE a [<!ENTITY % p SYSTEM "file:///etc/passwd"> %p;]><annotation/>',
    "an unparsed entity": '<!DOCTYPE a [<!NOTATION n SYSTEM "x"><!ENTITY e SYSTEM "x" NDATA n>]><annotation/>',
    "half a million levels": "<a>" * 130_000 + "</a>" * 130_000,
    "levels left open": "<a>" * 200_000,
    "a comment of 900 kB": "<annotation><!--" + "x" * 900_000 + "-->",
    "two megabytes": XML.format(DOG * 70_000),
    "50,000 attributes": "<annotation " + " ".join(f'a{k}="1"' for k in range(50_000)) + ">",
    "an attribute twice": '<annotation a="1" a="2"/>',
    "an unknown encoding": '<?xml version="1.0" encoding="nosuch"?><annotation/>',
    "an encoding that is no text": '<?xml version="1.0" encoding="base64"?><annotation/>',
    "UTF-7": '<?xml version="1.0" encoding="utf-7"?><annotation/>',
    "an encoding that is a lie": '<?xml version="1.0" encoding="utf-16"?><annotation/>',
    "cut short": XML.format(DOG)[:-15],
    "empty": "",
    "NUL bytes": b"\0" * 4000,
    "a second root": XML.format(DOG) + "<more/>",
    "no objects": XML.format(""),
    "an object without a name": XML.format("<object><part><name>head</name></part></object>"),
    "a class that is not known": XML.format("<object><name>unicorn</name></object>"),
    "a class of 500,000 characters": XML.format(f"<object><name>{'x' * 500_000}</name></object>"),
    "20,000 classes": XML.format("".join(f"<object><name>c{k}</name></object>" for k in range(20_000))),
    "an image": b"\xff\xd8\xff\xe0" + bytes(300),
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
    "a line of a million characters": "x" * 1_000_000 + "\n",
    "10,000 missing": "".join(f"gone{k}\n" for k in range(10_000)),
    "a shell command": "$(touch ../outside/ran)\n",
}
CHANGES: dict[str, Callable[[Path], None]] = {
    "the image is a link out": partial(put_link, at="JPEGImages/a.jpg", to="../outside/secret.txt"),
    "the annotation is a link out": partial(put_link, at="Annotations/a.xml", to="../outside/secret.txt"),
    "the classes are a link out": partial(put_link, at="classes.txt", to="../outside/secret.txt"),
    "the image is a link to itself": partial(put_link, at="JPEGImages/a.jpg", to="JPEGImages/a.jpg"),
    "the image is a pipe": partial(put_pipe, at="JPEGImages/a.jpg"),
    "the annotation is a pipe": partial(put_pipe, at="Annotations/a.xml"),
    "the list is a link out": partial(put_link, at="ImageSets/Segmentation/train.txt", to="../outside/secret.txt"),
    "the mask is a link out": lambda folder: linked_mask(folder),
    "the list is a pipe": partial(put_pipe, at="ImageSets/Segmentation/train.txt"),
    "classes.txt in latin-1": lambda folder: (folder / "classes.txt").write_bytes(b"L\xf6we\n") and None,  # type: ignore[func-returns-value]
    "300 classes": lambda folder: (folder / "classes.txt").write_text("".join(f"c{k}\n" for k in range(300))) and None,  # type: ignore[func-returns-value]
}
NAMES_OF = {"the classes are a link out": "classes.txt", "the image is a link out": "a.jpg", "the image is a link to itself": "a.jpg",
            "the image is a pipe": "a.jpg", "the list is a pipe": "train.txt",
    "the list is a link out": "train.txt",
    "the mask is a link out": "a.png", "classes.txt in latin-1": "classes.txt", "300 classes": "classes.txt"}  # fmt: skip
LEVELS_ARE_READ = {"half a million levels": "no labels"}


def cases() -> list[Case]:
    """All of them."""
    out = [
        Case(kind="labels CSV", name=name, build=partial(table, content=content), read=read_table)
        for name, content in CONTENTS.items()
    ]
    out += [
        Case(
            kind="labels CSV",
            name=name,
            build=partial(odd, content=content),
            read=partial(expect, ids=ids, names=names),
            legal=True,
        )
        for name, (content, ids, names) in ODD.items()
    ]
    more: dict[str, Callable[[Path], str]] = {
        "a pipe": pipe,
        "a folder": a_folder,
        "a cell of 20 MB": huge_cell,
        "4 GB of nothing": huge_file,
        "2.1 million rows": partial(many_rows, row="a,b\n", count=2_100_000),
        "3,000 misspelt classes": partial(many_rows, row="a.png,catt\n", count=3_000),
        "5,000 missing images beside 200 others": many_missing,
        "a link out of the root": partial(link, name="labels.csv", to="../outside/secret.txt", content=""),
        "an image that is a link out": partial(
            link, name="a.png", to="../outside/secret.txt", content=rows("a.png,cat")
        ),
        "an image that is a link to itself": partial(link, name="a.png", to="a.png", content=rows("a.png,cat")),
        "an image that is a link to /dev/zero": partial(link, name="a.png", to="/dev/zero", content=rows("a.png,cat")),
        "a folder that is a link to its parent": partial(
            link, name="loop", to="..", content=rows("loop/outside/secret.txt,cat")
        ),
    }
    out += [Case(kind="labels CSV", name=name, build=build, read=read_table) for name, build in more.items()]
    out += [Case(kind="VOC annotation", name=name, build=partial(voc, xml=xml, named="a" if "class" in name or "object" in name else "a.xml"), read=read_voc_folder)
            for name, xml in XMLS.items() if name not in LEVELS_ARE_READ]  # fmt: skip
    out += [
        Case(
            kind="VOC annotation",
            name=name,
            build=partial(voc, xml=XMLS[name], named=LEVELS_ARE_READ[name]),
            read=read_voc_folder,
        )
        for name in LEVELS_ARE_READ
    ]
    out += [
        Case(kind="VOC list", name=name, build=partial(voc, names=names, named="train.txt"), read=read_voc_folder)
        for name, names in LISTS.items()
    ]
    out += [
        Case(
            kind="VOC list",
            name=name,
            build=partial(voc, change=change, named=NAMES_OF.get(name, "a.xml")),
            read=read_voc_folder,
        )
        for name, change in CHANGES.items()
    ]
    return out
