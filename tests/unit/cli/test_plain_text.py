"""What others wrote, on a terminal: nothing invisible, nothing that turns a line or moves the cursor."""

import json
import unicodedata

import pytest

from cli.output import escaped, json_text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[2Jb", "a\\x1b[2Jb"),
        ("user\u202egnp.exe", "user\\u202egnp.exe"),
        ("ad\u200bmin", "ad\\u200bmin"),
        ("soft\u00adhyphen", "soft\\xadhyphen"),
        ("\ufeffbom \u2066isolate\u2069", "\\ufeffbom \\u2066isolate\\u2069"),
        ("tag\U000e0041", "tag\\U000e0041"),
        ("line\u2028break", "line\\u2028break"),
        ("half\ud800", "half\\ud800"),
        ("two lines\n\tand a tab, äöü, 日本, 👍🏽", "two lines\n\tand a tab, äöü, 日本, 👍🏽"),
    ],
)
def test_invisible_characters_are_spelled_and_others_stay(text, shown):
    assert escaped(text) == shown


def test_every_format_and_control_character_of_unicode_is_spelled():
    for number in range(0x110000):
        character = chr(number)
        if unicodedata.category(character) in {"Cc", "Cf", "Zl", "Zp", "Cs"} and character not in "\n\t":
            assert escaped(character) != character, hex(number)


def test_json_means_the_same_with_them_escaped():
    data = {"user\u202e": ["\u200b\x7f", "\U000e0041", "ä"]}
    text = json_text(data)
    assert json.loads(text) == data
    assert "\u202e" not in text
    assert "\\u202e" in text
    assert "ä" in text
