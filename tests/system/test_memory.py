"""What the release build holds in memory: idle, with bodies passing through it, with idle connections.

RSS counts every page that is mapped and present, those of libraries that other processes share too."""

import os
import resource
import socket
import threading
import time

import pytest

from harness import BUILD, wait_until
from policies import policy
from raw import RawClient

MIB = 1 << 20
BODY_BYTES = int(os.environ.get("MEMORY_BODY_MIB", "1024")) * MIB
PIECE = b"x" * MIB
PAUSES = 8
PAUSE_S = 0.1


def smaps(pid):
    """Rss, Pss, Anonymous and the like, in KiB."""
    found = {}
    with open(f"/proc/{pid}/smaps_rollup") as file:
        for line in file.readlines()[1:]:
            name, value = line.split()[:2]
            found[name.rstrip(":")] = int(value)
    return found


def forget_peak(proxy):
    """VmHWM begins anew at what is resident now."""
    with open(f"/proc/{proxy.pid}/clear_refs", "w") as file:
        file.write("5")


def send_body(sock, size=BODY_BYTES):
    left = size
    while left > 0:
        piece = PIECE if left >= len(PIECE) else PIECE[:left]
        sock.sendall(piece)
        left -= len(piece)


def read_slowly(sock, size=BODY_BYTES):
    """Takes the bytes in small reads, and at times nothing for a while."""
    left, room = size, bytearray(32 * 1024)
    pause_every = size // PAUSES
    next_pause = size - pause_every
    while left > 0:
        count = sock.recv_into(room, min(left, len(room)))
        assert count > 0, f"{left} bytes are missing"
        left -= count
        if left < next_pause:
            next_pause -= pause_every
            time.sleep(PAUSE_S)


def warm_up(proxy):
    """One request there and back, so that what is made once is there."""
    assert proxy.request("POST", "/warm", body=b"x" * 300_000).status == 200
    return smaps(proxy.pid)["Rss"]


def report(what, **kib):
    print(f"\n{what}: " + ", ".join(f"{name} {value} KiB" for name, value in kib.items()))


@pytest.fixture
def pump(make_origin):
    """A service that sends BODY_BYTES for GET /down, and reads slowly what comes by POST /up."""
    def handler(request, connection):
        if request.target == "/down":
            connection.send(f"HTTP/1.1 200 OK\r\nContent-Length: {BODY_BYTES}\r\n\r\n")
            send_body(connection.sock)
        elif request.target == "/up":
            held = len(connection.file.peek())
            connection.file.read(held)
            read_slowly(connection.sock, BODY_BYTES - held)
            connection.answer(200, b"ok")
        else:
            connection.read_body(request)
            connection.answer(200, b"ok")

    return make_origin(handler)


if BUILD == "release":

    def test_idle_process_is_small(start, origin):
        proxy = start(policy(origin.url, workers=1))
        assert proxy.request("GET", "/").status == 200
        held = smaps(proxy.pid)
        report("idle", rss=held["Rss"], pss=held["Pss"], anonymous=held["Anonymous"])
        assert held["Rss"] < 8 * 1024, held

    def test_download_to_a_slow_client(start, pump):
        proxy = start(policy(pump.url))
        idle_kib = warm_up(proxy)
        forget_peak(proxy)
        with RawClient(proxy.listen, timeout_s=60) as client:
            client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 128 * 1024)
            client.send(b"GET /down HTTP/1.1\r\nHost: a\r\n\r\n")
            client.read_head()
            held = len(client.file.peek())
            client.file.read(held)
            read_slowly(client.sock, BODY_BYTES - held)
            peak_kib = proxy.resident_kib("VmHWM")
        report(f"{BODY_BYTES // MIB} MiB down", idle=idle_kib, peak=peak_kib)
        assert peak_kib - idle_kib <= 2 * 1024

    def test_upload_to_a_slow_service(start, pump):
        proxy = start(policy(pump.url))
        idle_kib = warm_up(proxy)
        forget_peak(proxy)
        with RawClient(proxy.listen, timeout_s=60) as client:
            client.send(f"POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: {BODY_BYTES}\r\n\r\n")
            sender = threading.Thread(target=send_body, args=(client.sock,))
            sender.start()
            client.read_head()
            sender.join()
            peak_kib = proxy.resident_kib("VmHWM")
        report(f"{BODY_BYTES // MIB} MiB up", idle=idle_kib, peak=peak_kib)
        assert peak_kib - idle_kib <= 2 * 1024

    def test_idle_connections(start, origin):
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        count = min(10_000, hard - 1000)
        assert count >= 1000, f"too few file descriptors: {hard}"
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        proxy = start(policy(origin.url, workers=1, max_connections=20000, access_log="off",
                             timeouts={"idle": "10m"}, upstream_options={"max_waiting": count}))
        idle_kib = warm_up(proxy)
        sockets = []
        try:
            for _ in range(count):
                sockets.append(socket.create_connection(proxy.listen, timeout=30))
                sockets[-1].sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            for sock in sockets:
                assert sock.recv(65536).startswith(b"HTTP/1.1 200")
            wait_until(lambda: proxy.metric("client_connections", state="idle") >= count, 30, "all idle")
            held_kib = smaps(proxy.pid)["Rss"]
        finally:
            for sock in sockets:
                sock.close()
        report(f"{count} idle connections", idle=idle_kib, held=held_kib)
        assert (held_kib - idle_kib) * 1024 / count <= 2048
        wait_until(lambda: proxy.metric("client_connections") == 0, 30, "all closed")
