"""The configuration: generated file, refusals that name the key, recipes, every key read somewhere."""

from __future__ import annotations

import re

import pytest
from pydantic import BaseModel

from wsss.settings import sections
from wsss.settings.config import load
from wsss.settings.config_text import dump_yaml
from wsss.settings.faults import ConfigError
from wsss.settings.recipes import for_method, for_variant
from wsss.settings.values import read_yaml, refuse_double_keys

from ..conftest import ROOT


def test_config_yaml_is_the_dump_of_the_defaults():
    assert (ROOT / "config.yaml").read_text() == dump_yaml(), "run: wsss config > config.yaml"


def test_dump_reads_back_as_the_same_configuration(tmp_path):
    config = load({"seed": 7, "seeds": {"claim": {"rel_threshold": 0.35}}, "recipes": {"wide": {"kind": "erasing"}}})
    path = tmp_path / "c.yaml"
    path.write_text(dump_yaml(config))
    assert load(path) == config


@pytest.mark.parametrize("overlay", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda p: p.name)
def test_every_overlay_is_accepted(overlay):
    assert load(overlay).run != ""


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"seedz": 1}, "seedz: unknown key; did you mean 'seed'?"),
        ({"pseudo": {"crf": {"theta_alpah": 1.0}}}, "pseudo.crf.theta_alpah: unknown key; did you mean 'theta_alpha'?"),
        ({"seeds": {"claim": {"rel_threshold": 1.5}}}, "seeds.claim.rel_threshold: found 1.5"),
        ({"seeds": {"claim": {"rel_threshold": "0.5"}}}, "seeds.claim.rel_threshold: found '0.5'"),
        ({"compute": {"device": "gpu"}}, "compute.device: found 'gpu'"),
        ({"methods": ["cam", "erassing"]}, "'erassing' is no method and no recipe; did you mean 'erasing'?"),
        ({"methods": []}, "methods: found []"),
        (
            {"segment": {"start": "classifier", "network": "deeplabv2"}},
            "segment.start is 'classifier', but the network deeplabv2 of plain is not built on",
        ),
        ({"methods": ["cam", "cam"]}, "'cam' is listed twice"),
        ({"methods": ["cam"]}, "segment.methods: 'erasing' is not among methods"),
        ({"recipes": {"x": {"kind": "cam", "sneeds": {}}}}, "recipes.x.sneeds"),
        ({"recipes": {"eps": {"kind": "cam"}}}, "recipes.eps.kind: 'cam' under the name of another method"),
        ({"recipes": {"mine": {"seeds": {}}}}, "recipes.mine: its kind is missing; known: "),
        ({"seeds": {"custom": {"epz": {}}}}, "seeds.custom.epz: 'epz' is no installed method; did you mean 'eps'?"),
        (
            {"recipes": {"x": {"kind": "cam", "seeds": {"custom": {"epz": {}}}}}},
            "seeds.custom.epz: 'epz' is no installed method",
        ),
        ({"recipes": {"full": {"kind": "cam"}}}, "recipes.full: the name is taken"),
        ({"recipes": {"a/b": {"kind": "cam"}}}, "recipes.a/b: names are"),
        (
            {"recipes": {"x": {"kind": "cam", "seeds": {"rounds": {"count": 0}}}}},
            "recipes.x.seeds.rounds.count: found 0",
        ),
        ({"segment": {"variants": ["plane"]}}, "'plane' is unknown; did you mean 'plain'?"),
        ({"saliency": {"kind": "none"}}, "saliency.kind is 'none'"),
        (
            {"pseudo": {"seed": {"kind": "scores", "cue": "network"}}},
            "cam has no background map of its own: give the cue in a recipe of eps",
        ),
        (
            {"pseudo": {"seed": {"cue": "network"}}},
            "kind 'regions' needs cue 'saliency' to name background pixels; use kind 'scores' with cue 'network'",
        ),
        (
            {
                "methods": ["cam", "eps"],
                "segment": {"methods": []},
                "saliency": {"kind": "none"},
                "pseudo": {"seed": {"kind": "scores", "cue": "constant"}},
            },
            "eps learns from saliency, but saliency.kind is 'none'",
        ),
        (
            {"recipes": {"x": {"kind": "eps", "saliency": {"u2net": {"weights": "a"}}}}},
            "recipes.x.saliency.u2net: a recipe may change saliency.kind only",
        ),
        ({"seeds": {"eps": {"selection": "predefined"}}}, "selection 'predefined' needs background_classes"),
        ({"seeds": {"fuse": {"weights": [1, 2]}}}, "seeds.fuse.weights has 2 weights, but cam has 1 rounds"),
        ({"seeds": {"eps": {"overlap": 1.0}}}, "seeds.eps.overlap: found 1.0"),
        ({"segment": {"train": {"optimiser": {"lr": "1e-5"}}}}, "write a dot before an exponent (1.0e-5)"),
        ({"run": "../evil"}, "run: found '../evil'"),
        ({"seed": float("nan")}, "seed: found"),
    ],
)
def test_faults_are_refused_with_key_value_and_the_nearest_legal(values, expected):
    with pytest.raises(ConfigError, match=re.escape(expected)):
        load(values)


def test_every_fault_is_named_at_once():
    with pytest.raises(ConfigError) as error:
        load({"sed": 1, "compute": {"threads": 0}, "pseudo": {"refine": "magic"}})
    assert all(key in str(error.value) for key in ("sed", "compute.threads", "pseudo.refine"))


def test_bad_files_are_named(tmp_path):
    (tmp_path / "list.yaml").write_text("- 1")
    (tmp_path / "broken.yaml").write_text("a: [")
    (tmp_path / "tag.yaml").write_text("run: !!python/object/apply:os.system ['true']")
    for name in ("list.yaml", "broken.yaml", "tag.yaml", "missing.yaml"):
        with pytest.raises(ConfigError, match=name):
            read_yaml(tmp_path / name)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("seed: 1\nrun: a\nseed: 2", "line 3: the key 'seed' is there already, on line 1"),
        ("recipes:\n  a: {kind: cam}\n  a: {kind: eps}", "line 3: the key 'a' is there already, on line 2"),
        ("methods: [{a: 1, a: 2}]", "line 1: the key 'a' is there already, on line 1"),
    ],
)
def test_a_key_that_is_there_twice_is_refused(tmp_path, text, expected):
    (tmp_path / "twice.yaml").write_text(text)
    with pytest.raises(ConfigError, match=re.escape(expected)):
        read_yaml(tmp_path / "twice.yaml")


def test_files_that_snakemake_reads_in_its_own_way_are_left_to_it(tmp_path):
    """Templates (YTE) may have a condition twice; JSON may have tabs."""
    (tmp_path / "yte.yaml").write_text("__use_yte__: true\n?if True:\n  seed: 1\n?if True:\n  run: a\n")
    (tmp_path / "tabs.json").write_text('{\n\t"seed": 1\n}')
    for name in ("yte.yaml", "tabs.json"):
        refuse_double_keys(tmp_path / name)
    (tmp_path / "twice.json").write_text('{"seed": 1, "seed": 2}')
    with pytest.raises(ConfigError, match=r"twice\.json: line 1: the key 'seed' is there already, on line 1"):
        refuse_double_keys(tmp_path / "twice.json")


def test_what_a_merge_key_brings_may_be_said_anew(tmp_path):
    (tmp_path / "merged.yaml").write_text("b: {deep: &i {<<: {x: 3}, x: 1}}\nc: {<<: *i, y: 2}\n")
    assert read_yaml(tmp_path / "merged.yaml") == {"b": {"deep": {"x": 1}}, "c": {"x": 1, "y": 2}}
    (tmp_path / "twice.yaml").write_text("a: &a {x: 1}\nb: {<<: *a, <<: {y: 1}}\n")
    with pytest.raises(
        ConfigError, match=re.escape("line 2: the key '<<' is there already, on line 2; write one `<<: [*a, *b]`")
    ):
        read_yaml(tmp_path / "twice.yaml")
    (tmp_path / "nothing.yaml").write_text("a: *x\n")
    with pytest.raises(ConfigError, match="undefined alias"):
        read_yaml(tmp_path / "nothing.yaml")
    (tmp_path / "empty.yaml").write_text("# nothing\n")
    assert read_yaml(tmp_path / "empty.yaml") == {}


def test_recipes_lie_over_the_configuration():
    config = load(
        {
            "recipes": {"deep": {"kind": "erasing", "seeds": {"rounds": {"count": 4}}}},
            "methods": ["cam", "deep"],
            "segment": {"methods": []},
        }
    )
    kind, resolved = for_method(config, "deep")
    assert (kind, resolved.seeds.rounds.count, config.seeds.rounds.count) == ("erasing", 4, 3)


def test_builtin_variants_differ_in_psl_alone():
    segment = load({}).segment
    assert [for_variant(segment, v).psl.enabled for v in ("plain", "psl")] == [False, True]


def _leaves(model: type[BaseModel]) -> set[str]:
    out = set()
    for name, field in model.model_fields.items():
        kind = field.annotation
        out |= _leaves(kind) if isinstance(kind, type) and issubclass(kind, BaseModel) else {name}
    return out


def test_every_key_is_read_somewhere():
    code = "\n".join(
        p.read_text()
        for p in [*(ROOT / "wsss").rglob("*.py"), *(ROOT / "rules").glob("*.smk")]
        if "sections" not in p.parts
    )
    unread = {key for key in _leaves(sections.Config) if not re.search(rf"\.{key}\b", code)}
    assert unread == set()


def test_every_key_says_what_it_is():
    def undocumented(model):
        for name, field in model.model_fields.items():
            kind = field.annotation
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from undocumented(kind)
            elif not field.description:
                yield f"{model.__name__}.{name}"

    assert list(undocumented(sections.Config)) == []
