"""The image: what is in it, what is not, and that it runs with nothing but what it was given."""

import http.server
import json
import os
import re
import stat
import tarfile
import threading

import pytest

import rig
from harness import free_port, request, wait_until

MAX_BYTES = 10 * 1000 * 1000
SHELLS = re.compile(r"(^|/)(sh|bash|dash|ash|busybox|perl|python[\d.]*|apt|dpkg|su|sudo)$")
POLICY = """
listen: 127.0.0.1:{port}
metrics: 127.0.0.1:{metrics}
admin: off
upstream: http://127.0.0.1:{service}
routes:
  - name: all
    limits: [{{ name: total, rate: 2/hour }}]
"""


@pytest.fixture(scope="module")
def facts(image):
    return json.loads(rig.podman("image", "inspect", image))[0]


@pytest.fixture(scope="module")
def members(image, tmp_path_factory):
    """Every entry of the image's root filesystem."""
    path = str(tmp_path_factory.mktemp("image") / "root.tar")
    container = rig.podman("create", image)
    try:
        rig.podman("export", "--output", path, container)
    finally:
        rig.remove_container(container)
    with tarfile.open(path) as archive:
        return archive.getmembers()


def test_settings(facts):
    config = facts["Config"]
    assert config["User"] == "65532:65532"
    assert config["Entrypoint"] == ["/lockkeeper"]
    assert config["StopSignal"] in ("SIGTERM", "15")
    assert set(config["ExposedPorts"]) == {"8080/tcp", "9102/tcp"}


def test_labels(facts, image):
    labels = {key.removeprefix("org.opencontainers.image."): value
              for key, value in facts["Labels"].items()}
    version = rig.podman("run", "--rm", "--network", "none", image, "version").split()[1]
    assert labels["title"] == "Lockkeeper" and labels["licenses"] == "Apache-2.0"
    assert labels["version"] == version
    assert labels["description"] and labels["revision"]


def test_size(facts):
    assert facts["Size"] <= MAX_BYTES, f"{facts['Size']} bytes"


def test_no_shell_and_no_privileges(members):
    names = [member.name for member in members]
    assert "lockkeeper" in names
    assert not [name for name in names if SHELLS.search(name)]
    assert not [m.name for m in members if m.mode & (stat.S_ISUID | stat.S_ISGID)]
    assert not [m.name for m in members if m.isreg() and m.mode & stat.S_IWOTH]
    # Whoever breaks in finds no program but this one (and the loader that starts it).
    programs = [m.name for m in members if m.isreg() and m.mode & 0o111]
    assert not [p for p in programs if p != "lockkeeper" and ".so" not in p], programs


def test_licences_of_what_is_linked_in(members):
    names = {os.path.basename(m.name) for m in members if m.name.startswith("licenses/")}
    assert {"lockkeeper", "libuv1-dev", "libssl-dev", "node-llhttp", "libc6"} <= names


def test_same_sources_same_id(image):
    assert rig.run("deploy/image.sh", "localhost/lockkeeper-again",
                   timeout_s=900).stdout.split()[-1] == image


class Service(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "3")
        self.end_headers()
        self.wfile.write(b"hi\n")

    def log_message(self, *_):
        pass


@pytest.fixture
def service():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Service)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


def answers(address, target):
    try:
        return request(address, "GET", target).status == 200
    except OSError:
        return False


def test_serves_locked_down_and_drains(image, service, tmp_path):
    port, metrics = free_port(), free_port()
    tmp_path.chmod(0o755)
    (tmp_path / "policy.yaml").write_text(POLICY.format(port=port, metrics=metrics, service=service))
    name = f"lockkeeper-test-{os.getpid()}"
    try:
        rig.podman("run", "--detach", "--name", name, "--network", "host", "--read-only",
                   "--read-only-tmpfs=false", "--cap-drop", "ALL", "--security-opt",
                   "no-new-privileges", "--memory", "32m", "--pids-limit", "32",
                   "--volume", f"{tmp_path}:/etc/lockkeeper/policies:ro", image)
        wait_until(lambda: answers(("127.0.0.1", metrics), "/ready"), 10, "ready")
        statuses = [request(("127.0.0.1", port), "GET", "/").status for _ in range(3)]
        assert statuses == [200, 200, 429]
        rig.podman("stop", "--time", "10", name)
        state = json.loads(rig.podman("inspect", name))[0]["State"]
        assert state["ExitCode"] == 0 and not state["OOMKilled"], state
    finally:
        rig.remove_container(name)
