"""The commands that ask a running process: reload, drain, healthcheck."""

import contextlib
import socket
import subprocess
import threading
import time

import pytest

from harness import binary
from policies import limited, policy
from test_operations import command

BUCKET = {"name": "b", "rate": "3/day", "burst": 3, "algorithm": "token_bucket"}


@pytest.fixture
def proxy(start, origin):
    return start(policy(origin.url, [limited("/l", BUCKET)]))


def address(pair):
    return f"{pair[0]}:{pair[1]}"


def test_healthcheck(proxy):
    where = ["--metrics", address(proxy.metrics_address)]
    ready = command("healthcheck", *where)
    assert (ready.returncode, ready.stdout, ready.stderr) == (0, "ready\n", "")
    assert command("healthcheck", "--live", *where).stdout == "live\n"
    assert command("drain", "--admin", address(proxy.admin_address)).stdout == "draining\n"
    draining = command("healthcheck", *where)
    assert (draining.returncode, draining.stdout) == (1, "draining\n")
    assert command("healthcheck", "--live", *where).returncode == 0


def test_reload(proxy, origin):
    proxy.allow_errors("error in a policy", "reload failed")
    where = ["--admin", address(proxy.admin_address)]
    good = command("reload", *where)
    assert good.returncode == 0 and good.stdout == proxy.admin("GET", "/").json()["hash"] + "\n"
    with open(proxy.policy_path, "w") as file:
        file.write(policy(origin.url, [limited("/l", BUCKET)]).replace('"workers": 1', '"wrokers": 1'))
    bad = command("reload", *where)
    assert bad.returncode == 1 and bad.stdout == ""
    first = bad.stderr.splitlines()[0]
    assert first.startswith(f"{proxy.policy_path}:") and "error" in first and "workers" in first
    assert bad.stderr.splitlines()[-1] == "lockkeeper reload: the policies have errors"


def test_by_the_policies(start, origin, tmp_path):
    """Which may have errors by now, and variables that are not set here."""
    path = tmp_path / "admin.sock"
    text = policy(origin.url, [limited("/l", BUCKET)], admin=f"unix:{path}", store="${STORE}")
    proxy = start(text, env={"STORE": "embedded"}, with_store=False)
    with open(proxy.policy_path, "w") as file:
        file.write(text.replace('"routes"', '"rotues"'))
    assert command("drain", proxy.policy_path).stdout == "draining\n"
    # A folder too.
    assert command("drain", proxy.policy_path.rsplit("/", 1)[0]).returncode == 0
    proxy.allow_errors("error in a policy", "reload failed")


def test_drain_waits(proxy):
    begun = time.monotonic()
    assert command("drain", "--wait", "400ms", "--admin", address(proxy.admin_address)).stdout == "draining\n"
    assert time.monotonic() - begun >= 0.4
    begun = time.monotonic()
    assert command("drain", "--wait", "400ms", "--admin", "127.0.0.1:0").returncode == 1
    assert time.monotonic() - begun >= 0.4


def test_where_it_is_off(tmp_path):
    path = tmp_path / "p.yaml"
    path.write_text("upstream: http://127.0.0.1:1\nadmin: off\nmetrics: off\n")
    for name, key in (("drain", "admin"), ("reload", "admin"), ("healthcheck", "metrics")):
        done = command(name, str(path))
        assert done.returncode == 1 and f"off in the policies ({key})" in done.stderr


def test_nobody_is_there(tmp_path):
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        done = command("drain", "--admin", address(bound.getsockname()))
    assert done.returncode == 1 and "Connection refused" in done.stderr
    assert "No such file" in command("drain", "--admin", f"unix:{tmp_path}/none").stderr
    for odd in ("nonsense", "127.0.0.1:0", "127.0.0.1:x", "host.example:80", f"unix:/{'x' * 200}", "unix:"):
        done = command("drain", "--admin", odd)
        assert done.returncode == 1 and "this is no address: IP:PORT or unix:/path" in done.stderr


@pytest.mark.parametrize("name", ["drain", "reload", "healthcheck", "top"])
def test_policies_that_do_not_say_where(tmp_path, name):
    """The file that cannot be read is named, not only that something is missing."""
    none, bad = tmp_path / "none.yaml", tmp_path / "bad.yaml"
    bad.write_text("admin: [\n")
    assert f"{none}: cannot be opened: No such file or directory; else give --" in command(name, str(none)).stderr
    assert f"{bad}: " in command(name, str(bad)).stderr
    bad.write_text("admin: ${NOT_SET_HERE}\nmetrics: ${NOT_SET_HERE}\n")
    done = command(name, str(bad))
    assert done.returncode == 1 and "is a variable not set here?" in done.stderr


@contextlib.contextmanager
def stranger(answer, times):
    """The address of one who gives this answer to so many clients, whatever they ask."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        def serve():
            for _ in range(times):
                client, _ = server.accept()
                with client:
                    client.recv(4096)
                    client.sendall(answer)
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield address(server.getsockname())
        thread.join(20)


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab",
                                    b"SSH-2.0-OpenSSH\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 99x\r\n\r\nab"])
def test_somebody_else_is_there(answer):
    with stranger(answer, 1) as where:
        done = command("healthcheck", "--metrics", where)
    assert done.returncode == 1 and done.stdout == "" and done.stderr.count("\n") == 1


@pytest.mark.parametrize("status,body", [("200 OK", b"{}"), ("200 OK", b""), ("200 OK", b'{"hash": 7}'),
                                         ("404 Not Found", b"<html>"), ("404 Not Found", b"[]"), ("503 Busy", b"ready\n")])
def test_an_answer_of_another_service_is_not_taken_for_success(status, body):
    answer = b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status.encode(), len(body), body)
    lines = [("reload", "--admin"), ("drain", "--admin"), ("top", "--once", "--admin"), ("healthcheck", "--metrics")]
    with stranger(answer, len(lines)) as where:
        done = [command(*line, where) for line in lines]
    assert [(one.returncode, one.stdout) for one in done[:3]] == [(1, "")] * 3 and done[3].returncode == 1
    assert all("no answer of Lockkeeper" in one.stderr for one in done[:2])
    if status == "200 OK":
        assert "the answer is no JSON" in done[2].stderr or "no answer of Lockkeeper" in done[2].stderr
        assert "no answer of Lockkeeper" in done[3].stderr


def test_it_does_not_wait_for_ever():
    with socket.create_server(("127.0.0.1", 0)) as server:
        done = command("healthcheck", "--timeout", "100ms", "--metrics", address(server.getsockname()))
    assert done.returncode == 1 and "no answer in time" in done.stderr


@pytest.mark.parametrize("arguments", [
    ("drain", "--nonsense"), ("drain", "--admin"), ("drain", "--live"), ("drain", "--wait", "x"), ("reload", "--wait", "1s"), ("reload", "--metrics", "127.0.0.1:1"),
    ("healthcheck", "--timeout", "soon"), ("healthcheck", "--timeout", "0s"),
    ("drain", "--admin", "127.0.0.1:1", "policies")])
def test_usage(arguments):
    done = subprocess.run([binary(), *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and done.stdout == "" and f"usage: lockkeeper {arguments[0]}" in done.stderr
