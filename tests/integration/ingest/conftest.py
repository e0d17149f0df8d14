"""Receivers of one installation that ask for keys."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.keyed_receiver import KeyedReceiver


@pytest.fixture
async def keyed_receivers(stack):
    """Makes receivers over one installation; ``keyed`` is the usual one."""
    made: list[KeyedReceiver] = []

    async def make(**settings: Any) -> KeyedReceiver:
        made.append(KeyedReceiver(stack, **settings))
        await made[-1].open()
        return made[-1]

    yield make
    for one in made:
        await one.close()


@pytest.fixture
async def keyed(keyed_receivers: Callable[..., Any]) -> KeyedReceiver:
    found: KeyedReceiver = await keyed_receivers()
    found.watcher.refresh()
    return found
