"""The chart, rendered by render_chart.go: the same container as Kustomize's, strictly valid."""

import json
import os
import shutil

import pytest
import yaml

import rig

HERE = os.path.dirname(os.path.abspath(__file__))
CHART = f"{rig.DEPLOY}/helm/lockkeeper"
GO_PATH = "/usr/share/gocode"
# What the chart of a service would have.
SERVICE = """
apiVersion: apps/v1
kind: Deployment
metadata: { name: shop }
spec:
  selector: { matchLabels: { app: shop } }
  template:
    metadata: { labels: { app: shop, lockkeeper: enabled } }
    spec:
      {{- if .Values.nativeSidecar }}
      initContainers:
        {{- include "lockkeeper.sidecar" (dict "Values" .Values "Release" .Release) | nindent 8 }}
      {{- end }}
      containers:
        - { name: shop, image: shop }
        {{- if not .Values.nativeSidecar }}
        {{- include "lockkeeper.sidecar" . | nindent 8 }}
        {{- end }}
      volumes:
        {{- include "lockkeeper.volume" . | nindent 8 }}
"""


@pytest.fixture(scope="module")
def render(tmp_path_factory):
    if not rig.have("go") or not os.path.isdir(f"{GO_PATH}/src/github.com/Masterminds/sprig"):
        pytest.skip("needs golang-go, golang-github-masterminds-sprig-dev, golang-k8s-sigs-yaml-dev")
    where = tmp_path_factory.mktemp("helm")
    program = str(where / "render_chart")
    rig.run("go", "build", "-o", program, f"{HERE}/render_chart.go",
            env={"GO111MODULE": "off", "GOPATH": GO_PATH, "GOCACHE": str(where / "cache"),
                 "GOFLAGS": ""})
    chart = where / "chart"
    shutil.copytree(CHART, chart)
    (chart / "templates" / "service.yaml").write_text(SERVICE)

    def render_with(values):
        (where / "values.yaml").write_text(yaml.safe_dump(values))
        text = rig.run(program, str(chart), "demo", str(where / "values.yaml")).stdout
        return [document for document in yaml.safe_load_all(text) if document]

    return render_with


def sidecar_of(documents, place):
    pod = next(d for d in documents if d["kind"] == "Deployment")["spec"]["template"]["spec"]
    return next(c for c in pod[place] if c["name"] == "lockkeeper")


@pytest.mark.parametrize("native,place,component", [
    (True, "initContainers", "sidecar"), (False, "containers", "sidecar-plain")])
def test_same_container_as_kustomize(render, native, place, component):
    with open(f"{rig.DEPLOY}/kubernetes/{component}/kustomization.yaml") as file:
        patch = yaml.safe_load(yaml.safe_load(file)["patches"][0]["patch"])
    expected = patch["spec"]["template"]["spec"][place][0]
    expected["image"] = "localhost/lockkeeper:latest"
    assert sidecar_of(render({"nativeSidecar": native}), place) == expected


def test_switches(render):
    def kinds(**values):
        return sorted(d["kind"] for d in render(values))
    assert kinds() == ["ConfigMap", "Deployment", "NetworkPolicy"]
    assert kinds(podMonitor=True, networkPolicy=False) == ["ConfigMap", "Deployment", "PodMonitor"]


def test_same_policy_as_kustomize(render):
    with open(f"{rig.DEPLOY}/kubernetes/base/policy.yaml") as file:
        expected = yaml.safe_load(file)
    config = next(d for d in render({}) if d["kind"] == "ConfigMap")
    assert yaml.safe_load(config["data"]["policy.yaml"]) == expected


def test_values_that_mean_nothing_are_refused(npm, tmp_path):
    """By the schema that helm applies to the values: a word that is misspelt, or of another kind."""
    with open(f"{CHART}/values.yaml") as file:
        defaults = yaml.safe_load(file)
    good = [{}, {"global": {"region": "eu"}}, {"resources": {}}, {"podMonitor": True, "nativeSidecar": False}]
    bad = [{"nativesidecar": True}, {"networkPolicy": "yes"}, {"image": {"name": "x"}}, {"image": {"name": "x", "tag": 1}},
           {"policies": {}}, {"policies": {"policy.txt": "upstream: x"}}, {"policies": {"policy.yaml": {"upstream": "x"}}},
           {"storeSecret": ""}, {"resources": {"limit": {}}}]
    paths = [tmp_path / f"{n}.yaml" for n in range(len(good + bad))]
    for path, values in zip(paths, good + bad, strict=True):
        path.write_text(yaml.safe_dump({**defaults, **values}))
    done = rig.run("node", "--no-warnings", "schema.mjs", f"{CHART}/values.schema.json", *map(str, paths), cwd=npm)
    complaints = list(json.loads(done.stdout).values())
    assert not any(complaints[:len(good)]) and all(complaints[len(good):]), complaints


@pytest.mark.parametrize("native", [True, False])
def test_strict(render, strict, native):
    assert strict(render({"nativeSidecar": native, "podMonitor": True})) == ""
