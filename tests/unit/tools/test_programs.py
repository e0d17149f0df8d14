"""The programs of a run, and the supervisor's configuration of them."""

import configparser
import shlex
import subprocess
import sys
from pathlib import Path
from signal import SIGTERM

import pytest

from cli.client.data_folder import DataFolder
from config.settings import Settings
from models.errors import ConfigurationError
from tools.local.programs import Program, product_programs, supervisor_config
from tools.local.unprivileged import child_command


def _verbs(**given) -> dict[str, list[str]]:
    return {program.name: list(program.command[3:]) for program in product_programs(Settings(**given))}


def test_every_shard_has_one_worker():
    assert _verbs(shards=16, shard_workers=2) == {
        "migrate": ["migrate"],
        "receiver": ["receiver"],
        "worker-0": ["worker"],
        "worker-1": ["worker"],
        "maintenance": ["worker", "--maintenance"],
        "beat": ["beat"],
        "flower": ["flower"],
    }


def test_each_program_gets_the_passwords_it_needs():
    without = {program.name: set(program.without) for program in product_programs(Settings())}
    assert without.pop("flower") == {"API_KEY"}
    assert set(map(frozenset, without.values())) == {frozenset({"API_KEY", "FLOWER_PASSWORD"})}


@pytest.mark.parametrize(
    ("only", "without", "left"),
    [(None, (), "ab"), (("A",), (), "a"), (None, ("A", "C"), "b"), (("A", "B", "C"), ("B",), "a")],
)
def test_a_program_gets_its_part_of_the_environment(only, without, left):
    shown = [sys.executable, "-c", "import os; print(os.environ.get('A', '') + os.environ.get('B', ''))"]
    command = child_command(shown, stop=SIGTERM, only=only, without=without)
    told = subprocess.run(command, env={"A": "a", "B": "b"}, capture_output=True, text=True, check=True)
    assert told.stdout.strip() == left


def test_a_command_survives_the_configuration_as_it_was(tmp_path):
    awkward = ["/bin/echo", "100 %", 'say "hi"', "back\\slash", "", "it's"]
    text = supervisor_config([Program("p", awkward)], DataFolder(tmp_path / "a % b"), tmp_path / "s")
    parser = configparser.RawConfigParser(inline_comment_prefixes=(";", "#"))
    parser.read_string(text)
    command = shlex.split(parser["program:p"]["command"].replace("%%", "%"))
    assert command[command.index("--") + 1 :] == awkward
    assert command[0] == sys.executable


@pytest.mark.parametrize("folder", ["with ;semicolon", "with #hash", "with\nbreak"])
def test_a_path_the_format_cannot_hold_is_refused(tmp_path, folder):
    with pytest.raises(ConfigurationError, match="choose another path"):
        supervisor_config([], DataFolder(tmp_path / folder), Path("/s"))
