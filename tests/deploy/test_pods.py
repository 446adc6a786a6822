"""Two pods behind one limit and one lock: the manifest of deploy/pods, run by podman with a real Redis."""

import concurrent.futures
import contextlib
import json
import os

import pytest
import yaml

import rig
from harness import free_port, request, wait_until


def ready(proxy, metrics):
    """Ready, with a connection to the store for each worker, and the service is there too (what asks it here
    is not limited)."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        if request(metrics, "GET", "/ready").status != 200 or request(proxy, "GET", "/slow?ms=0").status != 200:
            return False
        values = dict(line.split() for line in request(metrics, "GET", "/metrics").body.decode().splitlines()
                      if line.startswith(("lockkeeper_workers ", "lockkeeper_store_connections ")))
        return len(values) == 2 and len(set(values.values())) == 1
    return False


@pytest.fixture(scope="module")
def pods(image, tmp_path_factory):
    """[(name, proxy address, metrics address)] of the two pods, on ports and under names of our own."""
    assert image
    rig.podman("build", "--quiet", "--ulimit", "nofile=4096:4096", "--network", "host", "-t",
               "localhost/lockkeeper-demo", "-f", "deploy/pods/Containerfile", ".")
    mark = f"lk{os.getpid()}"
    with open(f"{rig.DEPLOY}/pods/pods.yaml") as file:
        documents = list(yaml.safe_load_all(file.read().replace("//redis:", f"//{mark}-redis:")))
    found = []
    for document in documents:
        if document["kind"] != "Pod":
            document["metadata"]["name"] = mark  # the ConfigMap, which becomes a volume of this name
            continue
        document["metadata"]["name"] = f"{mark}-{document['metadata']['name']}"
        for volume in document["spec"].get("volumes", []):
            volume["configMap"]["name"] = mark
        for container in document["spec"]["containers"]:
            for port in container.get("ports", []):
                port["hostPort"] = free_port()
            if container["name"] == "lockkeeper":
                found.append((document["metadata"]["name"],
                              *(("127.0.0.1", port["hostPort"]) for port in container["ports"])))
    path = tmp_path_factory.mktemp("pods") / "pods.yaml"
    path.write_text(yaml.safe_dump_all(documents))
    rig.podman("network", "create", mark)
    try:
        rig.podman("play", "kube", "--network", mark, str(path))
        for name, *addresses in found:
            wait_until(lambda both=addresses: ready(*both), 30, f"{name} is ready")
        yield found
    finally:
        rig.run("podman", "play", "kube", "--down", str(path), ok=False)
        rig.run("podman", "network", "rm", "--force", mark, ok=False)
        rig.run("podman", "volume", "rm", "--force", mark, ok=False)


def test_one_limit_for_two_pods(pods):
    """Five in a minute, over both pods and 32 clients: not four, and not ten."""
    assert len(pods) == 2

    def ask(number):
        return request(pods[number % 2][1], "GET", "/stock/boat")
    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(ask, range(64)))
    statuses = [answer.status for answer in answers]
    assert statuses.count(200) == 5 and statuses.count(429) == 59, statuses
    refused = next(answer for answer in answers if answer.status == 429)
    assert 1 <= int(refused.header("Retry-After")) <= 60
    assert refused.json()["reason"] == "quota-exceeded"


def test_one_lock_for_two_pods(pods):
    """While a request of one pod works, the other pod's is told so, and was not executed."""
    (_, first, first_metrics), (_, second, _) = pods

    def is_held():
        page = request(first_metrics, "GET", "/metrics").body.decode()
        return 'lockkeeper_lock_held{route="slow"} 1\n' in page
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        working = pool.submit(request, first, "GET", "/slow?ms=8000")
        wait_until(is_held, 10, "the lock is held")
        refused = request(second, "GET", "/slow?ms=0")
        assert not working.done(), "too slow a machine to tell"
        assert (refused.status, refused.json()["reason"], refused.json()["executed"]) == (423, "locked", "no")
        assert working.result().status == 200
    assert request(second, "GET", "/slow?ms=0").status == 200


def test_the_hook_before_the_end(pods):
    """What the manifests have as preStop: not ready any more, connections close, requests are served."""
    with open(f"{rig.DEPLOY}/kubernetes/sidecar/kustomization.yaml") as file:
        patch = yaml.safe_load(yaml.safe_load(file)["patches"][0]["patch"])
    hook = patch["spec"]["template"]["spec"]["initContainers"][0]["lifecycle"]["preStop"]["exec"]["command"]
    name, proxy, metrics = pods[0]
    rig.podman("exec", f"{name}-lockkeeper", *hook)
    assert request(metrics, "GET", "/ready").status == 503
    assert request(metrics, "GET", "/live").status == 200
    answer = request(proxy, "GET", "/slow?ms=0")
    assert (answer.status, answer.header("Connection")) == (200, "close")


def test_sidecars_end_well(pods):
    """Told to stop, each drains and exits 0, whatever became of the service beside it."""
    for name, _, _ in pods:
        container = f"{name}-lockkeeper"
        inspected = json.loads(rig.podman("inspect", container))[0]
        assert inspected["HostConfig"]["ReadonlyRootfs"] and inspected["Config"]["User"] == "65532:65532"
        rig.podman("stop", "--time", "10", container)
        assert json.loads(rig.podman("inspect", container))[0]["State"]["ExitCode"] == 0
