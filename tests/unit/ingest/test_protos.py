"""The generated modules are what the protos say."""

import sys
from pathlib import Path
from subprocess import run

import pytest

import ingest.protos

PROTOS = Path(ingest.protos.__file__).parent


@pytest.mark.parametrize("name", ["account", "statistic"])
def test_the_committed_modules_equal_a_fresh_generation(name, tmp_path):
    root = PROTOS.parent.parent
    source = f"ingest/protos/{name}.proto"
    command = [
        sys.executable,
        "-m",
        "grpc_tools.protoc",
        f"-I{root}",
        f"--python_out={tmp_path}",
        f"--pyi_out={tmp_path}",
    ]
    run([*command, str(root / source)], check=True, timeout=60)
    for suffix in ("_pb2.py", "_pb2.pyi"):
        fresh = tmp_path / "ingest" / "protos" / f"{name}{suffix}"
        assert fresh.read_text() == (PROTOS / f"{name}{suffix}").read_text()
