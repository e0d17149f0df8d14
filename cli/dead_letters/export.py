"""Dead letters as JSON lines, one letter in memory at a time."""

from collections.abc import Iterator
from itertools import islice

from cli.dead_letters.views import letter_data
from cli.output.text import json_text
from models.database.dead_letters.filter import LetterFilter
from models.database.dead_letters.reader import LetterReader


def export_letters(reader: LetterReader, wanted: LetterFilter, limit: int | None) -> Iterator[str]:
    """A line for each letter, the oldest first; one that is deleted meanwhile is left out."""
    for head in islice(reader.all(wanted), limit):
        letter = reader.letter(head.id)
        if letter is not None:
            yield json_text(letter_data(letter))
