"""Dead letters as JSON lines, one letter in memory at a time."""

from collections.abc import Iterator
from itertools import islice

from models.cold.letter_filter import LetterFilter
from models.cold.letter_reading import LetterReader
from worker.cli.letter_views import letter_data
from worker.cli.plain_text import json_text


def export_letters(reader: LetterReader, wanted: LetterFilter, limit: int | None) -> Iterator[str]:
    """A line for each letter, the oldest first; one that is deleted meanwhile is left out."""
    for head in islice(reader.all(wanted), limit):
        letter = reader.letter(head.id)
        if letter is not None:
            yield json_text(letter_data(letter))
