"""The challenges file: what it accepts, and that it says every fault at once."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.settings import Settings
from models.errors import InvalidChallengesError
from models.rules.challenge_file.parser import parse_challenges
from models.rules.goals import Rulebook
from models.rules.operators import make_rule
from models.rules.rule import Condition

SEED = """{"challenges": [{"id": "daily-quests", "goals": [
  {"id": "daily-login", "type": "daily", "event_source": "login", "requirement": {"target": 1}},
  {"id": "win-5-matches", "type": "absolute", "event_source": "statistic:match_wins",
   "requirement": {"target": 5}}]}]}"""


def goal(goal_id="g", **changes):
    made = {"id": goal_id, "type": "increment", "event_source": "e", "requirement": {"target": 1}} | changes
    return {key: value for key, value in made.items() if value is not ...}


def file_of(*goals, **changes):
    return {"challenges": [{"id": "c", "goals": list(goals)} | changes]}


def faults_of(content):
    text = content if isinstance(content, str | bytes) else json.dumps(content)
    with pytest.raises(InvalidChallengesError) as caught:
        parse_challenges(text, "f.json")
    return caught.value.faults


def test_the_seeds_file_loads_as_it_stands():
    rulebook = parse_challenges(SEED, "f.json")

    login, wins = rulebook.goals
    assert login.rule == make_rule(op="count", events=("login",), target=1, per="day", stops_at_target=True)
    not_negative = (Condition("value", ">=", 0),)
    assert wins.rule == make_rule(op="latest", events=("statistic:match_wins",), target=5, where=not_negative)
    assert login.name == "daily-login"
    assert login.challenge_id == "daily-quests"


def test_an_increment_goal_sums():
    (only,) = parse_challenges(json.dumps(file_of(goal())), "f.json").goals

    assert only.rule == make_rule(op="sum", events=("e",), target=1)


def test_names_rewards_and_prerequisites_are_kept_as_data():
    reward = {"type": "ITEM", "quantity": 2, "tags": ["a", {"b": None}]}
    content = file_of(goal("a"), goal("b", name="Bee", description="d", reward=reward, prerequisites=["a"]))

    bee = parse_challenges(json.dumps(content), "f.json").by_id["b"]

    assert (bee.name, bee.description, bee.prerequisites) == ("Bee", "d", ("a",))
    assert bee.reward == reward


def test_the_shipped_file_loads_and_holds_the_seeds_goals():
    path = Settings().challenges_file
    rulebook = parse_challenges(path.read_bytes(), str(path))

    daily_quests = {goal.goal_id for goal in rulebook.goals if goal.challenge_id == "daily-quests"}
    assert {"daily-login", "win-5-matches"} <= daily_quests
    assert max(len(goals) for goals in rulebook.by_event.values()) <= 3
    assert {goal.rule.op for goal in rulebook.goals} == {"latest", "sum", "count"}
    assert all(goal.name and goal.description for goal in rulebook.goals)


def test_a_byte_order_mark_is_no_fault():
    assert parse_challenges(b"\xef\xbb\xbf" + SEED.encode(), "f.json").goals


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"type": "dayly"}, "type: must be absolute, increment or daily, is 'dayly'"),
        ({"type": ...}, "type: is missing"),
        ({"event_source": 7}, "event_source: must be text, is 7"),
        ({"event_source": ""}, "event_source: must be 1 to 256 characters long, is 0"),
        ({"event_source": "a" * 257}, "event_source: must be 1 to 256 characters long, is 257"),
        ({"event_source": "a\nb"}, "event_source: must not hold the control character U+000A"),
        ({"event_source": "a\u2028b"}, "event_source: must not hold the control character U+2028"),
        ({"event_source": "\ud800"}, "event_source: must not hold the character U+D800"),
        ({"requirement": {"target": 0}}, "requirement.target: must be greater than 0, is 0"),
        ({"requirement": {"target": -2.5}}, "requirement.target: must be greater than 0, is -2.5"),
        ({"requirement": {"target": True}}, "requirement.target: must be a number, is true"),
        ({"requirement": {"target": "5"}}, "requirement.target: must be a number, is '5'"),
        ({"requirement": {"target": None}}, "requirement.target: must be a number, is null"),
        ({"requirement": {"target": float("nan")}}, "requirement.target: must be a finite number"),
        ({"requirement": {"target": float("inf")}}, "requirement.target: must be a finite number"),
        ({"requirement": {}}, "requirement.target: is missing"),
        ({"requirement": 5}, "requirement: must be an object, is 5"),
        ({"requirement": {"target": 1, "op": ">="}}, "requirement.op: is not a known key"),
        ({"rewards": {}}, "rewards: is not a known key; did you mean reward?"),
        ({"a\nb": 1}, "'a\\nb': is not a known key"),
        ({"name": ""}, "name: must not be empty"),
        ({"name": None}, "name: must be text, is null"),
        ({"description": ["d"]}, "description: must be text, is a list"),
        ({"reward": "gold"}, "reward: must be an object, is 'gold'"),
        ({"reward": {"a": ["\0"]}}, "reward: at 'a.0': must not hold the character U+0000"),
        ({"reward": {"\0": 1}}, "reward: must not hold the character U+0000"),
        ({"reward": {"n": float("inf")}}, "reward: at 'n': must be a finite number"),
        ({"prerequisites": "a"}, "prerequisites: must be a list, is 'a'"),
        ({"prerequisites": [1]}, "prerequisites[0]: must be text, is 1"),
        ({"prerequisites": ["g"]}, "prerequisites[0]: is the goal itself"),
        ({"prerequisites": ["x"]}, "prerequisites[0]: names the goal 'x', which does not exist"),
    ],
)
def test_a_fault_names_file_challenge_goal_and_field(changes, fault):
    assert faults_of(file_of(goal(**changes))) == [f"f.json: challenge 'c', goal 'g': {fault}"]


def test_a_goal_without_an_id_is_named_by_its_position():
    assert faults_of(file_of(goal(), goal(id=...))) == ["f.json: challenge 'c', goal number 2: id: is missing"]


_TOO_LARGE = [str(2**53 + 1), "1" + "0" * 30, "1e300", "1e999", "9007199254740993.0", "9" * 5_000]


@pytest.mark.parametrize("digits", _TOO_LARGE)
def test_a_target_beyond_what_a_double_holds_is_refused(digits):
    (fault,) = faults_of(json.dumps(file_of(goal())).replace('"target": 1', f'"target": {digits}'))

    assert fault.startswith("f.json: challenge 'c', goal 'g': requirement.target: must be ")


def test_the_largest_exact_target_is_accepted():
    content = file_of(goal(requirement={"target": 2**53}))

    assert parse_challenges(json.dumps(content), "f.json").goals[0].target == 2**53


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ([], "must be an object, is a list"),
        ({}, "challenges: is missing"),
        ({"challenges": []}, "challenges: must not be empty"),
        ({"challenges": {}}, "challenges: must be a list, is an object"),
        ({"challenges": [5]}, "challenge number 1: must be an object, is 5"),
        (file_of(), "challenge 'c': goals: must not be empty"),
        (file_of(goal(), version=2), "challenge 'c': version: is not a known key"),
        ("", "line 1, column 1: is not JSON: Expecting value"),
        ('{"challenges":\n  [}', "line 2, column 4: is not JSON: Expecting value"),
        (b'{"a":\n "\xff"}', "line 2, byte 3: is not UTF-8"),
        ("[" * 100_000, "is nested too deeply"),
    ],
)
def test_a_fault_of_the_file_itself_is_one_line(content, fault):
    assert faults_of(content) == [f"f.json: {fault}"]


def test_all_faults_are_said_at_once_and_in_the_files_order():
    content = {
        "challenges": [
            {
                "id": "a",
                "goals": [goal("g1", type="x", prerequisites=["nowhere"]), goal("g2", event_source=1)],
            },
            {"id": "b", "goals": [goal("g3", requirement={"target": 0})]},
        ],
        "extra": 1,
    }

    assert [fault.split(": ")[1:3] for fault in faults_of(content)] == [
        ["extra", "is not a known key"],
        ["challenge 'a', goal 'g1'", "prerequisites[0]"],
        ["challenge 'a', goal 'g1'", "type"],
        ["challenge 'a', goal 'g2'", "event_source"],
        ["challenge 'b', goal 'g3'", "requirement.target"],
    ]


def test_ids_are_unique_over_the_whole_file():
    content = {"challenges": [{"id": "c", "goals": [goal("g")]}, {"id": "c", "goals": [goal("g")]}]}

    assert faults_of(content) == [
        "f.json: challenge 'c': id: is used more than once in this file",
        "f.json: challenge 'c', goal 'g': id: is used more than once in this file",
    ]


def test_a_key_that_is_named_twice_is_a_fault():
    text = json.dumps(file_of(goal())).replace('"id": "g"', '"id": "h", "id": "g"')

    assert faults_of(text) == ["f.json: challenge 'c', goal 'g': id: is named twice in one object"]


def test_a_prerequisite_in_another_challenge_counts_and_one_named_twice_does_not():
    content = {
        "challenges": [
            {"id": "c", "goals": [goal("a")]},
            {"id": "d", "goals": [goal("b", prerequisites=["a", "a"])]},
        ]
    }

    assert faults_of(content) == ["f.json: challenge 'd', goal 'b': prerequisites[1]: names the goal 'a' a second time"]


def test_goals_that_wait_for_each_other_are_named_in_their_order():
    needs = {"a": ["b"], "b": ["c"], "c": ["a"], "x": ["y"], "y": ["x"], "z": ["a"]}
    content = file_of(*(goal(name, prerequisites=needed) for name, needed in needs.items()))

    assert faults_of(content) == [
        "f.json: challenge 'c', goal 'a': prerequisites: form a circle: 'a' needs 'b' needs 'c' needs 'a'",
        "f.json: challenge 'c', goal 'x': prerequisites: form a circle: 'x' needs 'y' needs 'x'",
    ]


def test_a_reward_that_nests_without_end_is_refused():
    deep = "[" * 200 + "]" * 200
    text = json.dumps(file_of(goal(reward={"a": 1}))).replace('{"a": 1}', f'{{"a": {deep}}}')

    (fault,) = faults_of(text)

    assert "is nested deeper than 16 levels" in fault


_KEYS = st.sampled_from(
    ["challenges", "id", "name", "goals", "type", "event_source", "requirement", "target", "reward",
     "prerequisites", "description", "rule", "op", "of", "event", "within", "active_from", "segments", "other"]
)  # fmt: skip
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    | st.sampled_from(["daily", "absolute", "increment", "login", "g", "count", "all", "7d", "count(login) >= 1"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_KEYS, inner, max_size=6),
    max_leaves=30,
)  # fmt: skip
_NEARLY_RULES = st.recursive(
    st.sampled_from(["a", "b", "count(login) >= 1", "all([a, b], within=7d)", "sum(e) >= 1"]) | _VALUES,
    lambda inner: st.fixed_dictionaries(
        {"op": st.sampled_from(["count", "all", "any", "at_least", "distinct", "sequence"]) | _VALUES},
        optional={"of": st.lists(inner, max_size=3), "event": st.just("e"), "target": st.just(300),
                  "last": st.just("1m"), "k": st.just(2), "within": st.just("7d"), "where": _VALUES},
    ),
    max_leaves=10,
)  # fmt: skip
_NEARLY_GOALS = st.fixed_dictionaries(
    {
        "id": st.sampled_from(["a", "b", "c"]) | _VALUES,
        "type": st.sampled_from(["daily", "absolute"]) | _VALUES,
        "event_source": st.just("login") | _VALUES,
        "requirement": st.fixed_dictionaries({"target": st.just(1) | _VALUES}),
    },
    optional={
        "prerequisites": st.lists(st.sampled_from(["a", "b", "c", "d"])) | _VALUES,
        "reward": _VALUES,
        "name": _VALUES,
        "rule": _NEARLY_RULES | _VALUES,
        "active_from": st.just("2026-11-21T00:00:00Z") | _VALUES,
        "segments": _VALUES,
    },
)
_NEARLY_FILES = st.fixed_dictionaries(
    {"challenges": st.lists(
        st.fixed_dictionaries({"id": st.text(min_size=1), "goals": st.lists(_NEARLY_GOALS)}) | _VALUES
    )}
)  # fmt: skip


def _loads_or_says_why(text):
    try:
        loaded, faults = parse_challenges(text, "f.json"), []
    except InvalidChallengesError as error:
        loaded, faults = None, error.faults
    assert isinstance(loaded, Rulebook) != bool(faults)
    for fault in faults:
        line, *excerpt = fault.splitlines()
        assert line.startswith("f.json: ")
        assert not excerpt or re.fullmatch(r"    .*\n     *\^ line \d+, column \d+", "\n".join(excerpt))


@given(_NEARLY_FILES | _VALUES)
@settings(max_examples=100, deadline=None)
def test_any_json_loads_or_is_refused_with_one_line_a_fault(content):
    _loads_or_says_why(json.dumps(content))


@given(st.text() | st.binary())
@settings(max_examples=100, deadline=None)
def test_any_text_loads_or_is_refused_with_one_line_a_fault(text):
    _loads_or_says_why(text)


@given(st.integers(0, len(SEED) - 1), st.binary(min_size=1, max_size=3))
@settings(max_examples=100, deadline=None)
def test_a_damaged_file_loads_or_is_refused(position, damage):
    _loads_or_says_why(SEED.encode()[:position] + damage + SEED.encode()[position + 1 :])


def test_the_loader_reads_no_file(monkeypatch):
    monkeypatch.setattr(Path, "open", lambda *_: pytest.fail("opened a file"))
    monkeypatch.setattr("builtins.open", lambda *_: pytest.fail("opened a file"))

    assert parse_challenges(SEED, "missing.json").goals
