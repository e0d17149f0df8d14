"""What may be said of a user, and that it reads the same however often it is stored."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.attributes import MAX_ATTRIBUTES, pack_attributes, read_attributes, unpack_attributes, zone_of
from models.errors import InvalidAttributesError
from models.events import MAX_EXACT
from models.exact import is_zone


def read(value):
    return read_attributes(json.dumps(value).encode())


def test_texts_numbers_and_booleans_are_taken():
    said = {"plan": "pro", "_a.b-C9": "", "seats": 5, "score": -1.5, "beta": True, "timezone": "Europe/Berlin"}
    assert read(said) == said
    assert read({"n": MAX_EXACT, "long": "ü" * 256, "a" * 64: "x"})["n"] == MAX_EXACT
    assert read({}) == {}


def test_a_whole_number_is_an_integer_however_it_is_written():
    assert pack_attributes(read_attributes(b'{"a": 1e3, "b": -0.0, "c": 2.50}')) == b'{"a":1000,"b":0,"c":2.5}'


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        ({"": 1}, " is no name"),
        ({"9a": 1}, "9a is no name"),
        ({"ä": 1}, "ä is no name"),
        ({"a b": 1}, "a b is no name"),
        ({"a\n": 1}, "is no name"),
        ({"a" * 65: 1}, f"{'a' * 64} is no name"),
        ({"plan": None}, "plan must be a string, a number or a boolean"),
        ({"plan": ["pro"]}, "plan must be a string, a number or a boolean"),
        ({"plan": {}}, "plan must be a string"),
        ({"plan": "x" * 257}, "plan must not be longer than 256"),
        ({"plan": "a\0"}, "plan must not hold control characters"),
        ({"plan": "a\u2028"}, "plan must not hold control characters"),
        ({"n": MAX_EXACT + 1}, "n must lie within"),
        ({"n": 1e300}, "n must lie within"),
        ({"timezone": "Mars/Olympus"}, "timezone must be an IANA time zone name"),
        ({"timezone": 1}, "timezone must be an IANA time zone name"),
        ({"timezone": "europe/berlin"}, "timezone must be an IANA"),
        ({f"a{n}": 1 for n in range(MAX_ATTRIBUTES + 1)}, "attributes must not be more than 32, not 33"),
        ([], "attributes must be a JSON object"),
        ({f"a{n}": "ü" * 256 for n in range(32)}, "attributes must not be larger than 16 KiB"),
    ],
)
def test_what_is_wrong_is_named_with_its_reason(said, fault):
    with pytest.raises(InvalidAttributesError) as refused:
        read(said)
    assert fault in str(refused.value)


def test_every_fault_is_told():
    with pytest.raises(InvalidAttributesError, match=r"a must be a string.*; b must lie within"):
        read({"a": None, "b": 1e300})


@pytest.mark.parametrize("text", [b"", b"{", b'{"a": NaN}', b"\xff", b'{"a": "\\ud800"}'])
def test_what_is_no_json_is_refused(text):
    with pytest.raises(InvalidAttributesError, match="attributes must be JSON"):
        read_attributes(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["plan", "_x", "timezone", "9", "a b"]) | st.text(max_size=8), JSON, max_size=5))
def test_what_is_taken_reads_back_the_same_and_nothing_breaks_the_reader(said):
    with suppress(InvalidAttributesError):
        known = read_attributes(json.dumps(said).encode())
        packed = pack_attributes(known)
        assert unpack_attributes(packed) == known
        assert pack_attributes(read_attributes(packed)) == packed


@pytest.mark.parametrize("name", ["Europe/Berlin", "UTC", "America/Argentina/Buenos_Aires", "Etc/GMT+5"])
def test_iana_names_are_zones(name):
    assert is_zone(name)
    assert zone_of({"timezone": name}) == name


@pytest.mark.parametrize("name", ["", "Europe", "localtime", "../etc/passwd", "/etc/localtime", "europe/berlin", "+02"])
def test_other_names_are_none(name):
    assert not is_zone(name)
    assert zone_of({"timezone": name}) is None
