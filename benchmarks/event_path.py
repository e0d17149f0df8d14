"""The way of one event through the code: which files run, and how often a call crosses from one to another.

Everything is the product's own wiring on real servers, in one process. Some events warm it up; then one event is
traced through each phase with ``sys.setprofile``, on all threads that work for it. The numbers are exact, whatever
the machine does. Servers are those of the tests: named by TEST_STATE_URL and TEST_DATABASE_URL, which are emptied, or
started for the run.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from hashlib import sha1
from pathlib import Path
from types import FrameType
from typing import Any
from uuid import uuid4

import httpx
from redis import Redis

from api.progress.routes import progress_router
from config.settings import Settings
from config.shards import shard_for
from ingest.accelbyte import AgsReader
from migrations.runner import migrate
from models.database.connection import connect_database
from models.state.connection import connect_state
from models.state.keys import stream_keys
from models.state.lua_source import SCRIPTS, with_parts
from models.state.progress.script_text import script_text
from models.state.queue.batches import TakenBatch
from models.state.queue.journal import FAIR_STREAMS, GROUP, make_groups
from tasks.apply.applier import ShardWork
from tasks.runtime import Runtime
from tests.conftest import empty_tables
from tests.support.environment import database_settings, remember_path
from tests.support.servers import embedded_postgres, embedded_redis, given
from worker.celery_app import make_app
from worker.receiver.composition import ReceiverParts, make_receiver_parts
from worker.receiver.process import build_app
from worker.wiring import build_runtime, read_challenges

ROOT = Path(__file__).resolve().parent.parent
_OURS = tuple(
    f"{ROOT / name}/" for name in ("api", "cli", "config", "ingest", "models", "tasks", "tools", "web", "worker")
)
_INLINE = frozenset({"<module>", "<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>", "<lambda>"})
"""Code that is part of the function around it, or runs once."""
_ROUTES = frozenset({"take_events", "read_progress"})
_TRANSPORT = "handle_async_request"
"""The function of the client that calls the application."""
_TYPES = {"daily": ("daily", "login"), "logins": ("increment", "login"), "wins": ("absolute", "statistic:wins")}
GOALS: list[dict[str, Any]] = [
    {"id": name, "name": name, "type": kind, "event_source": source, "requirement": {"target": 100}}
    for name, (kind, source) in {**_TYPES, "games": ("increment", "statistic:games")}.items()
]
"""Four goals, two of which the traced event moves, one of them by days."""


@dataclass(slots=True)
class Trace:
    """What ran in one phase."""

    phase: str
    calls: int = 0
    """Of functions of the project, each once however often it is resumed."""
    hops: int = 0
    """Of these, calls from a function of the project in another file."""
    files: Counter[str] = field(default_factory=Counter)
    """Calls by file."""
    callers: set[str] = field(default_factory=set)
    """Those of the files that call another one. The rest are leaves: nothing has to be followed through them."""
    scripts: list[str] = field(default_factory=list)
    """The Lua scripts that the state Redis ran, in their order."""
    lua_files: list[str] = field(default_factory=list)
    """The files that these scripts are made of."""


class Tracer:
    """Counts calls of the project's functions while it is told to, on every thread started after it."""

    def __init__(self) -> None:
        self._trace: Trace | None = None
        self._front: Trace | None = None
        self._lock = threading.Lock()
        self._seen: list[FrameType] = []

    def __call__(self, frame: FrameType, event: str, _argument: object) -> None:
        """A profile function."""
        if self._trace is None or event != "call" or not _is_ours(frame) or frame.f_code.co_name in _INLINE:
            return
        with self._lock:
            if any(seen is frame for seen in self._seen):  # a generator or coroutine goes on
                return
            self._seen.append(frame)
            callers = list(_callers_of(frame))
            trace = self._front if self._front and _is_in_front(frame) else self._trace
            is_within = callers and (trace is self._front or not _is_in_front(callers[0]))
            name, caller = _name_of(frame), _name_of(callers[0]) if is_within else None
            trace.calls += 1
            trace.files[name] += 1
            if caller is not None and caller != name:
                trace.hops += 1
                trace.callers.add(caller)

    @contextmanager
    def install(self) -> Iterator[None]:
        """Watch this thread and those it starts."""
        threading.setprofile(self)
        sys.setprofile(self)
        try:
            yield
        finally:
            sys.setprofile(None)
            threading.setprofile(None)

    @contextmanager
    def trace(self, phase: str, redis: Redis, front: Trace | None = None) -> Iterator[Trace]:
        """Count while the ``with`` lasts; what stands in front of a route goes to ``front``, if there is one."""
        trace = Trace(phase)
        with _scripts_run(redis, trace):
            self._trace, self._front = trace, front
            try:
                yield trace
            finally:
                self._trace = self._front = None
                self._seen.clear()


def _is_ours(frame: FrameType) -> bool:
    return frame.f_code.co_filename.startswith(_OURS)


def _name_of(frame: FrameType) -> str:
    return str(Path(frame.f_code.co_filename).relative_to(ROOT))


def _callers_of(frame: FrameType) -> Iterator[FrameType]:
    """The project's functions that the call is within, the nearest first."""
    caller = frame.f_back
    while caller is not None:
        if _is_ours(caller):
            yield caller
        caller = caller.f_back


def _is_in_front(frame: FrameType) -> bool:
    """Whether a call is part of what every request passes, and neither a route nor called by one."""
    names = set()
    above: FrameType | None = frame
    while above is not None:
        names.add(above.f_code.co_name)
        above = above.f_back
    return _TRANSPORT in names and not _ROUTES & names


@contextmanager
def _scripts_run(redis: Redis, trace: Trace) -> Iterator[None]:
    """Note what scripts the server runs meanwhile, as it tells them itself."""
    names = {sha1(script_text(name).encode()).hexdigest(): name for name in SCRIPTS}  # noqa: S324 - Redis' own digest
    end = f"end-{uuid4().hex}"
    with redis.monitor() as monitor:  # type: ignore[no-untyped-call]
        yield
        redis.echo(end)
        for told in monitor.listen():
            words = told["command"].split(" ", 2)
            if end in told["command"]:
                break
            if words[0].upper() == "EVALSHA" and words[1] in names:
                trace.scripts.append(names[words[1]])
    sources = [with_parts(name) for name in set(trace.scripts)]
    trace.lua_files = sorted(
        str(path.relative_to(ROOT))
        for path in (ROOT / "models").rglob("*.lua")
        if any(_is_within(path, source) for source in sources)
    )


def _is_within(path: Path, source: str) -> bool:
    """Whether a script is this file's, or is put together from it and others."""
    return all(line in source for line in path.read_text().splitlines() if not line.startswith("-- include:"))


def measure(state_url: str, database_url: str, folder: Path) -> list[Trace]:
    """The traces of all phases, on these servers, which are emptied."""
    redis, engine = connect_state(state_url), connect_database(database_url)
    redis.flushall()
    migrate(engine)
    empty_tables(engine)  # type: ignore[no-untyped-call]
    challenges = folder / "challenges.json"
    challenges.write_text(json.dumps({"challenges": [{"id": "path", "name": "path", "goals": GOALS}]}))
    given_settings = {
        "STATE_URL": state_url,
        "BROKER_URL": state_url,
        "CHALLENGES_FILE": str(challenges),
        "QUESTLINE_DATA_DIR": str(folder),
        **database_settings(database_url),
    }
    settings = Settings(**{name.lower(): value for name, value in given_settings.items()})  # type: ignore[arg-type]
    remember_path(given_settings)
    tracer = Tracer()
    try:
        return asyncio.run(_measure(settings, redis, tracer))
    finally:
        engine.dispose()
        redis.close()


async def _measure(settings: Settings, redis: Redis, tracer: Tracer) -> list[Trace]:
    app, document = make_app(settings), read_challenges(settings)
    runtime = build_runtime(settings, app, document)
    parts = make_receiver_parts(settings, document)
    parts.watcher.refresh()
    parts.probe.recall()
    with tracer.install():
        parts.committer.start()
        client = _client(parts)
        try:
            return await _phases(tracer, redis, _Steps(client, runtime, redis, settings.shards))
        finally:
            await client.aclose()
            await asyncio.to_thread(parts.committer.close)
            runtime.watcher.stop()
            runtime.metrics.stop()


def _client(parts: ReceiverParts) -> httpx.AsyncClient:
    """A client of the receiver's HTTP application, which runs in this process."""
    app = build_app(parts.pipeline, AgsReader(None), [progress_router(parts.progress, parts.threads)])
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1")


def _given(redis: Redis, shard: int) -> list[TakenBatch]:
    """What a worker's main process is given of a shard; the event loop around that is Celery's."""
    streams = stream_keys(shard)[:FAIR_STREAMS]
    make_groups(redis, streams)
    found: Any = redis.xreadgroup(GROUP, GROUP, dict.fromkeys(streams, ">"))
    return [
        TakenBatch(f"{streams.index(key.decode())}:{name.decode()}", fields[b"b"])
        for key, entries in found
        for name, fields in entries
    ]


def _require(fact: bool) -> None:
    if not fact:
        raise AssertionError("a step did not do what it is traced for")


class _Steps:
    """What one event goes through, step by step."""

    def __init__(self, client: httpx.AsyncClient, runtime: Runtime, redis: Redis, shards: int) -> None:
        self._client, self._runtime, self._redis, self._shards = client, runtime, redis, shards

    async def send(self, user: str) -> None:
        """Ingest one event."""
        event = {"event_id": uuid4().hex, "event_type": "login", "user_id": user}
        (await self._client.post("/v1/events", json=event)).raise_for_status()

    async def apply(self, user: str) -> None:
        """What the worker does for the message of the event."""
        shard = shard_for("default", user, self._shards)
        self._runtime.applier.work([ShardWork(shard, _given(self._redis, shard))])

    async def flush(self, _user: str) -> None:
        """What the maintenance worker does at the next tick."""
        _require(self._runtime.flusher.flush().events == 1)

    async def read(self, user: str) -> None:
        """Read the user's progress."""
        answer = (await self._client.get(f"/v1/users/{user}/progress")).raise_for_status()
        _require(len(answer.json()["goals"]) == len(GOALS))


async def _phases(tracer: Tracer, redis: Redis, steps: _Steps) -> list[Trace]:
    front, read_front = Trace("in front of every route"), Trace("")

    async def traced(
        phase: str, step: Callable[[str], Awaitable[None]], user: str, front: Trace | None = None
    ) -> Trace:
        with tracer.trace(phase, redis, front) as trace:
            await step(user)
        return trace

    for user in ("warm-up", "warm", "warm"):
        for step in (steps.send, steps.apply, steps.flush, steps.read):
            await step(user)
    traces = [
        await traced("ingest over HTTP", steps.send, "warm", front),
        await traced("apply, warm user", steps.apply, "warm"),
        await traced("flush", steps.flush, "warm"),
        await traced("read progress, 4 goals", steps.read, "warm", read_front),
    ]
    await steps.send("cold")
    return [*traces, await traced("apply, cold user", steps.apply, "cold"), front]


def table(traces: Sequence[Trace]) -> str:
    """The traces as lines of a Markdown table."""
    lines = ["| phase | project files | of these, call others | hops | calls | scripts | Lua files |", "|---" * 7 + "|"]
    lines += [
        f"| {one.phase} | {len(one.files)} | {len(one.callers)} | {one.hops} | {one.calls} | {len(one.scripts)} "
        f"| {len(one.lua_files)} |"
        for one in traces
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Trace, and print the table; with ``--files`` also each phase's files."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.event_path", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print everything as JSON instead")
    parser.add_argument("--files", action="store_true", help="name each phase's files, with the number of calls")
    options = parser.parse_args(arguments)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="questline-path-")))
        state_url = given("TEST_STATE_URL") or stack.enter_context(embedded_redis(folder / "redis"))
        database_url = given("TEST_DATABASE_URL") or stack.enter_context(embedded_postgres(folder / "postgres"))
        traces = measure(state_url, database_url, folder)
    if options.json:
        sys.stdout.write(json.dumps([asdict(trace) for trace in traces], indent=2, default=sorted) + "\n")
        return
    sys.stdout.write(table(traces) + "\n")
    for trace in traces if options.files else ():
        sys.stdout.write(f"\n{trace.phase}: {', '.join(trace.scripts) or 'no script'}\n")
        for name, calls in trace.files.most_common():
            sys.stdout.write(f"  {calls:3} {name}{'' if name in trace.callers else ' (leaf)'}\n")
        sys.stdout.writelines(f"      {name}\n" for name in trace.lua_files)


if __name__ == "__main__":
    main()
