"""The registry and the stop rule."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from wsss.methods import FACTS, load_method
from wsss.settings.sections import StopSection
from wsss.workflow.rounds import rounds_until_stop, should_stop


def rounds(*pairs):
    return [{"final_loss": loss, "new_area": area} for loss, area in pairs]


@pytest.mark.parametrize(
    ("rule", "metrics", "expected"),
    [
        ("loss", rounds((0.1, 0.0)), ""),  # round 1 always stays
        ("loss", rounds((0.1, 0.3), (0.19, 0.0)), ""),
        ("loss", rounds((0.1, 0.3), (0.21, 0.3)), "discard"),
        ("loss", rounds((0.125, 0.3), (0.25, 0.3)), ""),  # exactly the limit
        ("loss", rounds((0.1, 0.3), (0.9, 0.3), (0.15, 0.3)), ""),  # only the last round counts
        ("loss", rounds((0.1, 0.3), (0.15, 0.3), (0.25, 0.3)), "discard"),  # against round 1, not the one before
        ("area", rounds((0.1, 0.3)), ""),
        ("area", rounds((0.1, 0.01)), "keep"),
        ("area", rounds((0.1, 0.3), (0.9, 0.05)), ""),  # loss is not looked at
        ("area", rounds((0.1, 0.3), (0.1, 0.019)), "keep"),
        ("area", rounds((0.1, 0.3), (0.1, 0.02)), ""),  # exactly the limit
    ],
)
def test_should_stop(rule, metrics, expected):
    before = [dict(m) for m in metrics]
    assert should_stop(metrics, StopSection(rule=rule, loss_ratio=2.0, min_new_area=0.02)) == expected
    assert metrics == before


def test_the_papers_loss_curves_stop_before_round_3():
    """AE-PSL Fig. 5a: final losses .048, .088, .105, .159. Ratio 3 discards the fourth round, as the paper does."""
    losses = [0.048, 0.088, 0.105, 0.159]
    found = [
        should_stop(rounds(*((loss, 0.3) for loss in losses[:r])), StopSection(loss_ratio=3.0)) for r in range(1, 5)
    ]
    assert found == ["", "", "", "discard"]
    assert should_stop(rounds(*((loss, 0.3) for loss in losses[:3])), StopSection(loss_ratio=2.0)) == "discard"


@pytest.mark.parametrize("kind", sorted(FACTS))
def test_registered_methods_follow_the_protocol(kind):
    facts = FACTS[kind]
    assert hasattr(importlib.import_module(facts.module), "Method")
    method = load_method(kind)
    assert all(callable(getattr(method, name)) for name in ("build", "trainable", "pool", "losses", "scores"))
    assert facts.starts_as == "" or FACTS[facts.starts_as].starts_as == ""
    assert facts.rounds or not facts.erases


def test_erasing_over_any_method_of_one_round():
    """Round 1 is the method's own; what erases already, or has stages for rounds, gets none."""
    assert {k for k, f in FACTS.items() if f.over} >= {"eps_erasing", "prm_erasing"}
    assert not {"cam_erasing", "erasing_erasing", "esol_erasing", "eps_erasing_erasing"} & set(FACTS)
    eps, over = FACTS["eps"], FACTS["eps_erasing"]
    assert (over.module, over.needs, over.background, over.options) == (
        eps.module,
        eps.needs,
        eps.background,
        eps.options,
    )
    assert (over.erases, over.rounds, over.fuse, over.starts_as) == (True, True, "union", "eps")
    assert not FACTS["prm_erasing"].responds


def test_facts_need_no_torch():
    modules = "wsss.methods, wsss.settings.sections, wsss.training.draws, wsss.stages.seeds.earlier"
    code = f"import sys, {modules}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize(
    ("losses", "expected"),
    [((0.1, 0.1, 0.1), 3), ((0.1, 0.5), 1), ((0.1, 0.1, 0.5), 2), ((), 1), ((0.1,), 2)],
    ids=["never stops", "without the second", "without the third", "nothing measured", "the second to do"],
)
def test_rounds_until_stop(losses, expected):
    asked = []

    def figures(r):
        asked.append(r)
        return {"final_loss": losses[r - 1], "new_area": 0.3} if r <= len(losses) else None

    assert rounds_until_stop(3, StopSection(rule="loss", loss_ratio=2.0), figures=figures) == expected
    assert asked == list(range(1, len(asked) + 1))  # in order, and no further than the stop
    assert len(asked) <= expected + 1
