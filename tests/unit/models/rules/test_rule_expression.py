"""The expression language: what it accepts, and that a wrong text is answered with place and expectation."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.rules.challenge_file.language.errors import ExpressionError
from models.rules.challenge_file.language.parser import MAX_LENGTH, parse_expression
from models.rules.challenge_file.rule_text import expression_of
from tests.support.rule_examples import RULES

DAY = 86_400_000_000


def refusal(text):
    with pytest.raises(ExpressionError) as caught:
        parse_expression(text)
    return caught.value


def refused(text):
    """Why a text is no rule; None where it is one."""
    try:
        parse_expression(text)
    except ExpressionError as error:
        return error
    return None


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("count(event=lesson.completed, >= 10)", "count(lesson.completed) >= 10"),
        ("count(lesson.completed >= 10)", "count(lesson.completed) >= 10"),
        ('count("lesson.completed")>=10.0', "count(lesson.completed) >= 10"),
        ("  count ( login\n  per day\n)\n>= 1e1 ", "count(login per day) >= 10"),
        ("count(login, per=day, timezone=user) >= 1", "count(login per day, timezone=user) >= 1"),
        ("count(login, last=168h) >= 2", "count(login last 7d) >= 2"),
        ("min(race.finished, field=payload.seconds, <= 60)", "min(race.finished, field=payload.seconds) <= 60"),
        ("streak(session.started) >= 7", "streak(session.started, unit=day) >= 7"),
        ("sequence(events=[a, b])", "sequence([a, b])"),
        ("at_least(2, of=[a, b, c])", "at_least(2, [a, b, c])"),
        ("at_least(k=2, of=[a, b, c])", "at_least(2, [a, b, c])"),
        ("any(of=[a,'b'])", "any([a, b])"),
        (r"count(e where source == 'a\'\"\\\u0041') >= 1", r"""count(e where source == 'a\'"\\A') >= 1"""),
        ("sum(e where payload.a not in [1, null, true, 'x']) >= 1",) * 2,
        ("count(e where 'payload.a b' == -0.5) >= 1",) * 2,
    ],
)
def test_spellings_mean_the_same(text, same):
    assert expression_of(parse_expression(text)) == same


@pytest.mark.parametrize(
    "word", ["where", "per", "last", "and", "count", "sequence", "all", "event", "of", "in", "null"]
)
def test_words_of_the_language_may_name_events_goals_and_fields(word):
    assert parse_expression(f"count({word} where payload.{word} == 1 per day) >= 1").events == (word,)
    assert parse_expression(f"all([{word}, count({word}) >= 1])").of[0] == word
    assert parse_expression(f"sequence([{word}, {word}])").events == (word, word)


def test_the_answer_is_the_line_a_caret_and_what_was_expected():
    error = refusal("count(lesson.completed >= 10")

    assert str(error) == (
        "count(lesson.completed >= 10\n"
        "                            ^ line 1, column 29: "
        "expected ',', ')', 'where', 'per', 'last' or a threshold such as >= 10"
    )
    assert (error.line, error.column) == (1, 29)
    assert {"','", "')'"} <= set(error.expected)


@pytest.mark.parametrize(
    ("text", "line", "column", "reason"),
    [
        ("", 1, 1, "expected an operator such as count("),
        ("cont(login) >= 1", 1, 1, "cont is not an operator; did you mean count?"),
        ("all([a, cont(login) >= 1])", 1, 9, "cont is not an operator; did you mean count?"),
        ("xyz (login)", 1, 1, "xyz is not an operator"),
        ("count()", 1, 7, "expected an event type"),
        ("count([a])", 1, 7, "expected an event type"),
        ("count(7d) >= 1", 1, 7, "expected an event type"),
        ("count(login) >= ten", 1, 17, "expected a number"),
        ("count(login) >= 1 2", 1, 19, "expected the end"),
        ("count(login)", 1, 13, "expected a threshold such as >= 10"),
        ("min(race)", 1, 10, "expected a threshold such as <= 10"),
        ("count(login) > 1", 1, 14, "expected >=, as count completes at or above its threshold"),
        ("min(race) >= 1", 1, 11, "expected <=, as min completes at or below its threshold"),
        ("count(login >= 1) >= 1", 1, 19, "gives threshold a second time"),
        ("count(a, event=b) >= 1", 1, 10, "gives event a second time"),
        ("count(login where value = 1)", 1, 25, "expected a comparison such as ==, 'in' or 'not in'"),
        (
            "count(login where payload.x == y)",
            1,
            32,
            "expected a number, a text in quotes, true, false or null",
        ),
        ("count('login) >= 1", 1, 7, "the text that begins here does not end"),
        (r"count('a\x') >= 1", 1, 9, r"expected \', \", \\ or \u and four hexadecimal digits"),
        (r"count('\ud800') >= 1", 1, 7, "event must not hold the character U+D800"),
        ("all([])", 1, 6, "expected an operator such as count( or a goal id"),
        ("all([a]) >= 2", 1, 10, "expected the end"),
        ("all([a], within)", 1, 10, "expected a setting such as within=7d"),
        ("all([a],\n  within=x)", 2, 10, "within must be a duration such as 500ms, 36h or 7d, is 'x'"),
        ("all([a],\n  withn=7d)", 2, 3, "withn is not a known key; did you mean within?"),
        ("count(login, grace=1) >= 1", 1, 14, "grace does not go with count"),
        ("count(login per fortnight) >= 1", 1, 17, "per must be day, week or month, is 'fortnight'"),
        ("count(login last 7) >= 1", 1, 18, "last must be a duration such as 500ms, 36h or 7d, is '7'"),
        ("count(login) >= 2.5", 1, 17, "target must be a whole number of at least 1, is 2.5"),
        ("sum(e, field=minutes) >= 1", 1, 14, "field must be value, increment or payload.<name>, is 'minutes'"),
        ("distinct(e) >= 5", 1, 1, "field is missing"),
        (
            "distinct(e, field=value) >= 500",
            1,
            29,
            "target must be a whole number from 1 to 256 (every value is remembered), is 500",
        ),
        ("sequence([a])", 1, 11, "events must hold at least 2, holds 1"),
        ("at_least(3, [a, b])", 1, 10, "k can never be reached: it is 3, but there are 2 parts"),
        ("any([a, all([any([all([any([b])])])])])", 1, 24, "is nested deeper than 4 levels of rules"),
        ("any([count(a per day) >= 1])", 1, 18, "per does not go with a part: make it a goal of its own and name that"),
        ("count(a where value > 1 and value < 1) >= 1", 1, 9, "where can never hold: no value is > 1 and < 1"),
        ("count(a where value == 'x') >= 1", 1, 24, "value must be a number as value is one, is 'x'"),
        (
            "count(a where valu == 1) >= 1",
            1,
            15,
            "field must be value, increment, source, event_id or payload.<name>, is 'valu'",
        ),
        ("count(a\x00)", 1, 8, "expected ',', ')', 'where', 'per', 'last' or a threshold such as >= 10"),
    ],
)
def test_a_fault_points_at_its_place(text, line, column, reason):
    error = refusal(text)

    assert (error.line, error.column, error.reason) == (line, column, reason)
    shown, caret = str(error).split("\n")
    assert caret == f"{' ' * (column - 1)}^ line {line}, column {column}: {reason}"
    assert shown == text.split("\n")[line - 1].replace("\0", " ")


def test_a_long_line_is_cut_around_the_place():
    error = refusal("all([" + ", ".join(f"goal-{index}" for index in range(300)) + ", ?])")

    shown, caret = str(error).split("\n")
    assert len(shown) < 120
    assert shown[caret.index("^")] == "?"


def test_a_text_without_end_is_refused_by_its_length():
    assert refusal("x" * (MAX_LENGTH + 1)).reason == f"is longer than {MAX_LENGTH} characters"


@pytest.mark.parametrize("opening", ["all([", "(", "'", "count("])
def test_deep_nesting_that_does_not_end_is_refused(opening):
    assert refusal(opening * (MAX_LENGTH // len(opening))).line == 1


def test_rules_nest_four_levels_deep():
    assert parse_expression("all([any([all([count(a) >= 1])])])").op == "all"
    assert parse_expression("all([any([all([any([a])])])])").op == "all"
    assert refusal("all([" * 1400 + "a" + "])" * 1400).reason == "is nested deeper than 4 levels of rules"


_PIECES = st.sampled_from(
    ["count", "all", "(", ")", "[", "]", ",", ">=", "<=", "==", "10", "7d", "where", "per", "day", "login", "payload.x",
     "within", "=", "'x'", "'", "in", "not", "and", "\\", "\n", "-", "at_least", "null", "Europe/Berlin", "\u2028"]
)  # fmt: skip


@given(st.lists(_PIECES, max_size=15).map(" ".join) | st.lists(_PIECES, max_size=15).map("".join) | st.text())
@settings(max_examples=400, deadline=None)
def test_any_text_is_a_rule_or_answered_with_a_place_in_it(text):
    error = refused(text)
    if error is not None:
        assert 1 <= error.line <= text.count("\n") + text.count("\r") + 1
        assert len(str(error).split("\n")) == 2


@given(RULES, st.data())
@settings(max_examples=200, deadline=None)
def test_a_damaged_rule_is_a_rule_or_answered_with_a_place_in_it(rule, data):
    text = expression_of(rule)
    index = data.draw(st.integers(0, len(text) - 1))
    damaged = (
        text[:index] + data.draw(st.sampled_from(["", "(", ")", "'", ",", "=", "7", " ", "]"])) + text[index + 1 :]
    )
    error = refused(damaged)
    assert error is None or error.reason
