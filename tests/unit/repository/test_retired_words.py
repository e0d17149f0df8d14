"""The words that the glossary has replaced stand nowhere any more: in names, comments, texts or docs."""

import re
import subprocess
from pathlib import Path
from token import NAME
from tokenize import generate_tokens

ROOT = Path(__file__).parents[3]
EXEMPT = re.compile(
    r"CHANGELOG\.md|LICENSE|docs/glossary\.md|docs/assets/.*|requirements/.*|migrations/versions/.*|.*\.jsonl"
    r"|tests/unit/repository/test_retired_words\.py"
)
"""What tells of former words, is not ours, or never changes once it has run."""

RETIRED = (
    *("bury", "buried", "burial", "burying", "casualty", "casualties", "letter", "door", "doorkeeper", "front door"),
    *("intake", "readmission", "readmit", "stamp", "stamped", "stamping", "settle", "settled", "settling", "lane"),
    *("kernel", "guest", "slot", "tally", "tallied", "paper", "pulse", "sighting", "lookout", "look-out", "seat"),
    *("bell", "rung", "sweeper", "poison"),
    *("surplus", "verdict", "voice", "meter", "key ring", "last words"),
)

ANY = re.compile(rf"\b(?:{'|'.join(RETIRED)})s?\b")

PUBLIC = (
    r"(?i:dead)[-_\s]*(?:(?:#|--|>)\s*)?(?i:letters?)",
    r"letter_id|\[?\"letters\"\]?|letters(?==|: list)|`letters`|\"letters key\"",  # of the HTTP API and of a log event
    r"questline-receiver-letters",  # a connection's name in pg_stat_activity
    r"(?<![a-z])(t|e|n|excluded|p)\.stamp|\bstamp AS\b|:stamp\b|[\"'`]stamp[\"'`]",
    r"only a higher stamp may|the same fault is one letter",  # comments of columns
    r"--settle|flush\.settled|[sS]ettled[- ]in",  # an option, a failpoint, a goal of the example
    r"slots=True|__slots__|(?:cluster slot|slot of a cluster)|\bslots\b",  # of Python, of Redis Cluster, and the column
    r"ql:meters|meters_not_pushed|CREATE_METERS",
    r"ql:poison(:bytes)?|poison_not_kept|poison_overflowed",
    r"seat-month|\"?seats\"?\b",  # examples' rewards and attributes
)
"""Public names that stay, and senses that are everybody's."""

OTHER_SENSES = {
    "stamp": r"models/database/(sql|tables)|docs/reference/database-tables|tests/integration/|Makefile",
    "stamped": r"tests/integration/tasks/test_undeliverable_messages\.py",
    "kernel": r"config/server_settings|docs/(decisions/002|how-to/restart|reference/settings)|tests/cluster/nodes"
    r"|tools/local/child",
    "guest": r"benchmarks/cpu\.py|tests/integration/tools/test_embedded_servers\.py",
    "letter": r"config/|docs/(how-to|reference|tutorial)/|models/attributes\.py|\.env\.example|ingest/validation\.py"
    r"|models/rules/.*/?values\.py",
}
"""Files in which a word means what it means everywhere: a column, letters of the alphabet, a role of PostgreSQL."""

RETIRED_NAMES = re.compile(r"(?:^|_)(?:place|placed|moment|bury|guest|lane|generation|sighting)s?(?:_|$)")
"""Words of everyday English that prose may use and names may not."""


def _files():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [name for name in listed.splitlines() if not EXEMPT.fullmatch(name) and (ROOT / name).is_file()]


def _words(text):
    """The text in small letters, its names taken apart, without what is public, line for line."""
    for public in PUBLIC:
        text = re.sub(public, lambda found: " " + "\n" * found[0].count("\n"), text)
    return re.sub(r"(?<=[a-z])(?=[A-Z])|_", " ", text).lower()


def _found(name, text):
    """Each retired word of a file, after the number of its line."""
    words = _words(text)
    for found in ANY.finditer(words):
        word = found[0].removesuffix("s") if found[0] not in RETIRED else found[0]
        allowed = OTHER_SENSES.get(word)
        if not (allowed and re.match(allowed, name)):
            yield words.count("\n", 0, found.start()) + 1, word


def test_no_retired_word_stands_anywhere():
    found = []
    for name in _files():
        try:
            text = (ROOT / name).read_text()
        except UnicodeDecodeError:
            continue  # no text
        found += [f"{name}:{number}: {word}" for number, word in _found(name, text)]
    assert found == []


def _names(path):
    with path.open() as file:
        tokens = [token for token in generate_tokens(file.readline) if token.type == NAME]
    return {(token.start[0], token.string) for token in tokens if not token.string.startswith("test_")}


def test_no_name_is_made_of_a_retired_word():
    files = [name for name in _files() if name.endswith(".py") and "_pb2" not in name]
    named = ((name, line, word) for name in files for line, word in _names(ROOT / name))
    found = [f"{name}:{line}: {word}" for name, line, word in named if RETIRED_NAMES.search(word.lower())]
    assert [one for one in found if not re.search(r"\.guest|benchmarks/cpu|generation_mode", one)] == []


def test_a_retired_word_is_found_in_names_and_in_prose_and_public_names_are_not():
    assert list(_found("models/x.py", "\nclass LetterReader:")) == [(2, "letter")]
    assert list(_found("models/x.py", "def bury_all(): ...  # the doors")) == [(1, "bury"), (1, "door")]
    assert list(_found("models/x.py", "a dead letter, ql:meters, DeadLetter, slots=True")) == []
