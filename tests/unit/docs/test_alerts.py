"""The alert rules that are shipped, held to the metrics there are and to the page."""

import re
from datetime import timedelta
from operator import eq, gt
from pathlib import Path
from typing import Any

import pytest
import yaml

from api.metrics.collector import FleetCollector
from models.declarations.metrics import DECLARED, Counter
from models.state.connection import connect_state
from models.state.dead_letter_count import write_depth
from models.state.progress.records import Records
from models.state.queue.broker import Broker
from models.state.queue.journal import Journal, JournalBounds
from tests.support.docs import code, table

METRIC = re.compile(r"\b(?:questline|challenge_event_handler)_[a-z_]+\b")
ROOT = Path(__file__).parents[3]
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
    known = {metric.name for metric in DECLARED}
    for rule in RULES:
        named = METRIC.findall(rule["expr"])
        assert named, rule["alert"]
        assert set(named) <= known, rule["alert"]
        assert rule["expr"].count("(") == rule["expr"].count(")"), rule["alert"]


def selectors(rule):
    """What a rule reads: names of metrics, each with the label that its sum keeps."""
    kept = dict.fromkeys(METRIC.findall(rule["expr"]))
    for label, name in re.findall(r"sum by \((\w+)\) \(rate\((\w+)(?:\{[^}]*\})?\[", rule["expr"]):
        kept[name] = label
    for label in re.findall(r"\$labels\.(\w+)", str(rule["annotations"])):
        kept = {name: kept[name] or label for name in kept} if len(kept) == 1 else kept
    return kept


def scraped(redis, ping):
    """Each sample of a scrape: its labels and value, by name."""
    journal = Journal(redis, shards=2, bounds=JournalBounds(65536), retry_after=timedelta(seconds=1))
    records = Records(redis, window=timedelta(days=1), record_ttl=timedelta(days=1))
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for metric in FleetCollector(redis, 2, journal, records, ping, lambda: 1).collect():
        for sample in metric.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def answers():
    """A broker that is there."""


LATER = {
    "questline_dead_letter_depth": "above 0 for an hour: before the first dead letter there is nothing to say",
    "questline_events_rejected_total": "a rate that lasts: only the first scrape of a code is not seen",
}
"""Metrics of rules that begin with what they count, and why that is no loss."""


@pytest.mark.parametrize("ping", [answers, Broker("redis://127.0.0.1:1/0").ping])
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_what_an_alert_reads_is_there_before_anything_happened_and_while_a_broker_is_away(redis, rule, ping):
    found = scraped(redis, ping)
    for name, label in selectors(rule).items():
        if name not in LATER:
            assert name in found, name
            assert label is None or all(label in labels for labels, _ in found[name]), name


def test_what_begins_later_is_read_where_that_is_no_loss(redis):
    readers = {name: rule for rule in RULES for name in selectors(rule) if name in LATER}
    assert set(readers) == set(LATER)
    assert set(LATER) & set(scraped(redis, answers)) == set()
    for rule in readers.values():  # neither increase() nor a short `for`, which are about a first sample
        assert "increase(" not in rule["expr"]
        assert rule["for"] in {"15m", "1h"}


def test_a_rule_on_increase_has_every_series_it_could_miss(redis):
    """``increase()`` is 0 over a series that begins above 0."""
    found = scraped(redis, answers)
    names = [name for rule in RULES for name in re.findall(r"increase\((\w+)\[", rule["expr"])]
    assert names
    for name in names:
        [counter] = [metric for metric in DECLARED if isinstance(metric, Counter) and metric.name == name]
        have = {labels[counter.label] for labels, _ in found[name]}
        assert have == set(counter.known)


def firing(redis, ping):
    """The alerts that compare one metric with a number, and would fire after their ``for``."""
    found, alerts = scraped(redis, ping), set()
    for rule in RULES:
        compared = re.fullmatch(r"(\w+) (==|>) (\d+)", rule["expr"])
        if compared is not None:
            name, sign, bound = compared.groups()
            over = eq if sign == "==" else gt
            alerts |= {rule["alert"] for _, value in found.get(name, []) if over(value, int(bound))}
    return alerts


def test_alerts_fire_for_what_is_away(redis):
    tick = {("message", "task_failed"): 0}
    assert firing(redis, answers) == {"QuestlineNothingTicks"}  # an empty Redis: nobody has swept yet
    write_depth(redis, tick, now_us=1)
    assert firing(redis, answers) == set()
    assert firing(redis, Broker("redis://127.0.0.1:1/0").ping) == {"QuestlineBrokerAway"}
    assert firing(connect_state("redis://127.0.0.1:1/0"), answers) == {"QuestlineStateAway"}


def test_the_page_has_the_same_alerts():
    shipped = [
        (rule["alert"], rule["labels"]["severity"], f"`{' '.join(rule['expr'].split())}` for {rule['for']}")
        for rule in RULES
    ]
    rows = table("docs/reference/alerts.md", "Alerts")
    assert [(code(name), severity, condition) for name, severity, condition, _ in rows] == shipped
    assert len({name for name, *_ in shipped}) == len(shipped)
