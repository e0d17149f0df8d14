"""Reading the documents: their tables and sections."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def text_of(page: str) -> str:
    return (ROOT / page).read_text()


def table(page: str, heading: str) -> list[list[str]]:
    """The cells of the first table below a heading of this name, without its two head lines."""
    section = re.split(rf"(?m)^#+ {re.escape(heading)}.*$", text_of(page))[1]
    lines = re.search(r"(?m)(?:^\|.*\n)+", section)
    assert lines is not None, f"no table below {heading!r}"
    rows = [line.strip("|").split(" | ") for line in lines[0].splitlines()[2:]]
    return [[cell.strip() for cell in row] for row in rows]


def code(cell: str) -> str:
    return cell.strip("`")


def section(page: str, title: str) -> str:
    """The text below a heading that begins with these words, up to the next heading."""
    found = re.search(rf"(?ms)^#+ {re.escape(title)}\b.*?$(.*?)(?=^#|\Z)", text_of(page))
    assert found is not None, title
    return found[1]
