"""Policies that change while it runs: what notices, what is told, and what stays."""

import os
import shutil
import signal
import threading

import pytest

from harness import SLOWNESS, wait_until
from policies import limited, policy

SECONDS = 30 * SLOWNESS


def bucket(burst):
    return {"name": "b", "rate": "1/day", "burst": burst, "algorithm": "token_bucket"}


def shown_burst(proxy):
    return proxy.admin("GET", "/config").json()["policy"]["routes"][0]["limits"][0]["burst"]


def wait_burst(proxy, burst):
    wait_until(lambda: shown_burst(proxy) == burst, SECONDS, f"burst {burst} in force")


def logged(proxy, event):
    """The lines of this event, once there is one."""
    return wait_until(lambda: [entry for entry in proxy.log() if entry["event"].startswith(event)], SECONDS, event)


def replace(path, text):
    """As editors and deployments do: a new file takes the old one's name."""
    with open(f"{path}.new", "w") as file:
        file.write(text)
    os.replace(f"{path}.new", path)


class Folder:
    """A folder as kubelet mounts a ConfigMap: links to "..data", a link to a dated folder."""

    def __init__(self, path):
        self.path, self.version = str(path), 0
        os.makedirs(self.path)

    def swap(self, **files):
        self.version += 1
        dated = f"{self.path}/..v{self.version}"
        os.makedirs(dated)
        for name, text in files.items():
            with open(f"{dated}/{name}.yaml", "w") as file:
                file.write(text)
            if not os.path.lexists(f"{self.path}/{name}.yaml"):
                os.symlink(f"..data/{name}.yaml", f"{self.path}/{name}.yaml")
        os.symlink(f"..v{self.version}", f"{self.path}/..data_tmp")
        os.rename(f"{self.path}/..data_tmp", f"{self.path}/..data")
        if self.version > 1:
            shutil.rmtree(f"{self.path}/..v{self.version - 1}")


@pytest.fixture
def run_on(start):
    """run_on(path) starts a Lockkeeper on policies that are there already."""
    return lambda path, **options: start("", path=str(path), with_store=False, **options)


def test_a_config_map_is_swapped(run_on, origin, tmp_path):
    folder = Folder(tmp_path / "policies")
    folder.swap(shop=policy(origin.url, [limited("/l", bucket(1))]))
    proxy = run_on(folder.path)
    # A watch that follows the file sees the first swap and none after it.
    for burst in (2, 3, 4):
        folder.swap(shop=policy(origin.url, [limited("/l", bucket(burst))]))
        wait_burst(proxy, burst)
    assert proxy.metric("config_reloads_total", result="success") == 3
    # A second file in the map.
    folder.swap(shop=policy(origin.url, [limited("/l", bucket(4))]), more='routes: [{ name: more }]\n')
    wait_until(lambda: len(proxy.admin("GET", "/routes").json()["routes"]) == 3, SECONDS, "two routes")


def test_one_file_of_a_config_map(run_on, origin, tmp_path):
    folder = Folder(tmp_path / "policies")
    folder.swap(shop=policy(origin.url, [limited("/l", bucket(1))]))
    proxy = run_on(f"{folder.path}/shop.yaml")
    for burst in (2, 3):
        folder.swap(shop=policy(origin.url, [limited("/l", bucket(burst))]))
        wait_burst(proxy, burst)


def test_a_file_is_replaced_and_written_to(start, origin):
    proxy = start(policy(origin.url, [limited("/l", bucket(1))]))
    for burst in (2, 3):
        replace(proxy.policy_path, policy(origin.url, [limited("/l", bucket(burst))]))
        wait_burst(proxy, burst)
    for burst in (4, 5):
        with open(proxy.policy_path, "w") as file:
            file.write(policy(origin.url, [limited("/l", bucket(burst))]))
        wait_burst(proxy, burst)


def test_a_bare_name_in_the_working_folder(run_on, origin, tmp_path):
    (tmp_path / "here").mkdir()
    path = tmp_path / "here" / "p.yaml"
    path.write_text(policy(origin.url, [limited("/l", bucket(1))]))
    proxy = run_on("p.yaml", cwd=str(tmp_path / "here"))
    replace(path, policy(origin.url, [limited("/l", bucket(2))]))
    wait_burst(proxy, 2)


def test_files_come_and_go(run_on, origin, tmp_path):
    folder = tmp_path / "policies"
    folder.mkdir()
    (folder / "a.yaml").write_text(policy(origin.url, [limited("/l", bucket(1))]))
    proxy = run_on(folder)
    (folder / "b.yaml").write_text("routes: [{ name: more }]\n")
    wait_until(lambda: len(proxy.admin("GET", "/routes").json()["routes"]) == 3, SECONDS, "came")
    (folder / "b.yaml").unlink()
    wait_until(lambda: len(proxy.admin("GET", "/routes").json()["routes"]) == 2, SECONDS, "gone")


def test_the_folder_itself_is_replaced(run_on, origin, tmp_path):
    """A link that leads to another folder now."""
    for version in (1, 2):
        (tmp_path / f"v{version}").mkdir()
        (tmp_path / f"v{version}" / "a.yaml").write_text(policy(origin.url, [limited("/l", bucket(version))]))
    os.symlink("v1", tmp_path / "current")
    proxy = run_on(f"{tmp_path}/current/")
    os.symlink("v2", tmp_path / "next")
    os.rename(tmp_path / "next", tmp_path / "current")
    wait_burst(proxy, 2)
    # From there on the new one is watched.
    (tmp_path / "v2" / "a.yaml").write_text(policy(origin.url, [limited("/l", bucket(3))]))
    wait_burst(proxy, 3)


def test_values_from_files(start, origin, tmp_path):
    rate = tmp_path / "rates" / "burst"
    rate.parent.mkdir()
    rate.write_text("1\n")
    proxy = start(policy(origin.url, [limited("/l", {**bucket(1), "burst": f"${{file:{rate}}}"})]))
    before = proxy.admin("GET", "/").json()["hash"]
    replace(rate, "7\n")
    wait_until(lambda: proxy.admin("GET", "/").json()["hash"] != before, SECONDS, "reloaded")
    assert sum(proxy.request("GET", "/l").status == 200 for _ in range(9)) == 7


def test_mistakes_leave_what_is_in_force(start, origin):
    proxy = start(policy(origin.url, [limited("/l", bucket(3))]))
    proxy.allow_errors("error in a policy", "reload failed")
    good = policy(origin.url, [limited("/l", bucket(3))])
    assert proxy.request("GET", "/l").status == 200
    replace(proxy.policy_path, good.replace('"routes"', '"rotues"'))
    wait_until(lambda: proxy.metric("config_last_reload_successful") == 0, SECONDS, "refused")
    said = logged(proxy, "error in a policy")
    assert said[0]["file"] == proxy.policy_path and said[0]["line"] > 1 and "routes" in said[0]["message"]
    failed = logged(proxy, "reload failed")
    assert failed[0]["why"] == "bad-policies" and failed[0]["errors"] == 1 and failed[0]["hash"] == proxy.admin("GET", "/").json()["hash"]
    assert proxy.scrape("/ready").status == 200
    # The limit is the same one, with what was used of it.
    assert [proxy.request("GET", "/l").status for _ in range(3)] == [200, 200, 429]
    # Put right, even by what is in force already: that is told too.
    replace(proxy.policy_path, good)
    wait_until(lambda: proxy.metric("config_last_reload_successful") == 1, SECONDS, "put right")
    assert proxy.metric("config_reloads_total", result="failure") == 1
    assert proxy.request("GET", "/l").status == 429


def test_what_is_touched_is_not_loaded(run_on, origin, tmp_path):
    """Seen by what comes after it: one reload, not two."""
    path = tmp_path / "p.yaml"
    path.write_text(policy(origin.url, [limited("/l", bucket(1))]))
    proxy = run_on(path)
    for number in range(3):
        os.utime(path, (number, number))
        (tmp_path / f"unrelated{number}.txt").write_text("x")
    replace(path, policy(origin.url, [limited("/l", bucket(2))]))
    wait_burst(proxy, 2)
    assert proxy.metric("config_reloads_total", result="success") == 1


def test_by_signal_only(run_on, origin, tmp_path):
    path = tmp_path / "p.yaml"
    path.write_text(policy(origin.url, [limited("/l", bucket(1))], reload="signal"))
    patient = run_on(path)
    # Another one that watches the same file tells when the change could have been seen.
    other = tmp_path / "other" / "p.yaml"
    other.parent.mkdir()
    other.write_text(policy(origin.url, [limited("/l", bucket(1))]))
    watching = run_on(other)
    replace(path, policy(origin.url, [limited("/l", bucket(2))], reload="signal"))
    replace(other, policy(origin.url, [limited("/l", bucket(2))]))
    wait_burst(watching, 2)
    assert shown_burst(patient) == 1
    patient.send_signal(signal.SIGHUP)
    wait_burst(patient, 2)
    assert patient.metric("config_reloads_total", result="success") == 1


def test_what_runs_ends_as_it_began(start, make_origin):
    arrived, may_go_on = threading.Event(), threading.Event()

    def handler(_request, connection):
        arrived.set()
        may_go_on.wait(20)
        connection.answer(200, b"old")

    origin = make_origin(handler)
    proxy = start(policy(origin.url, [limited("/l", bucket(5))]))
    answers = []
    asking = threading.Thread(target=lambda: answers.append(proxy.request("GET", "/l", timeout_s=30)))
    asking.start()
    assert arrived.wait(10)
    # The route is gone, and so is the service.
    replace(proxy.policy_path, policy("http://127.0.0.1:1", [limited("/m", bucket(9))]))
    wait_burst(proxy, 9)
    may_go_on.set()
    asking.join(30)
    assert (answers[0].status, answers[0].body) == (200, b"old")
    assert proxy.request("GET", "/l").status == 502


def test_a_folder_that_is_not_there_yet_comes(start, origin, tmp_path):
    """A file of values whose folder is replaced by another one, as a Secret's may be."""
    folder = tmp_path / "secrets"
    folder.mkdir()
    (folder / "burst").write_text("2")
    proxy = start(policy(origin.url, [limited("/l", {**bucket(1), "burst": f"${{file:{folder}/burst}}"})]))
    before = proxy.admin("GET", "/").json()["hash"]
    os.rename(folder, tmp_path / "old")
    folder.mkdir()
    (folder / "burst").write_text("4")
    wait_until(lambda: proxy.admin("GET", "/").json()["hash"] != before, SECONDS, "reloaded")
    again = proxy.admin("GET", "/").json()["hash"]
    replace(folder / "burst", "5")
    wait_until(lambda: proxy.admin("GET", "/").json()["hash"] != again, SECONDS, "reloaded again")
