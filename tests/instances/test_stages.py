"""The stages from a network to measured instances."""

from __future__ import annotations

import contextlib
import io
import json

import numpy as np
import pandas as pd
import pytest
from pycocotools.coco import COCO

from tests.instances.drawn_set import HEIGHT, WIDTH, masks, write_drawn_set, write_peaks
from wsss.files.errors import ArtefactError
from wsss.files.imaging import read_mask
from wsss.files.index import ImageIndex
from wsss.files.rle import pack, unpack
from wsss.files.store import MapReader, MapWriter
from wsss.files.text_files import read_json
from wsss.files.truth import true_instances
from wsss.methods import load_method
from wsss.nets.checkpoints import save_network
from wsss.settings.sections import (
    AugmentSection,
    BackboneSection,
    ClassifierSection,
    ComputeSection,
    ProposalsSection,
    WatershedSection,
)
from wsss.settings.stage_settings import (
    ClassifierSettings,
    ProposalSettings,
    ResponseSettings,
    RetrievalSettings,
    RowKeys,
)
from wsss.stages.evaluate.measure_instances import measure_instances
from wsss.stages.instances.export_instances import export_instances
from wsss.stages.instances.propose_masks import propose_masks
from wsss.stages.instances.respond_peaks import respond_peaks
from wsss.stages.instances.retrieve_instances import retrieve_instances
from wsss.stages.seeds.train_classifier import train_classifier

COMPUTE = ComputeSection(device="cpu", threads=1, workers=0)
ROW = RowKeys(run="r", method="prm", stage="instances", split="train")


@pytest.fixture
def drawn(tmp_path):
    index, shard = write_drawn_set(tmp_path)
    write_peaks(tmp_path / "peaks.h5", ["i0", "i1", "i2"])
    return tmp_path, index, shard


def retrieve(drawn, *, proposals="", peaks=True, with_masks=False, fused=False, saliency=False, **settings):
    """Run the stage on the ideal peaks; its output."""
    folder, index, shard = drawn
    output = folder / "instances.out.json"
    retrieve_instances(
        index=index, shard=shard,
        responses=[folder / "peaks.h5"] if peaks else [],
        proposals=[folder / proposals] if proposals else [],
        masks=[folder / "masks.h5"] if with_masks else [],
        fused=[folder / "fused.h5"] if fused else [],
        saliency=folder / "saliency.h5" if saliency else None,
        settings=RetrievalSettings(**settings), output=output,
    )  # fmt: skip
    return output


def measure(drawn, instances, *, peaks=True):
    folder, index, _ = drawn
    measure_instances(
        index=index,
        instances=[instances],
        responses=[folder / "peaks.h5"] if peaks else [],
        row=ROW,
        output=folder / "m.csv",
    )
    table = pd.read_csv(folder / "m.csv", dtype={"threshold": str}, keep_default_na=False)
    return {f"{r['metric']}{r['threshold']}{r['class']}": r["value"] for _, r in table.iterrows()}


def area(entry):
    return int(unpack([entry["segmentation"]], size=(HEIGHT, WIDTH)).sum())


def propose(drawn, kind, **values):
    folder, index, shard = drawn
    output = folder / f"{kind}.json"
    propose_masks(
        index=index,
        shard=shard,
        settings=ProposalSettings(proposals=ProposalsSection(kind=kind, **values)),
        output=output,
    )
    return output


def test_true_proposals_and_ideal_peaks_are_perfect(drawn):
    propose(drawn, "truth")
    found = measure(drawn, retrieve(drawn, proposals="truth.json"))
    perfect = {
        "map_r0.25",
        "map_r0.5",
        "map_r0.75",
        "ap_r0.5class1",
        "ap_r0.5class3",
        "abo",
        "abo_instances",
        "pointing",
        "response_quality",
    }
    assert {name: found[name] for name in perfect} == dict.fromkeys(perfect, 1.0)
    assert (found["images"], found["peaks_an_image"]) == (3, 3)


def test_watershed_proposals_find_the_squares(drawn):
    output = propose(drawn, "watershed", watershed=WatershedSection(count=60))
    assert 3 <= len(read_json(output)["i0"]) <= 60
    assert measure(drawn, retrieve(drawn, proposals="watershed.json"))["abo"] > 0.7
    before = output.read_bytes()
    assert propose(drawn, "watershed", watershed=WatershedSection(count=60)).read_bytes() == before


def test_a_whole_image_among_given_proposals_is_never_retrieved(drawn):
    folder, _, _ = drawn
    (folder / "given").mkdir()
    for k in range(3):  # nothing else is there for the first image, and it stands first for the others
        objects = [] if k == 0 else [masks()[1] == n for n in (1, 2, 3)]
        (folder / "given" / f"i{k}.json").write_text(
            json.dumps(pack(np.array([np.ones((HEIGHT, WIDTH), bool), *objects])))
        )
    inside = {
        "boundary": 0.0,
        "class_penalty": 0.0,
        "overlap": 2.0,
    }  # the share of the response inside alone, of which nothing has more than the whole
    everything = {"root": str(folder / "given"), "count": 4}
    propose(drawn, "folder", folder={**everything, "max_area": 2.0})
    found = read_json(retrieve(drawn, proposals="folder.json", retrieval=inside))
    assert {area(e) for e in found["i1"]} == {HEIGHT * WIDTH}
    propose(drawn, "folder", folder={**everything, "count": 3})
    found = read_json(retrieve(drawn, proposals="folder.json", retrieval=inside))
    assert found["i0"] == []
    assert sorted(area(e) for e in found["i2"]) == sorted((masks()[1] == n).sum() for n in (1, 2, 3))


def test_what_is_not_salient_is_background_of_every_class(drawn):
    """Two proposals hold the whole response. The class maps are constant, so they take the first.

    Saliency takes the one that ends where the object ends.
    """
    folder, _, _ = drawn
    write_peaks(folder / "peaks.h5", ["i0", "i1", "i2"], flat=True)
    (folder / "given").mkdir()
    objects = [masks()[1] == n for n in (1, 2, 3)]
    larger = np.zeros((HEIGHT, WIDTH), bool)
    larger[34:64, 40:80] = True  # about the second object
    for k in range(3):
        (folder / "given" / f"i{k}.json").write_text(json.dumps(pack(np.array([larger, *objects]))))
    propose(drawn, "folder", folder={"root": str(folder / "given")})
    saliency = np.where(masks()[1] > 0, 128, 12).astype(np.uint8)
    with MapWriter(folder / "saliency.h5", stage="estimate_saliency", settings={}) as writer:
        for image_id in ("i0", "i1", "i2"):
            writer.write(image_id, [], saliency=saliency)
    inside = {"boundary": 0.0}
    by_map = read_json(retrieve(drawn, proposals="folder.json", saliency=True, retrieval=inside))
    assert {area(e) for e in by_map["i1"] if e["category_id"] == 3} == {larger.sum()}
    by_cue = inside | {"background": "saliency"}
    by_saliency = read_json(retrieve(drawn, proposals="folder.json", saliency=True, retrieval=by_cue))
    assert {area(e) for e in by_saliency["i1"] if e["category_id"] == 3} == {objects[1].sum()}
    below = by_cue | {"saliency_threshold": 0.04}  # 12 of 255 is more
    assert read_json(retrieve(drawn, proposals="folder.json", saliency=True, retrieval=below)) == by_map
    with pytest.raises(ValueError, match=r"instances\.retrieval\.background is saliency, but there is none"):
        retrieve(drawn, proposals="folder.json", retrieval=by_cue)
    with MapWriter(folder / "saliency.h5", stage="estimate_saliency", settings={}) as writer:
        writer.write("i0", [], saliency=saliency[:5])
    with pytest.raises(
        ArtefactError, match=r"saliency\.h5: image i0: saliency is uint8 \(5, 80\), expected uint8 \(64, 80\)"
    ):
        retrieve(drawn, proposals="folder.json", saliency=True, retrieval=by_cue)


def test_confidence_is_the_retrieval_score_and_the_best_comes_first(drawn):
    propose(drawn, "truth")
    entries = read_json(retrieve(drawn, proposals="truth.json"))["i1"]
    scores = [e["score"] for e in entries]
    assert scores == sorted(scores, reverse=True)
    assert len(entries) == 3
    inside = read_json(
        retrieve(drawn, proposals="truth.json", retrieval={"boundary": 0.0, "class_penalty": 0.0, "instance": 0.5})
    )["i1"]
    assert [e["score"] for e in inside] == pytest.approx([0.5] * 3, rel=1e-3)


def write_masks(folder, mask, ids=("i0", "i1", "i2")):
    with MapWriter(folder / "masks.h5", stage="refine_masks", settings={}) as writer:
        for image_id in ids:
            writer.write(image_id, [1, 3], mask=mask)


def test_components_are_split_by_peaks(drawn):
    write_masks(drawn[0], masks()[0])
    output = retrieve(drawn, with_masks=True, route="components")
    assert measure(drawn, output)["map_r0.75"] == 1.0
    assert [e["score"] for e in read_json(output)["i0"]] == [8.0, 7.0, 6.0]  # the peaks' values


def test_without_peaks_touching_objects_are_one(drawn):
    folder = drawn[0]
    write_masks(folder, masks()[0])
    with MapWriter(folder / "fused.h5", stage="fuse_regions", settings={}) as writer:
        for image_id in ("i0", "i1", "i2"):
            writer.write(image_id, [1, 3], scores=np.array([np.full((4, 5), 0.25), np.full((4, 5), 0.5)], np.float16))
    output = retrieve(drawn, peaks=False, with_masks=True, fused=True, route="components")
    assert [(e["category_id"], e["score"]) for e in read_json(output)["i0"]] == [(3, 0.5), (1, 0.25)]
    found = measure(drawn, output, peaks=False)
    assert (found["ap_r0.5class3"], found["ap_r0.75class1"]) == (1.0, 0.0)
    assert "pointing" not in found


def test_small_components_are_left_out(drawn):
    mask = masks()[0]
    mask[HEIGHT // 2, 0] = 1
    write_masks(drawn[0], mask)
    with_small = retrieve(drawn, with_masks=True, route="components", min_area=0.13)
    assert [e["category_id"] for e in read_json(with_small)["i0"]] == [3]  # 780 of 5120 px; the halves have 528 and 484


def test_export_is_a_coco_file_and_numbers(drawn):
    folder, index, _ = drawn
    propose(drawn, "truth")
    instances = retrieve(drawn, proposals="truth.json")
    (folder / "out" / "images").mkdir(parents=True)
    (folder / "out" / "images" / "stale.png").write_bytes(b"")
    export_instances(index=index, instances=[instances], output=folder / "out" / "instances.json")
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(folder / "out" / "instances.json")
    assert len(coco.getImgIds()) == 3
    assert [c["name"] for c in coco.loadCats(coco.getCatIds())] == ["class1", "class2", "class3"]
    first = coco.loadAnns(coco.getAnnIds(imgIds=[1]))
    entries = read_json(instances)["i0"]
    assert [a["score"] for a in first] == [e["score"] for e in entries]
    numbers = read_mask(folder / "out" / "images" / "i0.png")
    for k, annotation in enumerate(first, 1):
        np.testing.assert_array_equal(numbers == k, coco.annToMask(annotation) > 0)
        top, left = (int(v.min()) for v in np.nonzero(numbers == k))
        assert annotation["bbox"][:2] == [left, top]
        assert annotation["area"] == (numbers == k).sum()
    assert sorted(p.name for p in (folder / "out" / "images").iterdir()) == ["i0.png", "i1.png", "i2.png"]


def test_void_and_background_instances(drawn):
    from PIL import Image

    from wsss.files.index import ImageIndex

    _, index, _ = drawn
    mask, instances = masks()
    mask[8:12, 6:30], instances[0, 0] = 255, 9  # a part of the first object is void; an instance on background
    instances[40, 40:44] = 255
    for name, plane in (("mask", mask), ("instances", instances)):
        Image.fromarray(plane).save(index.parent / f"{name}.png")
    found, class_ids, void = true_instances(ImageIndex(index).rows["i0"])
    assert class_ids.tolist() == [1, 3, 1]
    assert void.sum() == 4 * 24 + 4
    assert found[0].sum() == 18 * 24


@pytest.mark.parametrize(
    ("settings", "given", "said"),
    [
        ({}, {}, "the route proposals needs responses and proposals"),
        ({"route": "components"}, {"with_masks": False}, "the route components needs masks"),
    ],
)
def test_a_route_without_its_inputs(drawn, settings, given, said):
    with pytest.raises(ValueError, match=said):
        retrieve(drawn, **given, **settings)


def test_what_does_not_fit_is_named(drawn):
    folder, index, _ = drawn
    path = propose(drawn, "truth")
    values = read_json(path)
    values["i1"][0]["size"] = [3, 3]
    path.write_text(json.dumps(values))
    with pytest.raises(ArtefactError, match=r"truth\.json: image i1: mask 0: run lengths of \[3, 3\]"):
        retrieve(drawn, proposals="truth.json")
    del values["i1"]
    path.write_text(json.dumps(values))
    with pytest.raises(ArtefactError, match=r"truth\.json: no proposals of image i1"):
        retrieve(drawn, proposals="truth.json")
    write_masks(folder, np.zeros((4, 4), np.uint8))
    with pytest.raises(ArtefactError, match=r"image i0: the mask is \(4, 4\)"):
        retrieve(drawn, with_masks=True, route="components")
    (folder / "some.json").write_text("{}")
    with pytest.raises(ArtefactError, match="image i0 is in none of"):
        measure_instances(index=index, instances=[folder / "some.json"], responses=[], row=ROW, output=folder / "m.csv")
    (folder / "some.json").write_text('{"zzz": []}')
    with pytest.raises(ArtefactError, match="image zzz is not in"):
        export_instances(index=index, instances=[folder / "some.json"], output=folder / "out" / "instances.json")


def test_a_network_finds_peaks_inside_the_image_and_its_responses_are_densities(drawn):
    folder, index, shard = drawn
    backbone = BackboneSection(name="test_resnet", weights="none", freeze_batchnorm=False, frozen_stride=1)
    classifier = ClassifierSection(
        epochs=1, min_steps=1, batch_size=2, augment=AugmentSection(crop=64, resize_min=56, resize_max=80)
    )
    common = {"kind": "prm", "backbone": backbone}
    train_classifier(
        index=index, regions=[], saliency=[], compute=COMPUTE,
        settings=ClassifierSettings(**common, classifier=classifier),
        output=folder / "classifier.pt", record=folder / "training.json",
    )  # fmt: skip
    for options, scale in (
        ({"peak_threshold": 0.0, "filter": "none"}, 2.0),
        ({"response_subpixel": 4}, 1.0),
        ({"batchnorm": "gradient", "residual": "copy", "inputs": "signed"}, 0.5),
    ):
        output = folder / "found.h5"
        settings = ResponseSettings(**common, options=options, scale=scale)
        respond_peaks(
            index=index,
            shard=shard,
            classifier=folder / "classifier.pt",
            settings=settings,
            compute=COMPUTE,
            output=output,
        )
        for k in range(3):
            record = MapReader(output).read(f"i{k}")
            peak, response = record["peak"].astype(float), record["response"].astype(np.float32)
            assert set(peak[:, 0]) == {1, 3}
            assert record["map"].shape[0] == 2
            assert response.shape == (len(peak), HEIGHT * WIDTH)
            np.testing.assert_allclose(response.mean(1), 1, rtol=5e-3)
            assert (peak[:, 1:3] >= 0).all()
            assert (peak[:, 1] <= HEIGHT - 1).all()
            assert (peak[:, 2] <= WIDTH - 1).all()
            for c in (1, 3):
                values = peak[peak[:, 0] == c, 3]
                assert (np.diff(values) <= 0).all()


def test_responses_do_not_depend_on_the_processes(drawn):
    folder, index, shard = drawn
    settings = ResponseSettings(
        kind="prm", backbone=BackboneSection(weights="none"), options={"filter": "none"}, scale=1.0
    )
    model = load_method("prm").build(3, round=1, backbone=settings.backbone, previous=None)
    save_network(folder / "classifier.pt", state=model.state_dict(), meta={"classes": ImageIndex(index).class_names})
    outputs = []
    for workers, threads in ((0, 2), (2, 1)):
        outputs.append(folder / f"{workers}.h5")
        compute = ComputeSection(device="cpu", threads=threads, workers=workers)
        respond_peaks(
            index=index,
            shard=shard,
            classifier=folder / "classifier.pt",
            settings=settings,
            compute=compute,
            output=outputs[-1],
        )
    assert outputs[0].read_bytes() == outputs[1].read_bytes()


def test_the_place_of_a_peak_in_pixels():
    import torch

    from wsss.stages.instances.respond_peaks import _pixel

    cells = torch.Size([4, 5])
    assert _pixel((0, 0), cells, cells, (64, 80)) == (7.5, 7.5)  # centre of the first cell of 16 px
    assert _pixel((3, 4), cells, cells, (64, 80)) == (55.5, 71.5)
    assert _pixel((15, 19), torch.Size([16, 20]), cells, (64, 80)) == (55.5, 71.5)  # corners are corners
    assert _pixel((0, 0), torch.Size([1, 1]), torch.Size([1, 1]), (9, 9)) == (4.0, 4.0)
