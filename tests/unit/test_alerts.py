"""The alert rules that are shipped, held to the metrics there are and to the paper."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.test_papers import code, table

ROOT = Path(__file__).parents[2]
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((ROOT / "deploy" / "prometheus-alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_each_alert_says_how_bad_it_is_and_what_to_do(rule):
    assert set(rule) == {"alert", "expr", "for", "labels", "annotations"}
    assert re.fullmatch(r"\d+[smh]", rule["for"])
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert all(rule["annotations"][name].strip() for name in ("summary", "description"))


def test_each_metric_of_an_alert_exists():
    known = {code(name) for name, *_ in table("README.md", "Metrics")}
    for rule in RULES:
        named = re.findall(r"\b(?:questline|challenge_event_handler)_[a-z_]+\b", rule["expr"])
        assert named, rule["alert"]
        assert set(named) <= known, rule["alert"]
        assert rule["expr"].count("(") == rule["expr"].count(")"), rule["alert"]


def test_the_paper_has_the_same_alerts():
    shipped = [
        (rule["alert"], rule["labels"]["severity"], f"`{' '.join(rule['expr'].split())}` for {rule['for']}")
        for rule in RULES
    ]
    rows = table("docs/operations.md", "Alerts worth having")
    assert [(code(name), severity, condition) for name, severity, condition, _ in rows] == shipped
    assert len({name for name, *_ in shipped}) == len(shipped)
