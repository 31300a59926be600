"""Valid files of every kind, damaged at random from a seed: the right answer or one clear error, and nothing else.

`WSSS_FUZZ=5000 pytest -m slow tests/hostile` damages as many of each kind, from another seed with WSSS_FUZZ_SEED.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as coco_mask

from wsss.cli.convert_labels import read_labels
from wsss.files.imaging import read_image, read_mask
from wsss.files.index import ImageIndex
from wsss.files.limits import id_fault
from wsss.files.store import MapReader
from wsss.nets.checkpoints import load_network
from wsss.settings.config import load
from wsss.settings.sections import FolderSection
from wsss.stages.dataset.coco_json import read_categories, read_coco_images
from wsss.stages.dataset.faults import Faults
from wsss.stages.dataset.folder import read_folder
from wsss.stages.dataset.voc import read_annotation

from . import artefacts, images, outlines, stored_maps
from .attempt import ALLOWED, LONGEST, attempt

USUAL = 200
SEED = int(os.environ.get("WSSS_FUZZ_SEED", "0"))
TELLING = (
    *(b"\0", b"\xff", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x80", b"\xed\xa0\x80"),
    *(b"-1", b"1e999", b"NaN", b'"', b"'", b",", b"\n", b"[", b"{", b"&a;", b".."),
)
"""What parsers stumble over."""


def damaged(data: bytes, draw: np.random.Generator) -> bytes:
    """One to four changes: a bit, a byte, a telling text, a piece lost, doubled, moved or cut off."""
    out = bytearray(data)
    for _ in range(draw.integers(1, 5)):
        at, size = int(draw.integers(0, len(out) + 1)), int(draw.integers(1, 33))
        what = draw.integers(0, 7)
        if what == 0 and at < len(out):
            out[at] ^= 1 << int(draw.integers(0, 8))
        elif what == 1 and at < len(out):
            out[at] = int(draw.integers(0, 256))
        elif what == 2:
            out[at:at] = TELLING[int(draw.integers(0, len(TELLING)))]
        elif what == 3:
            piece = TELLING[int(draw.integers(0, len(TELLING)))]
            out[at : at + len(piece)] = piece
        elif what == 4:
            del out[at : at + size]
        elif what == 5:
            out[at:at] = out[max(0, at - size) : at]
        elif draw.random() < 0.3:
            del out[at:]
    return bytes(out)


# ---------------------------------------------------------------- the kinds: a valid file, and what a reader may answer


def table_of(folder: Path) -> None:
    faults = Faults()
    source = read_folder(FolderSection(root=str(folder), labels="file"), faults)
    assert all(row.image.resolve().is_relative_to(folder.resolve()) for row in source.rows)
    assert len(faults) or not any(
        id_fault(row.image_id) for row in source.rows if len(row.image_id) < 200 and row.image_id.isprintable()
    )


def annotation_of(folder: Path) -> None:
    assert all(isinstance(name, str) for name in read_annotation(folder / "file", Faults(), where="x"))


def coco_of(folder: Path) -> None:
    known = read_categories(folder / "file")
    for found in read_coco_images(folder / "file", dict.fromkeys(known, 1), Faults()).values():
        for thing in found.things:
            assert coco_mask.decode({"size": list(found.size), "counts": thing.outline}).shape == found.size


def image_of(folder: Path) -> None:
    found = read_image(folder / "file")
    assert found.dtype == np.uint8
    assert found.shape[2:] == (3,)


def mask_of(folder: Path) -> None:
    found = read_mask(folder / "file")
    assert (found.dtype, found.ndim) == (np.uint8, 2)


def proposals_of(folder: Path) -> None:
    (folder / "file").rename(folder / "a.json")
    outlines.proposals(folder)


def maps_of(folder: Path) -> None:
    """Every value that is read is the one that was written."""
    with MapReader(folder / "file") as reader:
        for image_id in reader.image_ids:
            record, k = reader.read(image_id), int(image_id.split()[1])
            np.testing.assert_array_equal(record["mask"], np.full((20, 30), k, np.uint8))
            np.testing.assert_array_equal(record["scores"], np.full((2, 4, 5), k / 3, np.float16))


def network_of(folder: Path) -> None:
    """Every weight that is read is the one that was written."""
    state, meta = load_network(folder / "file")
    assert torch.equal(state["w"], torch.arange(8.0))
    assert torch.equal(state["b"], torch.ones(2, 3))
    assert meta == {"stage": "train_segmenter", "classes": ["background", "cat"]}


def labels_of(folder: Path) -> None:
    for value in read_labels(folder / "file").values():
        assert not isinstance(value, np.ndarray) or value.dtype.kind in "biuf"


def configuration_of(folder: Path) -> None:
    load(folder / "file")


def index_of(folder: Path) -> None:
    (folder / "file").rename(folder / "index.csv")
    (folder / "classes.csv").write_text("class_id,name\n0,background\n1,cat\n")
    assert not any(map(id_fault, ImageIndex(folder / "index.csv").rows))


def made(build: Callable[[Path], Any]) -> Callable[[Path], bytes]:
    """The bytes of a file that `build` writes."""

    def read(folder: Path) -> bytes:
        build(folder / "sample")
        return (folder / "sample").read_bytes()

    return read


def whole_coco(_: Path) -> bytes:
    inside = np.zeros((8, 8), np.uint8)
    inside[2:5, 3:7] = 1
    packed = coco_mask.encode(np.asfortranarray(inside))["counts"].decode()
    content = json.loads(json.dumps(outlines.WHOLE))
    for outline in ({"size": [8, 8], "counts": packed}, {"size": [8, 8], "counts": [10, 20, 34]}):
        content["annotations"].append({"image_id": 1, "category_id": 1, "segmentation": outline})
    return json.dumps(content).encode()


def index_file(_: Path) -> bytes:
    from wsss.files.index import INDEX_COLUMNS

    return (",".join(INDEX_COLUMNS) + "\na,train,0,8,8,cat,a.png,,,,0\nb,val,1,9,9,,b.png,m.png,,,0\n").encode()


def palette(_: Path) -> bytes:
    out = io.BytesIO()
    drawn = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8) % 5, mode="P")
    drawn.putpalette(bytes(range(256)) * 3)
    drawn.save(out, "PNG")
    return out.getvalue()


def labels(path: Path) -> None:
    table: Any = {f"2007_00003{k}": np.eye(20, dtype=np.float32)[k] for k in range(3)}
    with path.open("wb") as file:
        np.save(file, table, allow_pickle=True)


TABLE = 'image,labels,split,mask\na.png,cat;dog,train,\n"b c.png",dog,val,m.png\nsub/d.png,cat,train,\n'
PROPOSALS = json.dumps([{"segmentation": {"size": [8, 8], "counts": [10, 20, 34]}, "score": 1}, [[1, 1, 6, 1, 6, 6]]])
CONFIG = """run: a
methods: [cam, mine]
segment: {methods: []}
instances: {methods: []}
recipes: {mine: &x {kind: cam, seeds: {claim: {rel_threshold: 0.3}}}}
evaluate:
  threshold: 0.25
"""
XML = """<?xml version="1.0"?>
<annotation><size><width>8</width></size><object><name>dog</name><difficult>1</difficult></object>
<object><name>cat</name></object></annotation>
"""
JPEG_EXIF = images.with_exif(b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0")
KINDS: dict[str, tuple[Callable[[Path], bytes], Callable[[Path], None]]] = {
    "labels CSV": (lambda _: TABLE.encode(), table_of),
    "VOC annotation": (lambda _: XML.encode(), annotation_of),
    "COCO JSON": (whole_coco, coco_of),
    "image, PNG": (lambda _: images.encoded("PNG", size=(20, 12)), image_of),
    "image, JPEG": (lambda _: JPEG_EXIF, image_of),
    "image, progressive JPEG": (lambda _: images.encoded("JPEG", progressive=True, size=(30, 20)), image_of),
    "image, WebP": (lambda _: images.encoded("WEBP", size=(30, 20)), image_of),
    "image, TIFF": (lambda _: images.encoded("TIFF", compression="tiff_lzw", size=(20, 12)), image_of),
    "image, GIF": (lambda _: images.encoded("GIF", size=(20, 12)), image_of),
    "image, BMP": (lambda _: images.encoded("BMP", size=(20, 12)), image_of),
    "image, JPEG 2000": (lambda _: images.encoded("JPEG2000", size=(30, 20)), image_of),
    "mask": (palette, mask_of),
    "proposals JSON": (lambda _: PROPOSALS.encode(), proposals_of),
    "maps": (made(stored_maps.good_maps), maps_of),
    "network": (made(artefacts.good_network), network_of),
    "pickled labels": (made(labels), labels_of),
    "configuration": (lambda _: CONFIG.encode(), configuration_of),
    "index": (index_file, index_of),
}


def fuzz(kind: str, folder: Path, *, count: int) -> str:
    """What goes wrong among `count` damaged files of a kind; "" if nothing does."""
    sample, check = KINDS[kind]
    (folder / "whole").mkdir()
    whole = sample(folder / "whole")
    (folder / "in").mkdir()

    def one(number: int) -> None:
        for old in (folder / "in").iterdir():
            old.unlink()
        draw = np.random.default_rng([SEED, sorted(KINDS).index(kind), number])
        (folder / "in" / "file").write_bytes(damaged(whole, draw) if number else whole)
        (folder / "number").write_text(str(number))  # known even if the process dies
        try:
            check(folder / "in")
            return
        except ALLOWED as error:
            said = str(error)
        except AssertionError as error:
            raise AssertionError(f"number {number}: {str(error)[:300]}") from None
        except Exception as error:
            raise AssertionError(f"number {number}: {type(error).__name__}: {str(error)[:300]}") from None
        assert number, f"the whole file is refused: {said}"
        assert len(said.replace(str(folder), "")) <= LONGEST, f"number {number}: a message of {len(said)} characters"

    done, step = 0, 100
    while done < count:
        last = min(done + step, count)
        outcome = attempt([lambda first=done, last=last: [one(k) for k in range(first, last)]], seconds=60)[0]
        if outcome.kind != "read":
            return f"{outcome.kind} at number {(folder / 'number').read_text()}: {outcome.text}"
        done = last
    return ""


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files(kind, tmp_path):
    assert fuzz(kind, tmp_path, count=USUAL) == ""


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_many_damaged_files(kind, tmp_path):
    assert fuzz(kind, tmp_path, count=int(os.environ.get("WSSS_FUZZ", "2000"))) == ""
