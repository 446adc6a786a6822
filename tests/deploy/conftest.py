"""Fixtures of the tests of deploy/."""

import os
import shutil
import sys

import pytest
import yaml

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import rig  # noqa: E402


@pytest.fixture(scope="session")
def image():
    """The id of the image, built from this tree."""
    if not rig.have("podman", "mmdebstrap"):
        pytest.skip("needs podman and mmdebstrap")
    return rig.run("deploy/image.sh", "localhost/lockkeeper", timeout_s=900).stdout.split()[-1]


@pytest.fixture(scope="session")
def npm(tmp_path_factory):
    """A folder with the packages of package.json, and the programs here that use them."""
    if not rig.have("npm", "node"):
        pytest.skip("needs npm")
    where = tmp_path_factory.mktemp("npm")
    for name in ("package.json", "validate.mjs", "schema.mjs"):
        shutil.copy(f"{HERE}/{name}", where)
    rig.run("npm", "install", "--no-audit", "--no-fund", "--silent", cwd=where)
    return where


@pytest.fixture(scope="session")
def strict(npm):
    """validate(documents) -> all complaints, of the schemas and of the TypeScript compiler."""
    def validate(documents):
        (npm / "all.yaml").write_text(yaml.safe_dump_all(documents))
        first = rig.run("node", "validate.mjs", "all.ts", "all.yaml", ok=False, cwd=npm)
        if first.returncode != 0:
            return first.stdout + first.stderr
        second = rig.run("npx", "tsc", "--noEmit", "--strict", "--skipLibCheck", "--module",
                         "nodenext", "--moduleResolution", "nodenext", "all.ts", ok=False, cwd=npm)
        return "" if second.returncode == 0 else second.stdout + second.stderr or "tsc failed"

    return validate


def pytest_terminal_summary(terminalreporter):
    for test, tools in rig.LEFT_OUT:
        terminalreporter.write_line(f"left out: {test}: needs {' and '.join(tools)}")
