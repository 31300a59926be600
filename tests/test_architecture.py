"""The layers and sizes that docs/ARCHITECTURE.md promises, read from the syntax trees."""

from __future__ import annotations

import ast
import re

import pytest

from .conftest import ROOT

FOLDERS = ("dataset", "saliency", "seeds", "pseudo", "segment", "instances", "evaluate", "report")
MODULES = sorted(p for p in (ROOT / "wsss").rglob("*.py"))
PURE = (
    "evaluate/confusion",
    "evaluate/instance_metrics",
    "pseudo/seedmask",
    "pseudo/crf",
    "seeds/regions",
    "segment/psl",
    "saliency/barrier",
    "instances/retrieval",
    "instances/watershed",
    "outlines",
    "peaks",
    "topdown",
)


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


@pytest.mark.parametrize("folder", FOLDERS)
def test_subfolders_do_not_import_each_other(folder):
    found = [
        f"{p.name}: {i}"
        for p in (ROOT / "wsss" / folder).glob("*.py")
        for i in imports(p)
        for other in FOLDERS
        if other != folder and i.startswith(f"wsss.{other}")
    ]
    # method.py holds facts and protocol only; it is the seeds folder's door for configuration and rules
    assert [f for f in found if "wsss.seeds.method" not in f] == []


def test_pure_modules_know_no_files_and_no_log():
    for name in PURE:
        path = ROOT / "wsss" / f"{name}.py"
        if path.exists():
            assert not {"pathlib", "logging", "wsss.store", "wsss.console"} & set(imports(path)), name
            assert ".cuda(" not in path.read_text()


def test_there_is_one_training_loop():
    found = [p.name for p in MODULES if re.search(r"\.backward\(", p.read_text())]
    assert found == ["training.py"]


def test_no_drawer_files():
    assert [p.name for p in MODULES if p.stem in ("utils", "misc", "helpers", "common")] == []


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_sizes(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 330
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            first = node.body[1] if ast.get_docstring(node) and len(node.body) > 1 else node.body[0]
            assert node.end_lineno - first.lineno < 50, node.name


def test_rule_files_are_small():
    assert len((ROOT / "Snakefile").read_text().splitlines()) <= 75
    assert len((ROOT / "rules/common.smk").read_text().splitlines()) <= 190


def test_seed_methods_are_one_small_file():
    from wsss.seeds.method import FACTS

    for facts in FACTS.values():
        path = ROOT.joinpath(*facts.module.split(".")).with_suffix(".py")
        assert len(path.read_text().splitlines()) <= 200
        assert not {"pathlib", "wsss.store", "wsss.artefacts"} & set(imports(path))


def test_nothing_outside_seeds_asks_for_a_method_by_name():
    """A new method needs no rule and no branch: what rules must know of it is in its facts."""
    from wsss.seeds.method import BUILT_IN

    names = "|".join(BUILT_IN)
    branch = re.compile(rf"""(==|!=|\bin\b|\bcase\b|\bif\b)[^#"'\n]*["']({names})["']|["']({names})["']\s*(==|!=|:\s*\S)""")
    files = [*(ROOT / "rules").glob("*.smk"), ROOT / "Snakefile", *(p for p in MODULES if p.parent.name != "seeds")]
    found = [f"{p.relative_to(ROOT)}: {line.strip()}" for p in files for line in p.read_text().splitlines() if branch.search(line)]
    assert found == []
    assert len(list((ROOT / "rules").glob("*.smk"))) == 8
