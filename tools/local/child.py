"""Runs one program, tied to the supervisor's life, as another user.

Run by its path, with the standard library only, so that it costs some milliseconds. Four things are done
before exec:

* With ``--after`` it waits for another program that listens: when all are started at once, that one has the processors
  to itself.

* On Linux the program gets a signal when the supervisor dies, however it dies, so nothing is left behind.
* With ``--user`` the program runs as that user, and ``{folder}`` in its arguments stands for ``--folder``,
  opened before root's rights are given up and named ``/proc/self/fd/N``. PostgreSQL, which refuses to run as
  root, so has its data below a folder that only root may enter (such as /root), and no permission above the
  data is touched.
* With ``--only`` or ``--without`` it gets a part of our environment: passwords of others are not for it.
"""

import argparse
import ctypes
import os
import socket
import sys
import time

_PR_SET_PDEATHSIG = 1
_ASKED_EVERY_S, _CONNECT_S = 0.05, 0.2


def main() -> None:
    """Parse our own options, prepare, and exec the rest of the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--death-signal", type=int, required=True)
    parser.add_argument("--parent", help="its pid, or 'session' for the leader of our session")
    parser.add_argument("--user", type=int)
    parser.add_argument("--group", type=int)
    parser.add_argument("--folder")
    parser.add_argument("--only", help="names of the environment that the program gets, separated by commas")
    parser.add_argument("--without", default="", help="names that it does not get")
    parser.add_argument("command", nargs="+")
    parser.add_argument("--after", nargs=3, metavar=("HOST", "PORT", "SECONDS"))
    options = parser.parse_args()
    command = options.command
    if options.after is not None:
        host, port, patience = options.after
        wait_for(host, int(port), float(patience))
    if options.user is not None:
        folder = open_folder(options.folder)
        command = [part.replace("{folder}", folder) for part in command]
        os.umask(0o077)  # what the program makes is for it alone
        os.chdir("/")  # the folder we stand in may be closed to that user
        os.setgroups([])
        os.setgid(options.group)
        os.setuid(options.user)
    die_with_parent(options.death_signal, options.parent)  # after setuid, which clears it
    os.execve(command[0], command, handed_on(options.only, options.without))  # noqa: S606 - no shell is what we want


def handed_on(only: str | None, without: str) -> dict[str, str]:
    """The part of our environment that the program gets."""
    names = os.environ.keys() if only is None else only.split(",")
    return {name: os.environ[name] for name in names if name in os.environ and name not in without.split(",")}


def wait_for(host: str, port: int, patience_s: float) -> None:
    """Wait until the port is open, for so long at most."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        try:
            socket.create_connection((host, port), _CONNECT_S).close()
        except OSError:
            time.sleep(_ASKED_EVERY_S)
        else:
            return


def open_folder(path: str) -> str:
    """A name under which the program reaches the folder whatever stands above it; elsewhere than on Linux
    its path.
    """
    if sys.platform != "linux":
        return path
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    os.set_inheritable(descriptor, True)
    return f"/proc/self/fd/{descriptor}"


def die_with_parent(signal_number: int, parent: str | None) -> None:
    """Ask the kernel for this signal when the thread that started us is gone. Only Linux can.

    A parent that was killed while we came up sends nothing any more, so a named one is looked for afterwards.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal_number)
    if parent is not None and os.getppid() != (os.getsid(0) if parent == "session" else int(parent)):
        sys.exit("whoever started this program is gone")


if __name__ == "__main__":
    main()
