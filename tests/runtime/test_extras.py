"""A missing extra is one line that names it and the command that installs it, before any work."""

from __future__ import annotations

import importlib.util

import pytest

from wsss.cli.export_onnx import export_onnx
from wsss.cli.plan import plan
from wsss.runtime.extras import MissingExtraError, absent, require
from wsss.settings.config import load
from wsss.settings.needs import needs
from wsss.settings.sections import ProposalsSection, U2netSection
from wsss.stages.instances.proposer import proposer_of
from wsss.stages.saliency.u2net import U2net

INSTANCES = {"methods": ["prm"], "instances": {"methods": ["prm"]}}


@pytest.fixture
def core_alone(monkeypatch):
    """No package of an extra can be found."""
    real = importlib.util.find_spec
    hidden = {"higra", "onnxruntime", "onnx", "onnxscript"}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name in hidden else real(name, *a))


@pytest.mark.usefixtures("core_alone")
def test_the_message_names_the_extra_and_the_command():
    with pytest.raises(MissingExtraError) as caught:
        require("export", reason="wsss export")
    expected = "wsss export needs onnx and onnxscript, not installed here: pip install 'wsss[export]'"
    assert str(caught.value) == expected


def test_an_installed_extra_is_silent():
    pytest.importorskip("higra")
    require("instances", reason="")


@pytest.mark.usefixtures("core_alone")
def test_stages_and_commands_ask_first(tmp_path):
    with pytest.raises(MissingExtraError, match=r"'wsss\[export\]'"):
        export_onnx(model=tmp_path / "absent.pt", output=tmp_path / "x.onnx")
    with pytest.raises(MissingExtraError, match=r"'wsss\[saliency\]'"):
        U2net(U2netSection()).prepare([])
    with pytest.raises(MissingExtraError, match=r"'wsss\[instances\]'"):
        proposer_of(ProposalsSection(kind="watershed"))


@pytest.mark.parametrize(
    ("config", "extras"),
    [
        ({}, []),
        ({"saliency": {"kind": "u2net"}}, ["saliency"]),
        ({"methods": ["a"], "recipes": {"a": {"kind": "erasing", "saliency": {"kind": "u2net"}}},
          "segment": {"methods": ["a"]}}, ["saliency"]),
        ({**INSTANCES, "segment": {"methods": []}}, ["instances"]),
        ({"methods": ["prm"], "segment": {"methods": []}}, []),
        ({"methods": ["prm"], "segment": {"methods": []},
          "instances": {"methods": ["prm"], "route": "components"}}, []),
    ],
)  # fmt: skip
def test_a_configuration_says_which_it_needs(config, extras):
    assert [extra for extra, _ in needs(load(config))] == extras


@pytest.mark.usefixtures("core_alone")
def test_the_plan_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert absent(needs(load({}))) == []
    (tmp_path / "config.yaml").write_text("saliency: {kind: u2net}\n")
    expected = (
        "Install first: saliency.kind 'u2net' needs onnxruntime, not installed here: pip install 'wsss[saliency]'"
    )
    assert expected in plan([], probe=False).splitlines()
