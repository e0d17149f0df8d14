"""``questline`` with one more fault than the product has: a ``killer`` ends its process, as a crash in C does."""

import os
from signal import SIGKILL

from cli import main
from tasks.apply.evaluator import Evaluator


def _arm() -> None:
    evaluate = Evaluator.evaluate

    def deadly(self, shard, events, *rest, **options):
        if any(event.event_type == "killer" for event in events):
            os.kill(os.getpid(), SIGKILL)
        return evaluate(self, shard, events, *rest, **options)

    Evaluator.evaluate = deadly  # type: ignore[method-assign]


if __name__ == "__main__":
    _arm()
    main()
