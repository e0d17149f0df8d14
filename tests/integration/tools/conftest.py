"""A stack with the rules of a mixed load."""

import pytest

from tests.support.mixed_rules import RULES
from tests.support.stack import Stack


@pytest.fixture
def mixed(redis, engine) -> Stack:
    """A stack on the mixed rules."""
    return Stack(redis, engine, rulebook=RULES)
