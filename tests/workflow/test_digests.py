"""Code digests: what an edit reruns."""

from __future__ import annotations

import ast
import os
import re
import shutil
from pathlib import Path

import pytest

from wsss.methods import FACTS
from wsss.workflow import digests
from wsss.workflow.stages import STAGES

from ..conftest import ROOT


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A small package, and the digest of its stage."""
    (tmp_path / "settings").mkdir()
    (tmp_path / "__init__.py").write_text("")
    (tmp_path / "maths.py").write_text("def double(x):\n    return 2 * x\n")
    (tmp_path / "stage.py").write_text(
        "from wsss.maths import double\nfrom wsss.settings.config import load\n\n\n"
        "def stage():\n    '''Doc.'''\n    return double(1)\n"
    )
    (tmp_path / "other.py").write_text("import wsss.stage\n")
    (tmp_path / "settings" / "config.py").write_text("load = None\n")
    monkeypatch.setattr(digests, "PACKAGE", tmp_path)

    def digest(name="wsss.stage"):
        digests._parse.cache_clear()
        return digests.code_digest(name)

    yield tmp_path, digest
    digests._parse.cache_clear()


def test_comments_docstrings_and_formatting_do_not_count(package):
    folder, digest = package
    before = digest()
    (folder / "stage.py").write_text(
        "# why\nfrom wsss.maths import double\nfrom wsss.settings.config import load\n"
        "def stage():\n    '''Another.'''\n    return double( 1 )\n"
    )
    assert digest() == before


def test_the_text_of_an_error_does_not_count_but_its_kind_does(package):
    folder, digest = package
    found = []
    for line in ('raise ValueError(f"no {x}")', 'raise ValueError(f"there is no {x}")', 'raise OSError(f"no {x}")'):
        (folder / "maths.py").write_text(f"def double(x):\n    if not x:\n        {line}\n    return 2 * x\n")
        found.append(digest())
    assert found[0] == found[1] != found[2]


def test_code_of_the_stage_and_of_its_imports_counts(package):
    folder, digest = package
    first = digest()
    (folder / "maths.py").write_text("def double(x):\n    return x + x\n")
    second = digest()
    (folder / "stage.py").write_text("from wsss.maths import double\n\n\ndef stage():\n    return double(2)\n")
    assert len({first, second, digest()}) == 3


def test_settings_and_unrelated_modules_do_not_count(package):
    folder, digest = package
    before = digest()
    (folder / "settings" / "config.py").write_text("load = 1\n")
    (folder / "other.py").write_text("x = 1\n")
    assert digest() == before


def test_an_unknown_module_is_refused(package):
    with pytest.raises(ValueError, match=r"wsss\.nothing is no module"):
        package[1]("wsss.nothing")


def test_a_page_template_counts_for_the_module_that_loads_it(package):
    folder, digest = package
    before = digest()
    (folder / "page.html.j2").write_text("<p>")
    assert digest() == before
    (folder / "stage.py").write_text("import jinja2\n")
    with_page = digest()
    (folder / "page.html.j2").write_text("<b>")
    assert digest() != with_page


def test_a_module_of_another_package_counts_with_what_it_imports(tmp_path, monkeypatch):
    (tmp_path / "outside_method").mkdir()
    for name, text in (
        ("__init__", "raise AssertionError('run')"),
        ("method", "from outside_method import pooling\nimport numpy"),
        ("pooling", "R = 1"),
    ):
        (tmp_path / "outside_method" / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    digests._parse.cache_clear()
    before = digests.code_digest("outside_method.method")
    (tmp_path / "outside_method" / "pooling.py").write_text("R = 2")
    digests._parse.cache_clear()
    assert digests.code_digest("outside_method.method") != before
    with pytest.raises(ValueError, match="no_such_package"):
        digests.code_digest("no_such_package.method")


# ---------------------------------------------------------------- the package's own rooms


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """A copy of the package, and its modules as the digest sees them."""
    folder = tmp_path_factory.mktemp("digests") / "wsss"
    shutil.copytree(ROOT / "wsss", folder, ignore=shutil.ignore_patterns("__pycache__"))
    return folder, {}


@pytest.fixture
def copied(sources, monkeypatch):
    """From an edit of one module of the copy to the stages whose digest it changes."""
    folder, parsed = sources
    parse = digests._parse.__wrapped__
    monkeypatch.setattr(digests, "PACKAGE", folder)
    monkeypatch.setattr(digests, "_parse", lambda name: parsed.get(name) or parsed.setdefault(name, parse(name)))

    def all_digests():
        code = {s: [f"wsss.stages.{e.folder}.{s}", *NAMED.get(s, ())] for s, e in STAGES.items()}
        return {s: digests.code_digest(*modules) for s, modules in code.items()}

    def changed_by(module, edit):
        path, name = folder / f"{module}.py", f"wsss.{module.replace('/', '.')}"
        before, text = all_digests(), path.read_text()
        assert edit(text) != text, "the edit changes something"
        path.write_text(edit(text))
        old = parsed.pop(name, None)
        try:
            after = all_digests()
        finally:
            path.write_text(text)
            parsed[name] = old or parse(name)
        return {s for s in STAGES if after[s] != before[s]}

    return changed_by


METHOD_STAGES = ("train_classifier", "extract_scores", "respond_peaks")
NAMED = {s: [FACTS["cam"].module] for s in METHOD_STAGES} | {
    "index_images": ["wsss.stages.dataset.scenes"],
    "estimate_saliency": ["wsss.stages.saliency.barrier"],
    "write_report": ["wsss.settings.kinds"],
}
"""Modules that stages import by name: here of CAM, the embedded scenes, the barrier distance, and what kinds say."""


def reworded(text):
    """The first text of a function that is no docstring, changed."""
    tree = ast.parse(text)
    docs = {id(n.body[0].value) for n in ast.walk(tree) if hasattr(n, "body") and isinstance(n.body, list) and n.body
            and isinstance(n.body[0], ast.Expr)}  # fmt: skip
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs and node.value:
            lines = text.splitlines(keepends=True)
            line = lines[node.lineno - 1]
            if node.value in line and "from" not in line and "import" not in line:
                lines[node.lineno - 1] = line.replace(node.value, f"{node.value} reworded", 1)
                return "".join(lines)
    return f"{text}\nREWORDED = 'x'\n"


EXCLUDED = sorted(
    str(p.relative_to(ROOT / "wsss").with_suffix(""))
    for room in ("cli", "provenance", "settings", "runtime")
    for p in (ROOT / "wsss" / room).glob("*.py")
    if p.name != "kinds.py"  # the report quotes it
)


@pytest.mark.parametrize("module", [*EXCLUDED, "files/limits", "workflow/digests"])
def test_another_text_in_a_room_that_changes_no_result_reruns_nothing(copied, module):
    """Messages, records, commands, settings models, signals and processes."""
    assert copied(module, reworded) == set()


def test_a_limit_that_refuses_reruns_nothing_when_it_is_raised(copied):
    """docs/SECURITY.md invites users to raise one."""

    def raised(text):
        return re.sub(r"^MOST_PIXELS = .*$", "MOST_PIXELS = 10**9", text, flags=re.M)

    assert copied("files/limits", raised) == set()


TRAINED = {"train_classifier", "extract_scores", "train_segmenter", "predict_masks", "respond_peaks"}
REACH = {
    "stages/seeds/regions": {"claim_regions", "fuse_regions"},
    "stages/seeds/cam": set(METHOD_STAGES),
    "stages/seeds/esol": set(),  # another method than the one that runs
    "stages/seeds/earlier": {"train_classifier", "extract_scores", "measure_round"},
    "stages/pseudo/seedmask": {"make_seeds", "refine_masks"},
    "stages/pseudo/crf": {"refine_masks"},
    "stages/pseudo/make_seeds": {"make_seeds"},
    "stages/saliency/estimate_saliency": {"estimate_saliency"},
    "stages/saliency/barrier": {"estimate_saliency"},
    "stages/saliency/u2net": set(),  # another kind than the one that runs
    "stages/dataset/scenes": {"index_images"},
    "stages/dataset/coco": set(),
    "stages/segment/psl": {"train_segmenter", "predict_masks"},
    "stages/segment/inference": {"predict_masks"},
    "stages/evaluate/confusion": {"measure_scores", "measure_masks"},
    "stages/evaluate/instance_metrics": {"measure_instances"},
    "stages/instances/retrieval": {"retrieve_instances"},
    "stages/dataset/index_images": {"index_images"},
    "stages/report/charts": {"write_report"},
    "settings/kinds": {"write_report"},
    "nets/segmenters": {"train_segmenter", "predict_masks"},
    "nets/checkpoints": TRAINED,
    "training/loop": {"train_classifier", "train_segmenter"},
    "training/draws": {"train_classifier", "train_segmenter", "index_images"},
    "files/cues": {"make_seeds", "retrieve_instances"},
    "files/rle": {"propose_masks", "retrieve_instances", "export_instances", "measure_instances"},
    "workflow/graph": {"collect_metrics", "write_report"},
}
"""Module to the stages that run its code: written by hand, not by the digest's own walk."""


@pytest.mark.parametrize("module", REACH)
def test_an_edit_reruns_exactly_the_stages_that_run_the_module(copied, module):
    assert copied(module, lambda text: f"{text}\nEDITED = True\n") == REACH[module]


# ---------------------------------------------------------------- listings


def test_listing_digest_notices_a_replaced_file(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"1")
    before = digests.listing_digest(tmp_path)
    assert digests.listing_digest(tmp_path) == before
    os.utime(tmp_path / "a.jpg", ns=(1, 1))
    assert digests.listing_digest(tmp_path) != before
    assert digests.listing_digest(tmp_path / "missing") != before


def test_a_name_on_disk_need_not_be_utf_8(tmp_path):
    before = digests.listing_digest(tmp_path)
    (Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe.jpg"))).write_bytes(b"x")
    assert digests.listing_digest(tmp_path) != before
