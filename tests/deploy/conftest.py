"""Fixtures of the tests of deploy/."""

import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import rig  # noqa: E402


@pytest.fixture(scope="session")
def image():
    """The id of the image, built from this tree."""
    if not rig.have("podman", "mmdebstrap"):
        pytest.skip("needs podman and mmdebstrap")
    return rig.run("deploy/image.sh", "localhost/lockkeeper", timeout_s=900).stdout.split()[-1]
