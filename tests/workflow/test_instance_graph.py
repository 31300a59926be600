"""Paths, owners and stage settings from peaks to instances."""

from __future__ import annotations

import re

import pytest

from wsss.cli.plan import planned_jobs
from wsss.settings.config import load
from wsss.settings.faults import ConfigError
from wsss.workflow.graph import Graph
from wsss.workflow.instance_graph import InstanceGraph

RECIPES = {
    "ceiling": {"kind": "prm", "instances": {"proposals": {"kind": "truth"}}},
    "parts": {"kind": "prm", "seeds": {"prm": {"scores": "maps"}}, "instances": {"route": "components"}},
    "fine": {"kind": "prm", "seeds": {"prm": {"response_subpixel": 8}}},
    "plain": {"kind": "prm", "seeds": {"prm": {"stimulation": False}}},
    "cam_parts": {"kind": "cam", "instances": {"route": "components"}},
}
METHODS = ["prm", *RECIPES]
UNTAUGHT = {"saliency": {"kind": "none"}, "pseudo": {"seed": {"kind": "scores", "cue": "constant"}}}


def branch(**instances):
    given = {
        "methods": METHODS,
        "recipes": RECIPES,
        "segment": {"methods": []},
        "instances": {"methods": METHODS, **instances},
    }
    return InstanceGraph(Graph(load(given)))


def test_proposals_are_made_once_a_kind():
    g = branch()
    base = "results/scenes/proposals"
    assert [g.proposals(m) for m in METHODS] == [
        [f"{base}/watershed/train-0.json"],
        [f"{base}/truth/train-0.json"],
        [],
        *[[f"{base}/watershed/train-0.json"]] * 2,
        [],
    ]
    kinds = ["watershed", "truth"]
    assert [g.graph.stage("propose_masks", kind=k).proposals.kind for k in kinds] == kinds


def test_equal_peaks_have_one_owner():
    owners = [[f.split("/")[2] for f in branch().responses(m)] for m in METHODS]
    assert owners == [["prm"], ["prm"], ["prm"], ["fine"], ["plain"], []]


def test_a_classifier_is_trained_once_for_all_ways_to_instances_and_of_tracing_peaks_back():
    g = branch()
    assert [g.classifier(m).split("/")[2] for m in METHODS] == ["prm", "prm", "prm", "prm", "plain", "cam_parts"]


def test_what_each_route_reads():
    g = branch()
    assert [bool(g.masks(m)) for m in METHODS] == [False, False, True, False, False, True]
    assert [bool(g.fused(m)) for m in METHODS] == [False] * 5 + [True]


def test_saliency_is_read_where_it_is_the_background():
    told = {"background": "saliency", "saliency_threshold": 0.03}
    g, plain = branch(retrieval=told), branch(retrieval={"saliency_threshold": 0.03})
    files = ["results/scenes/saliency/barrier/train-0.h5"]
    assert [g.saliency(m) for m in ("prm", "ceiling", "parts", "cam_parts")] == [files, files, [], []]
    assert plain.saliency("prm") == []
    assert plain.graph.stage("retrieve_instances", method="prm") == branch().graph.stage(
        "retrieve_instances", method="prm"
    )  # a threshold of nothing


def test_stages_are_given_what_they_read():
    def settings(**values):
        g = branch(**values)
        return [
            g.graph.stage("propose_masks", kind="watershed"),
            *(g.graph.stage(s, method="prm") for s in ("respond_peaks", "retrieve_instances")),
        ]

    plain = settings()
    for values, changed in (
        ({"proposals": {"watershed": {"count": 9}}}, [0]),
        ({"proposals": {"folder": {"count": 9}}}, []),
        ({"response_scale": 1.0}, [1]),
        ({"retrieval": {"instance": 0.0}}, [2]),
        ({"min_area": 0.1}, []),  # of components
    ):
        assert [k for k, (a, b) in enumerate(zip(plain, settings(**values), strict=True)) if a != b] == changed
    assert branch(retrieval={"instance": 0.0}).graph.stage(
        "retrieve_instances", method="parts"
    ) == branch().graph.stage("retrieve_instances", method="parts")


def test_jobs_are_counted():
    jobs = planned_jobs(branch().graph)
    assert [
        len(jobs[s])
        for s in ("propose_masks", "respond_peaks", "retrieve_instances", "export_instances", "measure_instances")
    ] == [2, 3, 6, 6, 6]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (
            {"methods": ["cam"], "instances": {"methods": ["cam"]}},
            "instances.methods: cam has no peaks for the route proposals; give it instances.route: components",
        ),
        (
            {"methods": ["cam"], "instances": {"methods": ["prm"]}},
            "instances.methods: 'prm' is not among methods ['cam']",
        ),
        (
            {"methods": ["prm"], "instances": {"methods": ["prm"], "proposals": {"kind": "folder"}}},
            "instances.proposals.folder.root is empty",
        ),
        (
            {"recipes": {"x": {"kind": "prm", "instances": {"proposals": {"folder": {"root": "a"}}}}}},
            "recipes.x.instances.proposals.folder: a recipe may change",
        ),
        (
            {
                "methods": ["prm"],
                **UNTAUGHT,
                "instances": {"methods": ["prm"], "retrieval": {"background": "saliency"}},
            },
            "instances.retrieval.background is 'saliency' but saliency.kind is 'none'",
        ),
        ({"instances": {"retrieval": {"contour_width": 4}}}, "contour_width 4 has no centre"),
        ({"instances": {"proposals": {"watershed": {"smoothings": [-1.0]}}}}, "smoothings [-1.0] are outside 0..20"),
        ({"instances": {"proposals": {"watershed": {"min_area": 0.9}}}}, "min_area 0.9 is not below max_area 0.85"),
    ],
)
def test_faults(values, expected):
    with pytest.raises(ConfigError, match=re.escape(expected)):
        load({"segment": {"methods": []}, **values})
