"""The containers' files, held to the code by reading them: no Docker is needed."""

import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from benchmarks.memory import LIMITS_MIB
from cli import VERBS, app
from config.loopback import is_loopback
from config.settings import Settings

ROOT = Path(__file__).parents[3]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
DOCKERFILE = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
EXAMPLE = dict(re.findall(r"(?m)^([A-Z_]+)=(.*)$", (ROOT / ".env.example").read_text()))
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
VARIABLE = re.compile(r"\$\{(\w+)(:[?-])?([^}]*)\}")
RUN_ONCE = {"migrate"}
SECRETS = {"DB_PASSWORD", "REDIS_PASSWORD", "FLOWER_PASSWORD"}


def _texts(node: Any) -> Iterator[str]:
    """Every string of a YAML tree."""
    if isinstance(node, dict):
        for value in node.values():
            yield from _texts(value)
    elif isinstance(node, list):
        for value in node:
            yield from _texts(value)
    elif isinstance(node, str):
        yield node


def _instructions(name: str) -> list[list[str]]:
    """The arguments of every such instruction of the Dockerfile."""
    lines = [line for line in DOCKERFILE.splitlines() if line.startswith(f"{name} ")]
    return [shlex.split(line.split(None, 1)[1]) for line in lines]


def _copied() -> set[str]:
    """What the Dockerfile takes from this repository."""
    copies = [arguments for arguments in _instructions("COPY") if not arguments[0].startswith("--from")]
    return {source for *sources, _target in copies for source in sources}


def test_the_services_are_those_of_the_product():
    assert set(OURS) == {"migrate", "receiver", "worker", "maintenance", "beat", "flower"}
    assert set(SERVICES) - set(OURS) == {"redis", "postgres"}


@pytest.mark.parametrize("name", OURS)
def test_every_command_is_a_verb_with_options_it_knows(name):
    verb, *options = OURS[name]["command"]
    assert verb in VERBS
    told = CliRunner().invoke(app, [verb, "--help"], env={"COLUMNS": "200"}).output
    for option in options:
        assert not option.startswith("--") or option in told


def test_the_key_that_the_first_start_needs_is_made_by_a_command_that_exists():
    """The containers let others in, so the page that starts them makes a key first."""
    assert not is_loopback(OURS["receiver"]["environment"]["HTTP_HOST"])
    for page in ("docker-compose.yml", "docs/how-to/run-in-containers.md"):
        lines = re.findall(r"docker compose run --rm migrate(?: (\w+) (\w+) ([^#\n]*))?", (ROOT / page).read_text())
        assert lines[0] == ("", "", "")  # the tables come before the key
        verb, command, options = lines[1]
        assert (verb, command) == ("keys", "create")
        told = CliRunner().invoke(app, [verb, command, "--help"], env={"COLUMNS": "200"}).output
        assert all(option in told for option in options.split() if option.startswith("--"))


@pytest.mark.parametrize("name", OURS)
def test_every_variable_is_a_setting(name):
    assert {variable.lower() for variable in OURS[name]["environment"]} <= set(Settings.model_fields)


def test_the_values_the_file_falls_back_to_are_valid_settings(monkeypatch):
    for name, value in (OURS["flower"]["environment"] | OURS["receiver"]["environment"]).items():
        text = VARIABLE.sub(lambda found: "secret" if found[2] == ":?" else found[3], str(value))
        monkeypatch.setenv(name, text)
    settings = Settings()
    assert settings.broker == "redis://:secret@redis:6379/0"
    assert settings.database_url == "postgresql://questline:secret@postgres:5432/challenge_db"
    for name in {name.lower() for name in set(EXAMPLE) - SECRETS} & set(Settings.model_fields):
        assert getattr(settings, name) == Settings.model_fields[name].default, name


def test_an_empty_value_is_as_good_as_none(monkeypatch):
    for name in set(EXAMPLE) & {name.upper() for name in Settings.model_fields}:
        monkeypatch.setenv(name, "")
    assert Settings().model_fields_set == set()


@pytest.mark.parametrize(
    ("setting", "readers"),
    [
        ("TLS_CERT", {"receiver", "flower"}),
        ("TLS_KEY", {"receiver", "flower"}),
        ("REQUEST_TIMEOUT", {"receiver"}),
        ("FLOWER_USER", {"flower"}),
        ("FLOWER_CONTROL", {"flower"}),
        ("JOURNAL_MAX_BYTES", set(OURS)),
        ("DIRTY_MAX_USERS", set(OURS)),
        ("EVENT_RETENTION", set(OURS)),
    ],
)
def test_a_setting_of_the_example_reaches_those_that_read_it(setting, readers):
    told = {name: service["environment"].get(setting) for name, service in OURS.items()}
    assert told == {name: f"${{{setting}:-{EXAMPLE[setting]}}}" if name in readers else None for name in OURS}


def test_certificates_reach_those_that_listen_and_git_and_the_image_hold_none():
    folder, mounted = "./deploy/certificates", "/etc/questline/certificates"
    with_them = {name for name, one in OURS.items() if f"{folder}:{mounted}:ro" in one["volumes"]}
    assert (
        with_them == {name for name, one in OURS.items() if "TLS_CERT" in one["environment"]} == {"receiver", "flower"}
    )
    assert mounted in (ROOT / ".env.example").read_text()
    # The folder is there without a file in it, and what is put there stays there.
    assert (ROOT / folder / ".gitignore").read_text().splitlines()[-2:] == ["*", "!.gitignore"]
    assert not any(source.startswith("deploy/certificates") for source in _copied())


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_watched_bounded_and_restarted(name):
    service = SERVICES[name]
    assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory"}
    if name in RUN_ONCE:
        assert service["restart"] == "no"
        assert service["healthcheck"] == {"disable": True}
    else:
        assert service["restart"] == "unless-stopped"
        assert service["healthcheck"]["test"]


@pytest.mark.parametrize("name", sorted(set(OURS) - RUN_ONCE))
def test_the_health_check_of_a_service_is_one_that_exists(name):
    _, python, script, check, *rest = OURS[name]["healthcheck"]["test"]
    assert (python, script) == ("python", "/opt/questline/healthcheck.py")
    listed = subprocess.run(
        [sys.executable, "-c", "import healthcheck; print(*healthcheck.CHECKS)"], cwd=ROOT / "deploy",
        env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=30, check=True,
    )  # fmt: skip
    assert check in listed.stdout.split()
    assert rest == {"worker": ["shards-all-*"], "maintenance": ["maintenance"]}.get(name, [])


def test_the_memory_that_benchmarks_allow_is_what_the_containers_have():
    unit = {"m": 1, "g": 1024}
    limits = {name: service["deploy"]["resources"]["limits"]["memory"] for name, service in SERVICES.items()}
    allowed = {name: int(text[:-1]) * unit[text[-1]] for name, text in limits.items() if name not in RUN_ONCE}
    assert allowed == LIMITS_MIB


def test_no_secret_stands_in_a_file():
    for text in _texts(COMPOSE):
        for variable, kind, _ in VARIABLE.findall(text):
            assert (kind == ":?") == (variable in SECRETS), text
    for service in SERVICES.values():
        for variable, value in service["environment"].items():
            if "PASSWORD" in variable or variable.endswith(("_URL", "AUTH")):
                assert set(re.findall(r"\$\{(\w+):\?", value)) & SECRETS, variable
    assert all(EXAMPLE[name] == "" for name in SECRETS)


def test_every_variable_of_the_compose_file_is_in_the_example():
    used = {variable for text in _texts(COMPOSE) for variable, _, _ in VARIABLE.findall(text)}
    assert used == set(EXAMPLE)
    for text in _texts(COMPOSE):
        for variable, kind, default in VARIABLE.findall(text):
            assert kind == ":?" or default == EXAMPLE[variable], variable


def test_ports_are_published_on_this_machine_only_unless_told_otherwise():
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert all(port.startswith("${PUBLISH_ADDRESS:-127.0.0.1}:") for port in published)
    inside = {int(port.rsplit(":", 1)[1]) for port in published}
    names = ("http_port", "grpc_port", "metrics_port", "flower_port")
    assert inside == {Settings.model_fields[name].default for name in names}
    assert EXAMPLE["PUBLISH_ADDRESS"] == "127.0.0.1"


def test_processes_wait_for_the_migration_and_the_servers():
    for name in set(OURS) - RUN_ONCE:
        assert OURS[name]["depends_on"] == {
            "redis": {"condition": "service_healthy"},
            "migrate": {"condition": "service_completed_successfully"},
        }
    assert OURS["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}


def test_workers_can_be_scaled():
    assert not {"ports", "container_name", "hostname"} & set(SERVICES["worker"])


def test_named_volumes_are_declared_and_what_is_mounted_exists():
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert (ROOT / source).exists() if source.startswith("./") else source in COMPOSE["volumes"], volume


def test_redis_keeps_everything_on_disk_and_evicts_nothing():
    lines = (ROOT / "deploy/redis.conf").read_text().splitlines()
    said = dict(line.split(None, 1) for line in lines if line and not line.startswith("#"))
    assert said["appendonly"] == "yes"
    assert said["appendfsync"] == "everysec"
    assert said["maxmemory-policy"] == "noeviction"
    assert "requirepass" not in said


def test_what_the_dockerfile_copies_exists_and_reaches_the_builder():
    let_in = set(re.findall(r"(?m)^!(.+)$", (ROOT / ".dockerignore").read_text()))
    assert let_in == _copied()
    assert [source for source in _copied() if not (ROOT / source).exists()] == []


def test_every_package_is_in_the_image():
    include = PYPROJECT["tool"]["setuptools"]["packages"]["find"]["include"]
    assert {pattern.removesuffix("*") for pattern in include} <= _copied()


def test_the_image_runs_questline_as_somebody_without_rights():
    assert _instructions("USER") == [["questline"]]
    assert 'ENTRYPOINT ["questline"]' in DOCKERFILE
    assert 'CMD ["receiver"]' in DOCKERFILE
    assert "HEALTHCHECK" in DOCKERFILE
    assert "embedded" not in re.sub(r"(?m)^#.*", "", DOCKERFILE)
    assert "--require-hashes -r requirements/product.txt" in DOCKERFILE


def test_the_images_tag_is_the_version():
    version = PYPROJECT["project"]["version"]
    assert {service["image"] for service in OURS.values()} == {f"questline:{version}"}
