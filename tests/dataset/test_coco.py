"""COCO: labels, truth and what is refused, against pycocotools where it says the same."""

from __future__ import annotations

import json
import tracemalloc

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from wsss.files.errors import ArtefactError
from wsss.files.imaging import read_mask
from wsss.files.index import ImageIndex
from wsss.files.rle import pack
from wsss.files.text_files import read_json, write_json
from wsss.settings.sections import CocoSection, DatasetSection
from wsss.settings.stage_settings import IndexSettings
from wsss.stages.dataset.coco_json import count_images, encode, read_categories, read_coco_images
from wsss.stages.dataset.faults import DataError, Faults
from wsss.stages.dataset.index_images import index_images
from wsss.stages.instances.export_instances import export_instances

SIZE = (40, 60)
SQUARE = [[5, 5, 25, 5, 25, 25, 5, 25]]
SMALL = [[10, 10, 15, 10, 15, 15, 10, 15]]
BEYOND = [[50, 30, 90, 30, 90, 70, 50, 70]]


def run_lengths(inside):
    """Uncompressed run lengths, column by column, beginning with zeros."""
    flat = inside.ravel(order="F").astype(int)
    edges = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff([0, *edges, flat.size]).tolist()
    return {"size": list(inside.shape), "counts": counts if flat[0] == 0 else [0, *counts]}


def crowd():
    inside = np.zeros(SIZE, bool)
    inside[0:20, 0:12] = True
    return run_lengths(inside)


def thing(image, category, outline, *, iscrowd=0):
    return {"image_id": image, "category_id": category, "segmentation": outline, "iscrowd": iscrowd}


def whole(*, first=1, name="COCO_train2014_{:012d}.jpg"):
    """A file of five images; categories 3 (person), 17 (cat), 90 (toothbrush)."""
    annotations = [
        thing(first, 17, SQUARE), thing(first, 3, SMALL), thing(first, 90, crowd(), iscrowd=1),
        thing(first + 1, 90, BEYOND), thing(first + 2, 17, crowd(), iscrowd=1),
        thing(first + 4, 3, SQUARE), thing(first + 4, 3, [SQUARE[0], BEYOND[0]]), thing(first + 4, 17, SMALL),
    ]  # fmt: skip
    return {
        "info": {"year": 2014},
        "images": [
            {"id": first + k, "file_name": name.format(first + k), "height": SIZE[0], "width": SIZE[1]}
            for k in range(5)
        ],
        "annotations": [{"id": k, "area": 1.0, "bbox": [0, 0, 1, 1], **a} for k, a in enumerate(annotations)],
        "categories": [{"id": 90, "name": "toothbrush"}, {"id": 3, "name": "person"}, {"id": 17, "name": "cat"}],
    }


@pytest.fixture
def root(tmp_path):
    """A folder as COCO 2014's; the val images are numbered from 11."""
    return write(tmp_path / "coco", whole(), whole(first=11, name="COCO_val2014_{:012d}.jpg"))


def write(root, train, val=None, *, year=2014):
    for split, content in (("train", train), ("val", val)):
        (root / f"{split}{year}").mkdir(parents=True, exist_ok=True)
        (root / "annotations").mkdir(exist_ok=True)
        if content is None:
            continue
        (root / "annotations" / f"instances_{split}{year}.json").write_text(
            content if isinstance(content, str) else json.dumps(content)
        )
        if isinstance(content, dict):
            for k, image in enumerate(content["images"]):
                draw = np.random.default_rng(k).integers(0, 256, (*SIZE, 3)).astype(np.uint8)
                Image.fromarray(draw).save(root / f"{split}{year}" / image["file_name"])
    return root


def index(root, tmp_path, *, workers=1, **settings):
    output = tmp_path / "out" / "index.csv"
    index_images(
        settings=IndexSettings(dataset=DatasetSection(kind="coco", coco=CocoSection(root=str(root), **settings))),
        output=output,
        workers=workers,
    )
    return ImageIndex(output)


def test_labels_are_the_classes_of_objects_that_are_no_crowds(root, tmp_path, capsys):
    data = index(root, tmp_path)
    assert data.class_names == ["background", "person", "cat", "toothbrush"]  # by category id
    labels = {row.image_id: row.class_ids.tolist() for row in data.split("train")}
    assert labels == {
        "COCO_train2014_000000000001": [1, 2],
        "COCO_train2014_000000000002": [3],
        "COCO_train2014_000000000005": [1, 2],
    }
    assert [row.image_id[-2:] for row in data.split("val")] == ["11", "12", "15"]
    said = capsys.readouterr().err
    assert "2 images without an object of the classes" in said  # only a crowd, and nothing at all
    assert "COCO_train2014_000000000003.jpg, COCO_train2014_000000000004.jpg" in said


def test_the_truth_is_pycocotools(root, tmp_path):
    data = index(root, tmp_path)
    api = COCO(str(root / "annotations" / "instances_train2014.json"))
    classes = {3: 1, 17: 2, 90: 3}
    for row in data.split("train"):
        things = api.loadAnns(api.getAnnIds(imgIds=[int(row.image_id[-12:])]))
        planes = sorted(
            ((api.annToMask(t).astype(bool), t) for t in things if not t["iscrowd"]), key=lambda p: -p[0].sum()
        )
        expected = np.zeros(SIZE, np.uint8)
        for t in things:
            if t["iscrowd"]:
                expected[api.annToMask(t).astype(bool)] = 255
        for plane, t in planes:
            expected[plane] = classes[t["category_id"]]
        np.testing.assert_array_equal(read_mask(row.mask), expected)
        instances = read_mask(row.instances)
        assert set(np.unique(instances)) == set(range(len(planes) + 1))
        np.testing.assert_array_equal(instances == len(planes), planes[-1][0])  # the smallest is on top


def test_overlaps_crowds_and_what_lies_beyond_the_border(root, tmp_path):
    first, second, _ = (read_mask(row.mask) for row in index(root, tmp_path).split("train"))
    assert first[12, 12] == 1  # the small person on the cat
    assert first[20, 20] == 2
    assert first[2, 2] == 255  # the crowd where nothing else is
    assert first[8, 8] == 2  # an object on a crowd
    assert (second[30:, 50:] == 3).all()
    assert (second == 3).sum() == 100


def test_an_object_without_a_pixel_is_no_label(root, tmp_path, capsys):
    outside, flat = [[70, 5, 90, 5, 90, 25, 70, 25]], [[5, 5, 25, 5, 15, 5]]
    nothing = run_lengths(np.zeros(SIZE, bool))
    content = whole()
    content["annotations"] += [
        thing(1, 90, outside),
        thing(2, 3, flat),
        thing(4, 17, nothing),
        thing(5, 90, [outside[0], [40, 10, 50, 10, 50, 20, 40, 20]]),
        thing(5, 90, outside, iscrowd=1),
    ]
    (root / "annotations" / "instances_train2014.json").write_text(json.dumps(content))
    data = index(root, tmp_path)
    labels = {row.image_id[-1]: row.class_ids.tolist() for row in data.split("train")}
    assert labels == {"1": [1, 2], "2": [3], "5": [1, 2, 3]}  # a part inside is enough
    assert [np.unique(read_mask(row.instances)).tolist() for row in data.split("train")] == [
        [0, 1, 2],
        [0, 1],
        [0, 1, 2, 3, 4],
    ]
    said = " ".join(capsys.readouterr().err.split())
    assert "instances_train2014.json: 3 objects without a pixel" in said
    assert "annotations[8], annotations[9], annotations[10]" in said
    assert "annotations[12]" not in said  # a crowd
    assert (
        "COCO_train2014_000000000003.jpg, COCO_train2014_000000000004.jpg" in said
    )  # left out as before: nothing of its only object is seen


def test_many_objects_without_a_pixel_are_a_number(root, tmp_path, capsys):
    content = whole()
    content["annotations"] += [thing(1, 17, [[70, 5, 90, 5, 90, 25, 70, 25]])] * 23
    (root / "annotations" / "instances_train2014.json").write_text(json.dumps(content))
    index(root, tmp_path)
    said = " ".join(capsys.readouterr().err.split())
    assert "23 objects without a pixel" in said
    assert "annotations[27] and 3 more" in said


def test_a_subset_of_the_classes(root, tmp_path):
    data = index(root, tmp_path, classes=["cat"], val_annotations="")
    assert data.class_names == ["background", "cat"]
    assert [row.image_id[-1] for row in data.split("train")] == ["1", "5"]
    assert set(np.unique(read_mask(data.split("train")[0].mask))) == {0, 1}
    assert data.split("val") == []


def test_processes_change_nothing(root, tmp_path):
    a = index(root, tmp_path / "a")
    b = index(root, tmp_path / "b", workers=2)
    assert [read_mask(row.mask).tolist() for row in a.rows.values()] == [
        read_mask(row.mask).tolist() for row in b.rows.values()
    ]


def test_the_layout_of_2017(root, tmp_path):
    plain = write(tmp_path / "coco17", whole(name="{:012d}.jpg"), whole(first=11, name="{:012d}.jpg"), year=2017)
    keys = {f"{split}_annotations": f"annotations/instances_{split}2017.json" for split in ("train", "val")}
    data = index(plain, tmp_path / "b", **keys, train_images="train2017", val_images="val2017")
    assert [row.image_id for row in data.split("train")] == ["000000000001", "000000000002", "000000000005"]
    assert [row.image.relative_to(plain).as_posix() for row in data.split("val")] == [
        f"val2017/0000000000{k}.jpg" for k in (11, 12, 15)
    ]
    older = index(root, tmp_path / "a")
    assert [read_mask(row.mask).tolist() for row in data.rows.values()] == [
        read_mask(row.mask).tolist() for row in older.rows.values()
    ]
    assert data.class_names == older.class_names
    with pytest.raises(
        DataError, match=r"instances_train2014\.json: no such file"
    ):  # the folders of 2014 are the default
        index(plain, tmp_path / "c")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda c: c["annotations"][0].update(category_id=4),
            r"annotations\[0\]: category_id 4 is not among `categories`",
        ),
        (lambda c: c["annotations"][1].update(image_id=77), r"annotations\[1\]: image_id 77 is not among `images`"),
        (
            lambda c: c["annotations"][0].update(segmentation=[[1, 2, 3]]),
            r"annotations\[0\]: segmentation is \[\[1, 2, 3\]\], expected polygons of at least three",
        ),
        (
            lambda c: c["annotations"][2]["segmentation"].update(size=[9, 9]),
            r"annotations\[2\]: run lengths of \[9, 9\], the image has",
        ),
        (
            lambda c: c["annotations"][2]["segmentation"].update(counts=[1, 2]),
            r"run lengths must be 2400 pixels altogether",
        ),
        (lambda c: c["annotations"].append("x"), r"annotations\[8\] is 'x', expected image_id"),
        (
            lambda c: c["images"].append(dict(c["images"][0])),
            r"images\[5\]: id 1 is 'COCO_train2014_000000000001.jpg' already",
        ),
        (lambda c: c["images"][0].pop("height"), r"images\[0\] is .*, expected id, file_name, height and width"),
        (lambda c: c["images"][0].update(file_name="../x.jpg"), r"image 1: "),
        (lambda c: c["images"][0].update(file_name="gone.jpg"), r"gone\.jpg"),
        (
            lambda c: c["images"][1].update(height=41),
            r": 1 fault in the data set(.*\n)+.* image 2: says 41 x 60, "
            r"its image .*2\.jpg is 40 x 60 .*correct its height and width$",
        ),
    ],
)
def test_what_is_wrong_is_named_and_nothing_written(root, tmp_path, change, said):
    content = whole()
    change(content)
    (root / "annotations" / "instances_train2014.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=said):
        index(root, tmp_path)
    assert not list((tmp_path / "out").rglob("*"))


def test_a_fault_in_one_split_leaves_no_truth_of_the_other(root, tmp_path):
    content = whole(first=11, name="COCO_val2014_{:012d}.jpg")
    content["annotations"][0]["category_id"] = 4
    (root / "annotations" / "instances_val2014.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"instances_val2014\.json: annotations\[0\]"):
        index(root, tmp_path)
    assert not list((tmp_path / "out").rglob("*"))


def test_all_faults_come_in_one_message(root, tmp_path):
    content = whole()
    content["annotations"][0]["category_id"] = 4
    content["annotations"][4]["image_id"] = 77
    (root / "annotations" / "instances_train2014.json").write_text(json.dumps(content))
    with pytest.raises(DataError) as error:
        index(root, tmp_path, classes=["cat", "tootbrush"])
    assert all(
        text in str(error.value)
        for text in ("annotations[0]", "annotations[4]", "no category 'tootbrush'", "'toothbrush'")
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"categories": [{"id": 1', "not valid JSON, or cut short"),
        ("[]", "no list `categories`"),
        ("", "not valid JSON"),
        ('{"categories": [{"id": "a"}]}', r"categories\[0\] is"),
    ],
)
def test_a_broken_file_is_named(root, tmp_path, text, said):
    (root / "annotations" / "instances_train2014.json").write_text(text)
    with pytest.raises(DataError, match=r"instances_train2014\.json: " + said):
        index(root, tmp_path)
    with pytest.raises(DataError, match=r"gone\.json: no such file"):
        index(root, tmp_path, train_annotations="gone.json")


def export(data, tmp_path):
    """The truth of the training images as instances, exported; the content of the file."""
    found = {}
    for row in data.split("train"):
        mask, numbers = read_mask(row.mask), read_mask(row.instances)
        planes = [numbers == k for k in np.unique(numbers) if k]
        found[row.image_id] = [
            {"category_id": int(mask[p][0]), "segmentation": o, "score": 0.5}
            for p, o in zip(planes, pack(np.array(planes)), strict=True)
        ]
    write_json(tmp_path / "shard.json", found)
    export_instances(
        index=data.path, instances=[tmp_path / "shard.json"], output=tmp_path / "export" / "instances.json"
    )
    return read_json(tmp_path / "export" / "instances.json")


def test_exported_instances_have_the_ids_of_the_annotation_file(root, tmp_path):
    data = index(root, tmp_path)
    assert (data.folder / "classes.csv").read_text().split() == [
        "class_id,name,category_id",
        "0,background,0",
        "1,person,3",
        "2,cat,17",
        "3,toothbrush,90",
    ]
    content = export(data, tmp_path)
    assert [image["id"] for image in content["images"]] == [1, 2, 5]
    assert content["categories"] == [
        {"id": 3, "name": "person"},
        {"id": 17, "name": "cat"},
        {"id": 90, "name": "toothbrush"},
    ]
    official = COCO(str(root / "annotations" / "instances_train2014.json"))
    results = official.loadRes(content["annotations"])
    for number in (1, 2, 5):
        (largest, found) = (
            max(api.loadAnns(api.getAnnIds(imgIds=[number], iscrowd=False)), key=lambda t: api.annToMask(t).sum())
            for api in (official, results)
        )
        assert found["category_id"] == largest["category_id"]


def test_a_subset_keeps_its_category_ids(root, tmp_path):
    content = export(index(root, tmp_path, classes=["toothbrush", "cat"]), tmp_path)
    assert content["categories"] == [{"id": 90, "name": "toothbrush"}, {"id": 17, "name": "cat"}]
    assert {(a["image_id"], a["category_id"]) for a in content["annotations"]} == {(1, 17), (2, 90), (5, 17)}


@pytest.mark.parametrize("change", ["other names", "both splits from 1"])
def test_ids_that_names_do_not_tell_are_numbered_anew(tmp_path, change):
    """As for data sets that have none: the file's own ids are in no artefact then."""
    train = whole(name="street-{}.jpg") if change == "both splits from 1" else whole(first=11)
    for k, image in enumerate(train["images"] if change == "other names" else []):
        image["file_name"] = f"street-{k}.jpg"
    root = write(tmp_path / "coco", train, whole(name="val-{}.jpg") if change == "both splits from 1" else None)
    data = index(root, tmp_path, **({} if change == "both splits from 1" else {"val_annotations": ""}))
    assert (data.folder / "classes.csv").read_text().splitlines()[0] == "class_id,name"
    content = export(data, tmp_path)
    assert [image["id"] for image in content["images"]] == [1, 2, 3]
    assert [category["id"] for category in content["categories"]] == [1, 2, 3]
    assert {image["file_name"] for image in content["images"]} <= {image["file_name"] for image in train["images"]}


def test_category_ids_that_are_no_numbers_are_refused(root, tmp_path):
    data = index(root, tmp_path)
    for wrong in ("cat", "3"):
        (data.folder / "classes.csv").write_text(
            f"class_id,name,category_id\n0,background,0\n1,person,3\n2,cat,{wrong}\n3,toothbrush,90\n"
        )
        with pytest.raises(
            ArtefactError, match=r"classes\.csv: found category_id 0, 3, .*, expected numbers, each once"
        ):
            export(data, tmp_path)


def test_three_forms_of_an_outline_are_one():
    inside = np.zeros(SIZE, bool)
    inside[5:25, 5:25] = True
    packed = coco_mask.encode(np.asfortranarray(inside.astype(np.uint8)))
    forms = [
        encode(SQUARE, size=SIZE),
        encode(run_lengths(inside), size=SIZE),
        encode({"size": list(SIZE), "counts": packed["counts"].decode()}, size=SIZE),
    ]
    for form in forms:
        np.testing.assert_array_equal(coco_mask.decode(form), inside)


def drawn_file(path, *, images, classes, annotations):
    """An instances file with outlines of 24 corners, as COCO's have on average."""
    draw = np.random.default_rng(0)
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    around = np.stack([np.cos(angles), np.sin(angles)], 1)
    things = [
        {
            "id": k,
            "area": 1.0,
            "bbox": [0, 0, 1, 1],
            **thing(k % images, k % classes + 1, [(draw.uniform(15, 25) * around + 30).round(2).ravel().tolist()]),
        }
        for k in range(annotations)
    ]
    entries = [{"id": k, "file_name": f"{k:012d}.jpg", "height": 60, "width": 60} for k in range(images)]
    path.write_text(
        json.dumps(
            {
                "images": entries,
                "annotations": things,
                "categories": [{"id": c, "name": f"c{c}"} for c in range(1, classes + 1)],
            }
        )
    )
    return path


def peak_memory(path):
    """Peak of Python's memory while a file is read, bytes."""
    tracemalloc.start()
    entries = read_coco_images(path, {k: k for k in read_categories(path)}, Faults())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sum(len(entry.things) for entry in entries.values()) > 0
    return peak


def test_memory_grows_with_objects_and_by_little(tmp_path):
    """A file loaded whole takes about 3,000 bytes an object.

    Labels as a table of classes and images would take 500,000 bytes more here for 250 more classes.
    """
    few = drawn_file(tmp_path / "few.json", images=2000, classes=4, annotations=60)
    many = drawn_file(tmp_path / "many.json", images=2000, classes=4, annotations=600)
    classes = drawn_file(tmp_path / "classes.json", images=2000, classes=254, annotations=60)
    peak_memory(few)  # what is imported and kept at the first time
    base = peak_memory(few)
    assert (peak_memory(many) - base) / 540 < 1000
    assert peak_memory(classes) - base < 250_000


def test_counting_needs_no_images(root):
    assert count_images(root / "annotations" / "instances_train2014.json") == 5
