"""The documentation is true where a program can tell: every block of YAML loads, every link leads
somewhere, every command of make exists, and every example is in the reference's table."""

import glob
import os
import re

import pytest
import yaml

import rig
from harness import binary

DOCUMENTS = sorted(os.path.relpath(path, rig.TOP) for path in
                   glob.glob(f"{rig.TOP}/*.md") + glob.glob(f"{rig.TOP}/*/README.md"))
POLICIES = sorted(os.path.relpath(path, rig.TOP) for path in
                  glob.glob(f"{rig.TOP}/policies/*.yaml") + glob.glob(f"{rig.TOP}/policies/examples/*.yaml"))
# What a block that shows one thing leaves out; the words it must have to be the whole.
REST_OF_POLICY = {r"^upstreams?:": "upstream: http://127.0.0.1:3000\n",
                  r"^routes:": "routes: [{ name: all }]\n"}


def read(path):
    with open(f"{rig.TOP}/{path}") as file:
        return file.read()


def blocks(kind):
    """(document, line, text) of every fenced block that is marked as of this kind."""
    found = []
    for path in DOCUMENTS:
        text = read(path)
        for match in re.finditer(rf"^```{kind}\n(.*?)^```$", text, re.M | re.S):
            found.append(pytest.param(match[1], id=f"{path}:{text.count(chr(10), 0, match.start()) + 1}"))
    return found


class StrictLoader(yaml.SafeLoader):
    """YAML without keys that stand twice."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        assert len(keys) == len(set(keys)), f"a key stands twice at line {node.start_mark.line + 1}: {keys}"
        return super().construct_mapping(node, deep)


def is_policy(documents):
    return len(documents) == 1 and "apiVersion" not in documents[0] and "groups" not in documents[0] \
        and "scrape_configs" not in documents[0]


@pytest.mark.parametrize("text", blocks("ya?ml"))
def test_yaml_block(text, tmp_path):
    """A policy loads without a warning; Kubernetes objects and what Prometheus reads are well-formed."""
    documents = [one for one in yaml.load_all(text, StrictLoader) if one]
    assert documents and all(isinstance(one, dict) for one in documents)
    if is_policy(documents):
        missing = [more for word, more in REST_OF_POLICY.items() if not re.search(word, text, re.M)]
        (tmp_path / "policy.yaml").write_text("".join(missing) + text)
        done = rig.run(binary(), "check", str(tmp_path / "policy.yaml"), ok=False, env={"REDIS_URL": "", "JWT_SECRET": "x" * 32})
        assert done.returncode == 0 and ", 0 warnings" in done.stdout, done.stdout + done.stderr
    elif "scrape_configs" in documents[0]:
        (tmp_path / "prometheus.yml").write_text(text)
        rig.run("promtool", "check", "config", "--syntax-only", str(tmp_path / "prometheus.yml"))
    else:
        assert all(one.get("apiVersion") and one.get("kind") and one["metadata"]["name"] for one in documents)


def test_there_are_blocks_of_yaml():
    assert len(blocks("ya?ml")) >= 10
    # A block that is not marked is not tested.
    for path in DOCUMENTS:
        for mark, text in re.findall(r"^```(\w*)\n(.*?)^```$", read(path), re.M | re.S):
            assert mark or not re.match(r"[\w-]+:( |\n  )", text), f"{path}: a block of YAML without its mark"


@pytest.mark.parametrize("path", DOCUMENTS)
def test_links(path):
    text = re.sub(r"^```.*?^```$", "", read(path), flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?://", target):
            continue
        target, _, anchor = target.partition("#")
        there = os.path.normpath(os.path.join(os.path.dirname(path), target)) if target else path
        assert os.path.exists(f"{rig.TOP}/{there}"), f"{path}: {target}"
        if anchor:
            heads = re.findall(r"^#+ (.*)$", read(there), re.M)
            anchors = {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}
            assert anchor in anchors, f"{path}: #{anchor}"


@pytest.mark.parametrize("path", DOCUMENTS)
def test_tables(path):
    """Rows stand together below a head, and have as many cells: else they are not shown as a table."""
    text = re.sub(r"^```.*?^```$", "", read(path), flags=re.M | re.S)
    for table in re.findall(r"(?:^\|.*\n)+", text, re.M):
        rows = table.splitlines()
        assert len(rows) > 2 and re.fullmatch(r"\|( ?:?-+:? ?\|)+", rows[1]), f"{path}: a row without a head: {rows[0]}"
        widths = {len(re.findall(r"(?<!\\)\|", row)) for row in rows}
        assert len(widths) == 1, f"{path}: rows of different length below {rows[0]}"


@pytest.mark.parametrize("path", DOCUMENTS)
def test_metrics_that_are_named_exist(path):
    """Also with _bucket, _sum and _count; {...} after a name lists labels that it has."""
    with open(f"{rig.TOP}/proxy/base/metrics.h") as file:
        known = {f"lockkeeper_{name}": labels.split(",") for name, labels in
                 re.findall(r'X\(\w+, "(\w+)", \w+,\s+"([\w,]*)"', file.read())}
    assert len(known) > 40
    for name, labels in re.findall(r"\b(lockkeeper_[a-z_]+)\b(?:\{([a-z_,]+)\})?", read(path)):
        family = re.sub(r"_(bucket|sum|count)$", "", name) if name not in known else name
        assert family in known, f"{path}: {name}"
        assert not labels or set(labels.split(",")) <= set(known[family]), f"{path}: {name}{{{labels}}}"


@pytest.mark.parametrize("path", DOCUMENTS)
def test_make_targets(path):
    known = set(re.findall(r"^([a-z-]+):", read("Makefile"), re.M))
    named = set(re.findall(r"(?:^|`|&& )make ([a-z][a-z-]*)", read(path), re.M))
    assert named <= known, named - known


@pytest.mark.parametrize("path", POLICIES)
def test_policy(path):
    """It loads without a warning, and an editor finds the schema."""
    done = rig.run(binary(), "check", path, env={"REDIS_URL": "", "SERVICE_URL": "", "JWT_SECRET": "x" * 32})
    assert ", 0 warnings" in done.stdout
    modeline = re.match(r"# yaml-language-server: \$schema=(\S+)\n", read(path))
    assert modeline, "no modeline"
    schema = os.path.normpath(os.path.join(os.path.dirname(path), modeline[1]))
    assert schema == "policies/schema.json"


def test_every_example_is_in_the_table():
    listed = re.findall(r"^\|.*\]\((examples/[\w-]+\.yaml)\)", read("policies/README.md"), re.M)
    assert sorted(f"policies/{name}" for name in listed) == [p for p in POLICIES if "/examples/" in p]
