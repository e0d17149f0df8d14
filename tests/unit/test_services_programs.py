"""The programs of a run, and the supervisor's configuration of them."""

import configparser
import shlex
import sys
from pathlib import Path

import pytest

from config.settings import Settings
from models.errors import ConfigurationError
from worker.services.data_folder import DataFolder
from worker.services.programs import Program, product_programs, supervisor_config


def _verbs(**given) -> dict[str, list[str]]:
    return {program.name: list(program.command[3:]) for program in product_programs(Settings(**given))}


def test_every_shard_has_one_worker():
    assert _verbs(shards=16, shard_workers=2) == {
        "migrate": ["migrate"],
        "receiver": ["receiver"],
        "worker-0": ["worker", "--shards", "1/2"],
        "worker-1": ["worker", "--shards", "2/2"],
        "maintenance": ["worker", "--maintenance"],
        "beat": ["beat"],
        "flower": ["flower"],
    }


def test_there_are_no_more_workers_than_shards():
    assert [name for name in _verbs(shards=1, shard_workers=4) if name.startswith("worker")] == ["worker-0"]


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
