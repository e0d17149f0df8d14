"""The command line as a program: how it starts, and how it ends when something is wrong."""

import subprocess
import sys
from importlib.metadata import version

import pytest
from typer.testing import CliRunner

import cli
from cli import VERBS, app, main
from models.errors import DatabaseUnavailableError, InvalidChallengesError


def questline(*arguments, code=None, **environment):
    command = [sys.executable, "-c", code] if code else [sys.executable, "-m", "cli"]
    environment = {"PATH": "/usr/bin:/bin", "TERM": "dumb", "COLUMNS": "200"} | environment
    return subprocess.run(
        [*command, *arguments], capture_output=True, text=True, timeout=60, env=environment, check=False
    )


def test_help_lists_every_verb_with_its_purpose():
    answer = questline("--help")

    assert answer.returncode == 0
    for name, verb in VERBS.items():
        assert name in answer.stdout
        assert verb.purpose in answer.stdout


def test_help_imports_no_server_driver_and_no_framework():
    code = (
        "import sys, cli\n"
        "sys.argv = ['questline', '--help']\n"
        "try: cli.main()\n"
        "except SystemExit: pass\n"
        "heavy = {'pydantic', 'celery', 'redis', 'grpc', 'aiohttp', 'sqlalchemy', 'fastapi'}\n"
        "print('heavy', sorted(heavy & set(sys.modules)))"
    )

    assert questline(code=code).stdout.splitlines()[-1] == "heavy []"


def test_no_verb_shows_the_help_and_an_unknown_one_a_suggestion():
    assert "load-test" in CliRunner().invoke(app, []).output

    answer = CliRunner().invoke(app, ["load-tets"])

    assert answer.exit_code == 2
    assert "load-test" in answer.output


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_a_command_with_help(verb):
    answer = CliRunner().invoke(app, [verb, "--help"])

    assert answer.exit_code == 0, answer.output
    assert f"questline {verb}" in answer.output or verb in answer.output


def test_wrong_settings_are_one_line_each_with_exit_code_2():
    answer = questline("progress", "ada", GRPC_PORT="99999", BUFFER_FLUSH_INTERVAL="soon")

    assert answer.returncode == 2
    lines = answer.stderr.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("questline: GRPC_PORT: ")
    assert "'99999'" in lines[0]
    assert lines[1].startswith("questline: BUFFER_FLUSH_INTERVAL: 'soon' is not a duration")


def test_a_wrong_secret_setting_is_not_repeated():
    code = (
        "import pydantic, cli\n"
        "class Settings(pydantic.BaseModel):\n    db_password: int\n"
        "def fail(**_): Settings(db_password='hush')\n"
        "cli.app = fail\n"
        "cli.main()"
    )
    answer = questline(code=code)

    assert answer.returncode == 2
    assert "DB_PASSWORD" in answer.stderr
    assert "hush" not in answer.stderr


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (DatabaseUnavailableError("PostgreSQL is away"), 1, "questline: PostgreSQL is away\n"),
        (InvalidChallengesError(["f: one", "f: two"]), 2, "questline: f: one\nquestline: f: two\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_a_foreseen_failure_is_said_without_a_traceback(monkeypatch, capsys, error, code, said):
    def fail(**_):
        raise error

    monkeypatch.setattr(cli, "app", fail)

    with pytest.raises(SystemExit) as ended:
        main()

    assert ended.value.code == code
    assert capsys.readouterr().err == said


def test_an_unforeseen_error_keeps_its_traceback(monkeypatch):
    def fail(**_):
        raise ValueError("a defect")

    monkeypatch.setattr(cli, "app", fail)

    with pytest.raises(ValueError, match="a defect"):
        main()


def test_the_release_is_printed():
    answer = questline("--version")
    assert (answer.returncode, answer.stdout) == (0, f"questline {version('questline')}\n")
    assert questline().returncode != 0


def test_a_log_line_is_no_part_of_what_a_command_answers():
    code = (
        "import structlog, cli\n"
        "def answer(**_):\n"
        "    structlog.get_logger().warning('something_happened')\n"
        "    print('the answer')\n"
        "cli.app = answer\n"
        "cli.main()"
    )
    answer = questline(code=code)

    assert answer.stdout == "the answer\n"
    assert "something_happened" in answer.stderr
