"""The manifests: injected where they should be, restricted, and without a field nobody knows."""

import copy
import shutil

import pytest
import yaml

import rig

KUBERNETES = f"{rig.DEPLOY}/kubernetes"


def kustomize(directory):
    if rig.have("kubectl"):
        command = ["kubectl", "kustomize"]
    elif rig.have("kustomize"):
        command = ["kustomize", "build"]
    else:
        pytest.skip("needs kubectl or kustomize")
    text = rig.run(*command, directory).stdout
    return [document for document in yaml.safe_load_all(text) if document]


def overlay(where, component, extra=""):
    """The example with another way to inject; beside it, a Deployment that did not ask for it."""
    shutil.copytree(KUBERNETES, where / "kubernetes")
    path = where / "kubernetes" / "example" / "kustomization.yaml"
    path.write_text(path.read_text().replace("[../sidecar]", f"[../{component}]"))
    other = yaml.safe_load((where / "kubernetes/redis/redis.yaml").read_text().split("\n---")[0])
    other["metadata"] = {"name": "other"}
    shop = where / "kubernetes" / "example" / "shop.yaml"
    shop.write_text(shop.read_text() + "---\n" + yaml.safe_dump(other))
    return str(path.parent)


def deployment(documents, name):
    return next(d for d in documents if d["kind"] == "Deployment" and d["metadata"]["name"] == name)


def pod_of(documents, name):
    return deployment(documents, name)["spec"]["template"]["spec"]


@pytest.mark.parametrize("component,where", [("sidecar", "initContainers"),
                                             ("sidecar-plain", "containers")])
def test_injected_into_labelled_deployments_only(tmp_path, component, where):
    documents = kustomize(overlay(tmp_path, component))
    keeper = [c for c in pod_of(documents, "shop")[where] if c["name"] == "lockkeeper"]
    assert len(keeper) == 1 and len(pod_of(documents, "shop")["containers"]) >= 1
    assert ("restartPolicy" in keeper[0]) == (component == "sidecar")
    assert "lockkeeper" not in str(pod_of(documents, "other"))
    labels = deployment(documents, "shop")["spec"]["template"]["metadata"]["labels"]
    assert labels["lockkeeper"] == "enabled"
    # The generated names reached the injected container.
    names = {(d["kind"], d["metadata"]["name"]) for d in documents}
    volume = next(v for v in pod_of(documents, "shop")["volumes"] if "configMap" in v)
    assert ("ConfigMap", volume["configMap"]["name"]) in names
    assert ("Secret", keeper[0]["env"][0]["valueFrom"]["secretKeyRef"]["name"]) in names


def test_both_ways_differ_only_in_where_the_container_stands(tmp_path):
    native = kustomize(overlay(tmp_path / "a", "sidecar"))
    plain = kustomize(overlay(tmp_path / "b", "sidecar-plain"))
    a = copy.deepcopy(pod_of(native, "shop")["initContainers"][0])
    assert a.pop("restartPolicy") == "Always"
    # Nothing but its hook holds SIGTERM off from a plain container, so that one waits.
    hook = a["lifecycle"]["preStop"]["exec"]["command"]
    assert hook[:2] == ["/lockkeeper", "drain"]
    hook[2:2] = ["--wait", "5s"]
    assert a in pod_of(plain, "shop")["containers"]


@pytest.mark.parametrize("component,where", [("sidecar", "initContainers"), ("sidecar-plain", "containers")])
def test_a_changed_policy_reaches_the_pods_that_run(tmp_path, component, where):
    """The ConfigMap keeps its name, and is mounted as a folder: a subPath would never change."""
    documents = kustomize(overlay(tmp_path, component))
    config = next(d for d in documents if d["kind"] == "ConfigMap")
    assert config["metadata"]["name"] == "lockkeeper-policies" and list(config["data"]) == ["policy.yaml"]
    keeper = next(c for c in pod_of(documents, "shop")[where] if c["name"] == "lockkeeper")
    mount = next(m for m in keeper["volumeMounts"] if m["name"] == "lockkeeper-policies")
    assert mount["mountPath"] == "/etc/lockkeeper/policies" and not mount.keys() & {"subPath", "subPathExpr"}
    assert keeper["args"] == ["run", mount["mountPath"]]


def test_restricted():
    """What the Pod Security level `restricted` asks of every container."""
    for document in kustomize(f"{KUBERNETES}/example"):
        if document["kind"] != "Deployment":
            continue
        pod = document["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
        assert not any(pod.get(key) for key in ("hostNetwork", "hostPID", "hostIPC"))
        for container in pod["containers"] + pod.get("initContainers", []):
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert context["readOnlyRootFilesystem"] is True
            assert "memory" in container["resources"]["limits"]
            assert not any("hostPort" in port for port in container.get("ports", []))


def test_grace_period_covers_the_drain():
    assert pod_of(kustomize(f"{KUBERNETES}/example"), "shop")["terminationGracePeriodSeconds"] > 30 + 5


@pytest.mark.parametrize("component", ["sidecar", "sidecar-plain"])
def test_strict(strict, tmp_path, component):
    assert strict(kustomize(overlay(tmp_path, component))) == ""


def test_strict_monitoring(strict):
    documents = kustomize(f"{KUBERNETES}/monitoring")
    assert {d["kind"] for d in documents} == {"PodMonitor", "PrometheusRule"}
    assert strict(documents) == ""


def test_strict_notices_mistakes(strict):
    """The validation would see an unknown field deep down, and a wrong type."""
    documents = kustomize(f"{KUBERNETES}/example")
    pod_of(documents, "shop")["initContainers"][0]["restartPolice"] = "Always"
    assert "restartPolice" in strict(documents)
    documents = kustomize(f"{KUBERNETES}/example")
    deployment(documents, "shop")["spec"]["replicas"] = "two"
    assert "replicas" in strict(documents)
    documents = kustomize(f"{KUBERNETES}/monitoring")
    documents[0]["spec"]["podMetricsEndpoints"][0]["intervall"] = "1s"
    assert "intervall" in strict(documents)
