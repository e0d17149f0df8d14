"""The poller goes on, whatever a look ends with."""

from models.errors import DatabaseUnavailableError
from models.pollers import Poller
from tests.support.servers import wait_until


def test_a_look_that_fails_or_breaks_is_told_and_the_next_one_made():
    ends = iter(
        [DatabaseUnavailableError("away"), ZeroDivisionError("same"), ZeroDivisionError("same"), KeyError("other")]
    )
    failed: list[Exception] = []
    broke: list[Exception] = []
    looks: list[int] = []

    def call():
        looks.append(1)
        if (error := next(ends, None)) is not None:
            raise error

    poller = Poller("looking", call, 0.001, failed=failed.append, broke=broke.append)
    poller.start()
    wait_until(lambda: len(looks) > 4)
    poller.stop()
    after = len(looks)
    assert [str(error) for error in failed] == ["away"]
    assert [str(error) for error in broke] == ["same", "'other'"]
    assert len(looks) == after
