"""The layers and sizes that docs/ARCHITECTURE.md promises, read from the syntax trees."""

from __future__ import annotations

import ast
import re

import pytest

from wsss.methods import BUILT_IN

from .conftest import ROOT

ROOMS = (
    "wsss.runtime",
    "wsss.files",
    "wsss.methods",
    "wsss.settings",
    "wsss.workflow",
    "wsss.nets",
    "wsss.training",
    "wsss.stages",
    "wsss.provenance",
    "wsss.cli",
    "wsss.__main__",
)
"""From the floor up: a room imports itself and the rooms before it."""
FOLDERS = ("dataset", "saliency", "seeds", "pseudo", "segment", "instances", "evaluate", "report")
MODULES = sorted(p for p in (ROOT / "wsss").rglob("*.py"))
PURE = (
    "files/rle",
    "nets/peaks",
    "nets/shares",
    "nets/topdown",
    "stages/evaluate/confusion",
    "stages/evaluate/instance_metrics",
    "stages/instances/retrieval",
    "stages/instances/watershed",
    "stages/pseudo/crf",
    "stages/pseudo/seedmask",
    "stages/saliency/barrier",
    "stages/seeds/regions",
    "stages/segment/psl",
)
LONGEST_LINE = 120
LONGEST_MODULE = 330
LONGEST_FUNCTION = 60


def imports(path):
    """Dotted names that a module imports, outside `if TYPE_CHECKING` too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{a.name}" for a in node.names)


def room(name):
    """The place of a dotted name's room, or None outside the rooms."""
    return next((k for k, r in enumerate(ROOMS) if name == r or name.startswith(f"{r}.")), None)


def dotted(path):
    """The module's dotted name."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def test_every_module_lies_in_a_room():
    assert [dotted(p) for p in MODULES if room(dotted(p)) is None] == ["wsss.__init__"]
    entries = [p.name for p in (ROOT / "wsss").iterdir() if p.name != "__pycache__"]
    assert len(entries) <= 12, entries


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_import_goes_up(path):
    own = room(dotted(path))
    found = [i for i in imports(path) if (there := room(i)) is not None and own is not None and there > own]
    assert found == []


@pytest.mark.parametrize("folder", FOLDERS)
def test_stage_folders_do_not_import_each_other(folder):
    found = [
        f"{p.name}: {i}"
        for p in (ROOT / "wsss" / "stages" / folder).glob("*.py")
        for i in imports(p)
        for other in FOLDERS
        if other != folder and i.startswith(f"wsss.stages.{other}")
    ]
    assert found == []


@pytest.mark.parametrize("name", PURE)
def test_pure_modules_know_no_files_and_no_log(name):
    text = (ROOT / "wsss" / f"{name}.py").read_text()
    found = set(imports(ROOT / "wsss" / f"{name}.py"))
    assert not {"pathlib", "logging", "wsss.files.store", "wsss.runtime.console"} & found
    assert ".cuda(" not in text


def test_there_is_one_training_loop():
    found = [p.name for p in MODULES if re.search(r"\.backward\(", p.read_text())]
    assert found == ["loop.py"]


def test_no_drawer_files():
    assert [p.name for p in MODULES if p.stem in ("utils", "misc", "helpers", "common")] == []


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_sizes(path):
    text = path.read_text()
    assert len(text.splitlines()) <= LONGEST_MODULE
    assert [line for line in text.splitlines() if len(line) > LONGEST_LINE] == []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < LONGEST_FUNCTION, node.name


def test_rule_files_are_small():
    assert len((ROOT / "Snakefile").read_text().splitlines()) <= 75
    assert len((ROOT / "rules/common.smk").read_text().splitlines()) <= 200


def test_seed_methods_are_one_small_file():
    from wsss.methods import FACTS

    for facts in FACTS.values():
        path = ROOT.joinpath(*facts.module.split(".")).with_suffix(".py")
        assert len(path.read_text().splitlines()) <= 200
        assert not {"pathlib", "wsss.files.store", "wsss.files.index"} & set(imports(path))


# ---------------------------------------------------------------- methods

KIND = "|".join(BUILT_IN)
ONLY_KINDS = re.compile(rf"[\W_]*({KIND})([\W_]+({KIND}))*[\W_]*")
"""A kind, several, or a kind's part of a name: "eps", "_erasing", "eps|esol"."""
ALLOWED = {
    ("cli/probe.py", 'load_method("cam")'): "the time of a plan is estimated with a stand-in",
    ("nets/topdown.py", 'norm.arguments["eps"]'): "BatchNorm's epsilon",
}
"""What else may name a kind outside wsss/seeds, beside defaults of settings: (file, part of the line) and why."""
RULES = """
    all seeds pseudo_masks segmentation instances report
    index_images estimate_saliency train_classifier extract_scores claim_regions measure_round fuse_regions
    make_seeds refine_masks train_segmenter predict_masks export_masks propose_masks respond_peaks retrieve_instances
    export_instances measure_scores measure_masks measure_instances collect_metrics write_report
"""
"""Targets and stages, each for every method.

A new method needs none; what is here to stay is added with a new stage.
"""


def named_kinds(text):
    """Lines that name a method's kind: any text that is one, and attributes such as `seeds.eps`.

    Defaults of settings are left out.
    """
    tree, lines = ast.parse(text), text.splitlines()
    calls = [
        n
        for n in ast.walk(tree)
        if isinstance(n, ast.Call) and isinstance(n.func, ast.Name) and n.func.id == "setting" and n.args
    ]
    defaults = {id(n) for call in calls for n in ast.walk(call.args[0])}
    for node in ast.walk(tree):
        named = isinstance(node, ast.Constant) and isinstance(node.value, str) and ONLY_KINDS.fullmatch(node.value)
        if id(node) not in defaults and (named or (isinstance(node, ast.Attribute) and node.attr in BUILT_IN)):
            yield lines[node.lineno - 1].strip()


@pytest.mark.parametrize(
    "text",
    [
        'kind == "eps"',
        'kind in (\n    "cam",\n    "esol",\n)',
        'kind not in {"prm"}',
        'kind.startswith("eps")',
        'kind.endswith("_erasing")',
        're.fullmatch("eps|eps_erasing", kind)',
        'f"eps_{more}" == kind',
        "config.seeds.eps",
        'seeds["esol"]',
        'getattr(seeds, "esol")',
        'TABLE = {"prm": 1}',
        'match kind:\n    case "prm":\n        pass',
        'KINDS: list[str] = ["eps"]',
        'x: str = setting("", "no default", legal="cam")',
    ],
)
def test_every_way_to_ask_for_a_method_is_found(text):
    assert list(named_kinds(text))


def test_what_names_no_method_is_not_found():
    text = (
        'class A:\n    """Read by eps and esol."""\n    eps: int = setting(["cam"], "methods")\n\n\n'
        'print("the epsilon of eps", "camera", x.epsilon)\n'
    )
    assert not list(named_kinds(text))


def test_nothing_outside_seeds_asks_for_a_method_by_name():
    """A new method needs no rule and no branch: what rules must know of it is in its facts."""
    found, used = [], set()
    for path in (p for p in MODULES if p.parent.name != "seeds" and p.name != "methods.py"):
        name = str(path.relative_to(ROOT / "wsss"))
        for line in named_kinds(path.read_text()):
            allowed = [key for key in ALLOWED if key[0] == name and key[1] in line]
            used.update(allowed)
            found += [] if allowed else [f"{name}: {line}"]
        found += [f"{name}: imports {i}" for i in imports(path) if i.startswith("wsss.stages.seeds")]
    assert found == []
    assert used == set(ALLOWED), "what is no longer there need not be allowed"


def rule_files():
    return [ROOT / "Snakefile", *(p for p in (ROOT / "rules").rglob("*") if p.is_file())]


def test_rule_files_name_no_method():
    """Not even as a part of a rule's name, such as train_eps."""
    word = re.compile(rf"(?<![A-Za-z])({KIND})(?![A-Za-z])")
    found = [
        f"{p.name}: {line}"
        for p in rule_files()
        for line in p.read_text().splitlines()
        if word.search(re.sub(r"(^|\s)#.*", "", line))
    ]
    assert found == []


def test_rules_are_the_stages_and_no_others():
    heads = re.compile(r"^\s*(?:(?:rule|checkpoint)\b\s*(\w*)\s*:|use\s+rule\b.*)", re.M)
    found = [name or "one without a name" for p in rule_files() for name in heads.findall(p.read_text())]
    assert sorted(found) == sorted(RULES.split()), "a method needs no rule of its own; a new stage is added to RULES"
    assert len(rule_files()) == 10


# ---------------------------------------------------------------- copies

LEAST_COPY = 3
"""Statements of a body, those within its blocks counted, from which on two equal ones are a copy."""


def copies(texts):
    """Functions of equal bodies, docstrings left out, in different modules.

    Args:
        texts: Name of a module to its source.
    """
    bodies = {}
    for name, text in texts.items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                body = node.body[1:] if ast.get_docstring(node) is not None else node.body
                if sum(isinstance(n, ast.stmt) for statement in body for n in ast.walk(statement)) >= LEAST_COPY:
                    bodies.setdefault("\n".join(map(ast.dump, body)), []).append((name, node.name))
    return [sorted(places) for places in bodies.values() if len({name for name, _ in places}) > 1]


def test_methods_do_not_copy_from_each_other():
    assert copies({p.name: p.read_text() for p in (ROOT / "wsss" / "stages" / "seeds").glob("*.py")}) == []


def test_copies_are_found():
    first = 'def f(x):\n    """Doc."""\n    y = x\n    y += 1\n    return y\n'
    second = "class A:\n    def other(self, x):\n        y = x  # other words\n        y += 1\n        return y\n"
    assert copies({"a": first, "b": second}) == [[("a", "f"), ("b", "other")]]
    assert copies({"a": first + second}) == []  # one module may
    assert copies({"a": first, "b": second.replace("+= 1", "+= 2")}) == []
    assert copies({"a": "def f(x):\n    return x\n", "b": "def f(x):\n    return x\n"}) == []
