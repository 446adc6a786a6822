"""What can be said about the files of deploy/ in a few seconds, without containers or networks.

A tool that is not installed takes its cases away; make test-deploy says which.
"""

import glob
import json
import os
import re
import stat
import subprocess

import pytest
import yaml

import rig
from harness import binary

COMMANDS = ["run", "check", "explain", "top", "reload", "drain", "healthcheck", "schema", "reference", "version",
            "help"]


def needs(*tools):
    """Leaves a test out when a tool is missing."""
    return lambda test: test if rig.have(*tools) else rig.LEFT_OUT.append((test.__name__, tools))


def below(pattern):
    return sorted(os.path.relpath(path, rig.TOP)
                  for path in glob.glob(f"{rig.DEPLOY}/{pattern}", recursive=True))


@pytest.mark.parametrize("path", [p for p in below("**/*.yaml") if "/templates/" not in p])
def test_yaml(path):
    with open(f"{rig.TOP}/{path}") as file:
        assert [document for document in yaml.safe_load_all(file) if document]


@pytest.mark.parametrize("path", below("**/*.sh"))
def test_shell(path):
    rig.run("sh", "-n", path)
    assert os.access(f"{rig.TOP}/{path}", os.X_OK)


@pytest.mark.parametrize("path", ["deploy/kubernetes/base/policy.yaml", "deploy/debian/policy.yaml"])
def test_policy(path):
    done = rig.run(binary(), "check", path, env={"REDIS_URL": "redis://127.0.0.1:6379/0"})
    assert ", 0 warnings" in done.stdout


def test_the_build_file_is_for_any_architecture():
    """Names and places that differ between amd64 and arm64 are found while building."""
    with open(f"{rig.DEPLOY}/Containerfile") as file:
        text = "".join(line for line in file if not line.startswith("#"))
    assert not re.search(r"x86.64|amd64|arm64|aarch64|ld-linux|-linux-gnu", text)


@needs("promtool")
def test_rules():
    rig.run("promtool", "check", "rules", "--lint=all", "--lint-fatal", "deploy/prometheus/rules.yaml")
    rig.run("promtool", "test", "rules", "deploy/prometheus/rules_test.yaml")


def test_operator_has_the_same_rules():
    with open(f"{rig.DEPLOY}/prometheus/rules.yaml") as file:
        rules = yaml.safe_load(file)
    with open(f"{rig.DEPLOY}/kubernetes/monitoring/prometheusrule.yaml") as file:
        assert yaml.safe_load(file)["spec"] == rules


def test_every_alert_has_a_unit_test_and_says_what_to_do():
    with open(f"{rig.DEPLOY}/prometheus/rules.yaml") as file:
        alerts = [r for g in yaml.safe_load(file)["groups"] for r in g["rules"] if "alert" in r]
    with open(f"{rig.DEPLOY}/prometheus/rules_test.yaml") as file:
        tested = file.read()
    for alert in alerts:
        assert f'alertname="{alert["alert"]}"' in tested
        assert alert["annotations"]["summary"] and alert["annotations"]["action"]
        assert alert["labels"]["severity"] in ("critical", "warning", "info")


def test_dashboard():
    with open(f"{rig.DEPLOY}/grafana/lockkeeper.json") as file:
        dashboard = json.load(file)
    panels = dashboard["panels"]
    assert len({p["id"] for p in panels}) == len(panels)
    taken = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24 and not cells & taken, panel["title"]
        taken |= cells


@needs("mandoc")
def test_man_page_is_clean():
    done = rig.run("mandoc", "-Tlint", "-Wwarning", "deploy/man/lockkeeper.8", ok=False)
    assert done.returncode == 0 and done.stdout == "", done.stdout


def test_commands_are_documented_and_completed():
    """The program, the man page and the completion know the same commands."""
    words = re.findall(r"^  lockkeeper (\w+)", rig.run(binary(), "help").stdout, re.M)
    assert words == COMMANDS, "update the man page, the completion and this list"
    with open(f"{rig.DEPLOY}/man/lockkeeper.8") as file:
        page = file.read()
    for command in COMMANDS:
        assert re.search(rf"^\.It Cm {command}\b", page, re.M), command
        usage = rig.run(binary(), command, "--help").stdout.splitlines()[0]
        for option in re.findall(r"\[(--?\w+)", usage):
            assert f"Fl {option[1:]} " in page, (command, option)
            assert option in complete("lockkeeper", command, "-"), (command, option)


def complete(*words):
    script = (f". {rig.DEPLOY}/completion/lockkeeper.bash; COMP_WORDS=(\"$@\"); "
              "COMP_CWORD=$(($# - 1)); _lockkeeper lockkeeper \"${!#}\" \"${COMP_WORDS[COMP_CWORD-1]}\"; "
              "printf '%s\\n' \"${COMPREPLY[@]}\"")
    done = subprocess.run(["bash", "-uc", script, "bash", *words], cwd=rig.TOP, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize("words,expected", [
    (["lockkeeper", ""], COMMANDS + ["--help", "--version"]),
    (["lockkeeper", "ref"], ["reference"]),
    (["lockkeeper", "help", "ex"], ["explain"]),
    (["lockkeeper", "check", "--f"], ["--format"]),
    (["lockkeeper", "check", "--format", ""], ["json"]),
    (["lockkeeper", "explain", "--"], ["--client", "--live", "--admin", "--help"]),
    (["lockkeeper", "run", "policies/de"], ["policies/demo.yaml"]),
    (["lockkeeper", "run", "READ"], []),
    (["lockkeeper", "version", ""], []),
    (["lockkeeper", "drain", "--"], ["--wait", "--admin", "--timeout", "--help"]),
    (["lockkeeper", "healthcheck", "--"], ["--live", "--metrics", "--timeout", "--help"]),
    (["lockkeeper", "reload", "policies/de"], ["policies/demo.yaml"]),
])
def test_completion(words, expected):
    assert complete(*words) == expected


@needs("systemd-analyze")
def test_unit(tmp_path):
    """verify wants what the unit names to exist: a copy names the binary under test."""
    with open(f"{rig.DEPLOY}/systemd/lockkeeper.service") as file:
        text = file.read()
    copy = tmp_path / "lockkeeper.service"
    copy.write_text(text.replace("/usr/bin/lockkeeper", binary())
                    .replace("Documentation=man:lockkeeper(8)\n", ""))
    with open(f"{rig.DEPLOY}/systemd/lockkeeper.socket") as file:
        (tmp_path / "lockkeeper.socket").write_text(file.read())
    done = rig.run("systemd-analyze", "verify", "--man=no", str(copy), str(tmp_path / "lockkeeper.socket"), ok=False)
    complaints = [line for line in (done.stdout + done.stderr).splitlines() if "lockkeeper" in line]
    assert done.returncode == 0 and not complaints, complaints
    verdict = rig.run("systemd-analyze", "security", "--offline=yes", str(copy)).stdout
    exposure = float(re.search(r"exposure level for \S+: ([\d.]+)", verdict).group(1))
    assert exposure <= 2.5, verdict


@pytest.mark.skipif(binary() != f"{rig.TOP}/build/lockkeeper", reason="make would build another one")
def test_install_and_uninstall(tmp_path):
    where = (f"DESTDIR={tmp_path}", "PREFIX=/opt/lk")
    rig.run("make", "--old-file=all", "install", *where)
    done = rig.run(f"{tmp_path}/opt/lk/bin/lockkeeper", "check", f"{tmp_path}/opt/lk/share/doc/lockkeeper/policies/demo.yaml")
    assert done.stdout.startswith("ok: 1 file")
    assert (tmp_path / "opt/lk/share/man/man8/lockkeeper.8").is_file()
    rig.run("make", "uninstall", *where)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@needs("dpkg-deb", "dpkg-shlibdeps")
def test_package(tmp_path):
    files = []
    for round_number in "12":
        out = tmp_path / round_number
        rig.run("deploy/debian/build.sh", binary(), str(out), env={"SOURCE_DATE_EPOCH": "1700000000"})
        files += out.iterdir()
    assert files[0].read_bytes() == files[1].read_bytes(), "not reproducible"
    depends = rig.run("dpkg-deb", "-f", str(files[0]), "Depends").stdout
    assert "libc6 (>=" in depends and "libuv1" in depends, depends
    root = tmp_path / "root"
    rig.run("dpkg-deb", "-x", str(files[0]), str(root))
    for path in ("lib/systemd/system/lockkeeper.service", "usr/share/man/man8/lockkeeper.8.gz",
                 "usr/share/bash-completion/completions/lockkeeper", "etc/default/lockkeeper"):
        assert (root / path).is_file(), path
    # REDIS_URL may hold a password: root's alone.
    assert stat.S_IMODE((root / "etc/default/lockkeeper").stat().st_mode) == 0o640
    if rig.have("lintian"):
        said = rig.run("lintian", "--allow-root", str(files[0]), ok=False).stdout
        # There is no address to write to, debhelper does not stop the service, and see above.
        said = re.sub(r".*(bogus-mail-host|maintainer-script-calls-systemctl|file-perm 0640 ).*\n?", "", said)
        assert not said.strip(), said
    done = rig.run(str(root / "usr/bin/lockkeeper"), "check", str(root / "etc/lockkeeper/policies"))
    assert done.stdout.startswith("ok: 1 file")
