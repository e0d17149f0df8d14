"""A program that waits for another one before it starts, by the small launcher that every program starts through."""

import socket
import subprocess
import sys
import time
from signal import SIGTERM

from cli.client.ports import free_port
from config.settings import Settings
from tools.local.programs import MIGRATE, RECEIVER, product_programs
from tools.local.unprivileged import child_command

SAYS = [sys.executable, "-c", "print('started')"]


def test_it_starts_once_the_other_one_listens():
    port = free_port()
    command = child_command(SAYS, stop=SIGTERM, after=("127.0.0.1", port, 60.0))
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE) as program,
        socket.create_server(("127.0.0.1", port)) as server,
    ):
        server.accept()[0].close()
        assert program.communicate(timeout=20)[0] == b"started\n"


def test_it_waits_no_longer_than_it_is_told():
    begin = time.monotonic()
    command = child_command(SAYS, stop=SIGTERM, after=("127.0.0.1", free_port(), 0.3))
    assert subprocess.run(command, capture_output=True, timeout=20, check=True).stdout == b"started\n"
    assert time.monotonic() - begin >= 0.3


def test_all_but_the_receiver_and_the_migration_wait_for_the_receiver():
    settings = Settings(http_host="::", http_port=8123)
    waits = {program.name: program.after for program in product_programs(settings)}
    assert {name for name, after in waits.items() if after is None} == {MIGRATE, RECEIVER}
    assert {after[:2] for after in waits.values() if after} == {("::1", 8123)}
