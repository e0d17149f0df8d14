"""Dead letters as JSON lines, one dead letter in memory at a time."""

from collections.abc import Iterator
from itertools import islice

from cli.dead_letters.views import dead_letter_data
from cli.output.text import json_text
from models.database.dead_letters.filter import DeadLetterFilter
from models.database.dead_letters.reader import DeadLetterReader


def export_dead_letters(reader: DeadLetterReader, wanted: DeadLetterFilter, limit: int | None) -> Iterator[str]:
    """A line for each dead letter, the oldest first; one that is deleted meanwhile is left out."""
    for head in islice(reader.all(wanted), limit):
        dead_letter = reader.dead_letter(head.id)
        if dead_letter is not None:
            yield json_text(dead_letter_data(dead_letter))
