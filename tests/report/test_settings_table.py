"""Settings beside their defaults."""

from __future__ import annotations

from wsss.settings.config import load
from wsss.settings.reading import relevant
from wsss.settings.sections import Config
from wsss.stages.report.settings_table import list_settings


def test_changed_settings_come_first_with_their_default_and_meaning():
    config = {"run": "x", "seeds": {"claim": {"rel_threshold": 0.35}}, "recipes": {"e4": {"kind": "erasing"}}}
    listed = list_settings(relevant(load(config)))
    changed = {s.key: (s.value, s.default) for s in listed if s.changed}
    assert changed == {
        "run": ("x", "scenes"),
        "seeds.claim.rel_threshold": ("0.35", str(Config().seeds.claim.rel_threshold)),
        "recipes": ('{"e4": {"kind": "erasing"}}', "{}"),
    }
    assert [s.changed for s in listed] == sorted((s.changed for s in listed), reverse=True)
    assert "AE-PSL" in next(s.meaning for s in listed if s.key == "seeds.claim.rel_threshold")
