"""The schedule: drawn from its seed alone, and made of every fault."""

import re
from itertools import pairwise
from pathlib import Path

import pytest

from tools.chaos.faults.failpoints import FAILPOINTS
from tools.chaos.faults.fault import Category
from tools.chaos.run import FAULTS, draw_steps
from tools.chaos.schedule import WIPE, draw_schedule

ROOT = Path(__file__).parents[2]
ROOMS = ("ingest", "api", "web", "tasks", "models", "worker", "cli", "tools")


def draw(seed=1, seconds=600.0):
    return draw_schedule(seed, seconds, FAULTS.values())


def test_the_same_seed_draws_the_same_schedule():
    assert draw(5) == draw(5)
    assert draw(5) != draw(6)


@pytest.mark.parametrize("seed", range(5))
def test_ten_minutes_hold_every_fault_and_some_wipes(seed):
    names = [step.name for step in draw(seed)]
    assert set(names) == {*FAULTS, WIPE}
    assert names.count(WIPE) == 10


@pytest.mark.parametrize("category", Category)
def test_faults_of_a_category_follow_one_another(category):
    steps = [step for step in draw() if step.name != WIPE and FAULTS[step.name].category is category]
    assert all(step.at <= step.until for step in steps)
    assert all(before.until < after.at for before, after in pairwise(steps))


def test_faults_of_different_categories_meet():
    steps = [step for step in draw() if step.name != WIPE]
    assert any(before.until > after.at for before, after in pairwise(steps))


@pytest.mark.parametrize(
    ("part", "drawn"),
    [
        (WIPE, {WIPE}),
        ("redis", {name for name in FAULTS if name.startswith("redis-")} | {WIPE}),
        ("postgres-frozen", {"postgres-frozen"}),
        ("", {*FAULTS, WIPE}),
        ("earthquake", set()),
    ],
)
def test_a_part_of_a_name_chooses_the_faults_that_have_it_the_wipe_like_any_other(part, drawn):
    assert {step.name for step in draw_steps(1, 600.0, [part])} == drawn


def test_a_schedule_without_wipes_is_the_same_otherwise():
    with_wipes = [step for step in draw() if step.name != WIPE]
    assert draw_schedule(1, 600.0, FAULTS.values(), wipes=False) == with_wipes


def test_every_step_is_within_the_run_and_in_order():
    steps = draw(seconds=60)
    assert steps == sorted(steps)
    assert all(0 <= step.at <= step.until <= 60 for step in steps)


def test_a_short_run_holds_no_fault_for_long():
    assert all(step.until - step.at < 10 for step in draw(seconds=60))


def code_failpoints():
    written = "\n".join(path.read_text() for room in ROOMS for path in (ROOT / room).rglob("*.py"))
    return set(re.findall(r"(?<!`)\bfailpoint\(\"([a-z.]+)\"", written))


def test_every_failpoint_of_the_code_is_in_the_schedule_and_in_the_page():
    page = (ROOT / "docs/explanation/chaos-suite.md").read_text()
    documented = set(re.findall(r"(?m)^\| `([a-z]+\.[a-z]+)` \|", page))
    assert code_failpoints() == set(FAILPOINTS) == documented


def rows():
    section = (ROOT / "docs/reference/faults.md").read_text().split("## Every fault")[1]
    tables = re.findall(r"(?m)(?:^\|.*\n)+", section.split("\n## ")[0])
    assert len(tables) == 2, "those that are drawn, and those that have tests of their own"
    lines = [line for table in tables for line in table.splitlines()[2:]]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_every_fault_has_a_row_in_the_page_and_a_test_that_exists():
    named = " ".join(fault for fault, *_ in rows())
    plain = {name.partition(":")[0] for name in FAULTS} | {WIPE}
    assert {name for name in plain if f"`{name}`" not in named} == set()
    for fault, happens, seen, tests in rows():
        assert happens, fault
        assert seen, fault
        guards = re.findall(r"`(tests/[\w/]+\.py)`", tests)
        assert guards, fault
        for guard in guards:
            assert "def test_" in (ROOT / guard).read_text(), guard
