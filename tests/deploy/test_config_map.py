"""A ConfigMap that changes under a running container, as the kubelet does it: the files are links through
`..data`, and `..data` is renamed to point at a new folder."""

import contextlib
import os
import shutil

import pytest

import rig
from harness import Metrics, free_port, request, wait_until
from test_image import answers, service  # noqa: F401  (a fixture)

POLICY = """
listen: 127.0.0.1:{port}
metrics: 127.0.0.1:{metrics}
admin: "off"
upstream: http://127.0.0.1:{service}
routes:
  - name: all
    limits: [{{ name: total, rate: {rate} }}]
"""


class ConfigMap:
    """A folder with one file, published as the kubelet publishes a volume."""

    def __init__(self, folder):
        self.folder, self.version = folder, 0
        folder.mkdir()
        folder.chmod(0o755)

    def publish(self, text):
        before, self.version = self.version, self.version + 1
        new = self.folder / f"..version_{self.version}"
        new.mkdir()
        (new / "policy.yaml").write_text(text)
        os.symlink(new.name, self.folder / "..data_tmp")
        os.rename(self.folder / "..data_tmp", self.folder / "..data")
        if before == 0:
            os.symlink("..data/policy.yaml", self.folder / "policy.yaml")
        else:
            shutil.rmtree(self.folder / f"..version_{before}")


@pytest.fixture
def world(image, service, tmp_path):  # noqa: F811
    """(the ConfigMap, text(rate), statuses(count), metric(name, ...)) of a container that runs."""
    ports = {"port": free_port(), "metrics": free_port(), "service": service}

    def text(rate):
        return POLICY.format(rate=rate, **ports)

    def statuses(count):
        return [request(("127.0.0.1", ports["port"]), "GET", "/").status for _ in range(count)]

    def metric(name, **labels):
        page = request(("127.0.0.1", ports["metrics"]), "GET", "/metrics").body.decode()
        return Metrics(page).sum(name, **labels)
    tmp_path.chmod(0o755)
    config = ConfigMap(tmp_path / "config")
    config.publish(text("2/hour"))
    name = f"lockkeeper-map-{os.getpid()}"
    try:
        rig.podman("run", "--detach", "--name", name, "--network", "host", "--read-only", "--read-only-tmpfs=false",
                   "--cap-drop", "ALL", "--volume", f"{config.folder}:/etc/lockkeeper/policies:ro", image)
        wait_until(lambda: answers(("127.0.0.1", ports["metrics"]), "/ready"), 20, "ready")
        yield config, text, statuses, metric
        rig.podman("stop", "--time", "10", name)
        assert '"ExitCode": 0,' in rig.podman("inspect", name)
    finally:
        with contextlib.suppress(AssertionError):
            print(rig.run("podman", "logs", name, ok=False).stderr)
        rig.remove_container(name)


def test_swaps_are_followed(world):
    """Twice, as the first swap removes what was there at the start; the limit keeps its count."""
    config, text, statuses, metric = world
    assert statuses(3) == [200, 200, 429]
    for reloads, rate, expected in ((1, "4/hour", [200, 200, 429]), (2, "5/hour", [200, 429])):
        config.publish(text(rate))
        wait_until(lambda: metric("config_reloads_total", result="success") == reloads, 30, f"reload {reloads}")
        assert statuses(len(expected)) == expected


def test_a_swap_to_something_broken_changes_nothing(world):
    config, text, statuses, metric = world
    config.publish(text("many/hour"))
    wait_until(lambda: metric("config_reloads_total", result="failure") == 1, 30, "a refused reload")
    assert metric("config_last_reload_successful") == 0
    assert statuses(3) == [200, 200, 429]
    config.publish(text("3/hour"))
    wait_until(lambda: metric("config_last_reload_successful") == 1, 30, "the next one")
    assert statuses(2) == [200, 429]
