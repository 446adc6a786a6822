#!/usr/bin/python3
"""Makes deploy/grafana/dashboard.png (make dashboard-picture): the dashboard after a minute and a half in the
life of a shop, with what each panel's expressions gave on a real Prometheus.

Two Lockkeepers stand before the demo service and share a Redis.  Customers order, look, and change stock;
after a third of the time one customer goes wild, after two thirds Redis is gone for some seconds.  The panels,
their places, units and expressions are read from lockkeeper.json; the drawing is ours, not Grafana's.
"""

import argparse
import contextlib
import html
import itertools
import json
import os
import random
import re
import shutil
import sys
import tempfile
import threading
import time
import urllib.parse

import yaml

import rig
from harness import Lockkeeper, Process, Redis, free_port, request, wait_until

POLICY = """
listen: 127.0.0.1:0
metrics: 127.0.0.1:0
admin: off
upstream: {service}
store: {redis}
access_log: off
routes:
  - name: orders
    match: {{ path: /orders }}
    limits:
      - {{ name: per-user, key: "{{header.x-user-id}}", rate: 5/second, burst: 10, on_missing_key: deny }}
      - {{ name: shop, rate: 500/second }}
  - name: stock
    match: {{ path: "/stock/{{sku}}" }}
    lock: {{ key: "stock:{{path.sku}}", mode: by_method, wait: 2s, fencing: inject, expose: token }}
  - name: warehouse
    match: {{ path: /echo }}
    fence: {{ key: "stock:rope", scope: shared }}
  - name: search
    match: {{ path: /search }}
    limits: [{{ name: planned, key: "{{header.x-user-id}}", rate: 2/second, mode: shadow, on_missing_key: skip }}]
  - name: slow
    match: {{ path: /slow }}
    lock: {{ key: report, wait: 300ms }}
"""
# Rows of the dashboard that the picture shows.
ROWS = {"At a glance", "Limits", "Locks", "Store"}
RATE_S = 10
COLOURS = ["#73bf69", "#5794f2", "#f2cc0c", "#ff780a", "#b877d9", "#f2495c", "#8ab8ff", "#96d98d", "#ffcb7d", "#ca95e5"]
CELL_W, CELL_H, GAP = 50, 24, 6


# ---- the shop --------------------------------------------------------------------------------------


class Customers:
    """Threads that ask like people, until over is set."""

    def __init__(self, proxies, seconds):
        self.proxies, self.over, self.began, self.seconds = proxies, threading.Event(), time.monotonic(), seconds
        self.threads = [threading.Thread(target=self.live, args=(f"user-{n}", n), daemon=True) for n in range(10)]
        self.threads += [threading.Thread(target=self.go_wild, daemon=True) for _ in range(2)]
        for thread in self.threads:
            thread.start()

    def age(self):
        return (time.monotonic() - self.began) / self.seconds

    def ask(self, user, number, method, target, headers=None):
        """The token of the lock that the request had, or None."""
        with contextlib.suppress(OSError):
            proxy = self.proxies[number % len(self.proxies)]
            answer = request(proxy.listen, method, target, {"X-User-Id": user, **(headers or {})}, b"1")
            token = re.search(r"token=(\d+)", answer.header("Lock-Status") or "")
            return token and token[1]

    def live(self, user, number):
        dice = random.Random(number)
        while not self.over.wait(dice.uniform(0.05, 0.3)):
            method, target = dice.choice([("POST", "/orders"), ("GET", "/search?q=boat"), ("GET", "/stock/boat"),
                                          ("PUT", "/stock/rope"), ("PUT", "/stock/rope"), ("GET", "/slow?ms=25")])
            token = self.ask(user, number, method, target)
            if token and target == "/stock/rope":
                self.over.wait(dice.choice([0, 0, 0, 0.2]))  # who dawdles comes too late
                self.ask(user, number, "PUT", "/echo", {"Fencing-Token": token})

    def go_wild(self):
        for number in itertools.count():
            if self.over.wait(0.02):
                return
            if 0.33 < self.age() < 0.55:
                self.ask("user-wild", number, "POST", "/orders")

    def leave(self):
        self.over.set()
        for thread in self.threads:
            thread.join(20)


def live_through(redis, proxies, seconds):
    customers = Customers(proxies, seconds)
    pause = threading.Event()
    wait_until(lambda: customers.age() > 0.7, seconds, "two thirds", every_s=0.2)
    redis.kill()
    pause.wait(seconds / 12)
    redis.start()
    wait_until(lambda: customers.age() > 1, seconds, "the end", every_s=0.2)
    customers.leave()


# ---- the panels ------------------------------------------------------------------------------------


def ask_range(address, expression, seconds):
    expression = (expression.replace("$__rate_interval", f"{RATE_S}s").replace("$job", ".*").replace("$instance", ".*"))
    now = time.time()
    query = urllib.parse.urlencode({"query": expression, "start": now - seconds, "end": now, "step": 1})
    answer = request(address, "GET", f"/api/v1/query_range?{query}").json()
    assert answer["status"] == "success", answer
    return [(one["metric"], [(float(at), float(value)) for at, value in one["values"] if value not in ("NaN", "+Inf")])
            for one in answer["data"]["result"]]


def label(form, metric):
    return re.sub(r"\{\{(\w+)\}\}", lambda match: metric.get(match[1], ""), form)


def amount(value, unit):
    if unit == "percentunit":
        return f"{value * 100:.3g} %"
    if unit == "s":
        return f"{value:.3g} s" if value >= 1 else f"{value * 1000:.3g} ms"
    suffix = {"reqps": " req/s", "ops": " ops/s", "bytes": " B"}.get(unit, "")
    return f"{value:.3g}{suffix}"


def panel_series(address, panel, seconds):
    """[(legend, points)], the largest first."""
    found = [(label(target.get("legendFormat", ""), metric), points) for target in panel["targets"]
             for metric, points in ask_range(address, target["expr"], seconds)]
    return sorted((one for one in found if one[1]), key=lambda one: -max(value for _, value in one[1]))


def draw_stat(panel, series):
    value = series[0][1][-1][1] if series else 0
    unit = panel["fieldConfig"]["defaults"].get("unit")
    return f'<div class="stat">{html.escape(amount(value, unit))}</div>'


def draw_graph(panel, series, width, height, seconds):
    unit = panel["fieldConfig"]["defaults"].get("unit")
    top, now = max((value for _, points in series for _, value in points), default=1) or 1, time.time()
    left, right, bottom = 62, 8, 16
    step_x, step_y = (width - left - right) / seconds, (height - bottom - 6) / top
    parts = []
    for fraction in (0, 0.5, 1):
        y = height - bottom - top * fraction * step_y
        parts.append(f'<line x1="{left}" x2="{width - right}" y1="{y:.0f}" y2="{y:.0f}" class="grid"/>'
                     f'<text x="{left - 5}" y="{y + 4:.0f}" text-anchor="end">{amount(top * fraction, unit)}</text>')
    for ago in range(0, seconds, 30):
        parts.append(f'<text x="{width - right - ago * step_x:.0f}" y="{height - 3}" text-anchor="'
                     f'{"middle" if ago else "end"}">{f"-{ago} s" if ago else "now"}</text>')
    for number, (_, points) in reversed(list(enumerate(series))):
        line = path = ""
        last = None
        for at, value in points:
            x, y = width - right - (now - at) * step_x, height - bottom - value * step_y
            path += f'{"M" if last is None or at - last > 2 else "L"}{x:.1f} {y:.1f}'
            last = at
        line = f'<path d="{path}" stroke="{COLOURS[number % len(COLOURS)]}"/>'
        parts.append(line)
    legend = "".join(f'<span><i style="background:{COLOURS[n % len(COLOURS)]}"></i>{html.escape(name)}</span>'
                     for n, (name, _) in enumerate(series[:6]))
    return f'<svg width="{width}" height="{height}">{"".join(parts)}</svg><div class="legend">{legend}</div>'


def draw(address, seconds):
    """(the page, its width and height)."""
    with open(f"{rig.DEPLOY}/grafana/lockkeeper.json") as file:
        panels = json.load(file)["panels"]
    parts, shown, shift, end = [], False, 0, 0
    for panel in panels:
        at = panel["gridPos"]
        if panel["type"] == "row":
            shown = panel["title"] in ROWS
            if not shown:
                following = [p["gridPos"]["y"] for p in panels if p["type"] == "row" and p["gridPos"]["y"] > at["y"]]
                shift += (min(following) if following else at["y"]) - at["y"]
                continue
        if not shown:
            continue
        x, y = at["x"] * CELL_W, (at["y"] - shift) * CELL_H
        width, height = at["w"] * CELL_W - GAP, at["h"] * CELL_H - GAP
        end = max(end, y + height + GAP)
        place = f'style="left:{x}px;top:{y}px;width:{width}px;height:{height}px"'
        title = html.escape(panel["title"])
        if panel["type"] == "row":
            parts.append(f'<div class="row" {place}>{title}</div>')
            continue
        series = panel_series(address, panel, seconds)
        inner = draw_stat(panel, series) if panel["type"] == "stat" \
            else draw_graph(panel, series, width - 12, height - 64, seconds)
        parts.append(f'<div class="panel" {place}><b>{title}</b>{inner}</div>')
    style = """
body { margin: 0; background: #111217; color: #ccccdc; font: 11px "DejaVu Sans", sans-serif; }
#all { position: absolute; left: 8px; top: 8px; }
.panel { position: absolute; background: #181b1f; box-sizing: border-box; padding: 5px 6px; overflow: hidden; }
.row { position: absolute; font-size: 14px; line-height: 20px; font-weight: bold; }
b { font-size: 12px; font-weight: normal; color: #fff; display: block; margin-bottom: 3px; }
.stat { font-size: 27px; color: #73bf69; text-align: center; line-height: 58px; }
.legend { height: 36px; overflow: hidden; line-height: 13px; font-size: 10px; }
.legend span { margin-right: 9px; display: inline-block; }
.legend i { display: inline-block; width: 10px; height: 3px; margin: 0 4px 3px 0; }
path { fill: none; stroke-width: 1.5; } .grid { stroke: #2c3036; } text { fill: #8e8e9a; font-size: 10px; }
"""
    page = f'<!doctype html><meta charset="utf-8"><style>{style}</style><div id="all">{"".join(parts)}</div>'
    return page, 24 * CELL_W + 16 - GAP, end + 16 - GAP


def screenshot(directory, page, width, height, out):
    with open(f"{directory}/page.html", "w") as file:
        file.write(page)
    browser = next(name for name in ("chromium", "chromium-browser", "google-chrome") if rig.have(name))
    rig.run(browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
            f"--user-data-dir={directory}/profile", f"--window-size={width},{height}",
            f"--screenshot={directory}/page.png", f"file://{directory}/page.html")
    assert os.path.getsize(f"{directory}/page.png") > 10_000
    # Lines and letters on a plain ground: 64 colours are enough, and a third of the size.
    rig.run("pngquant", "--force", "--output", f"{directory}/page.png", "64", f"{directory}/page.png")
    shutil.copy(f"{directory}/page.png", out)


def run(stack, directory, options):
    service = Process([sys.executable, f"{rig.TOP}/tests/demo/service.py", "127.0.0.1:0"])
    stack.callback(service.kill)
    redis = Redis(f"{directory}/redis")
    stack.callback(redis.close)
    policy = POLICY.format(service=service.out.wait(lambda line: line.startswith("http"), 10, "the service"),
                           redis=redis.url)
    proxies = []
    for name in "ab":
        proxies.append(Lockkeeper(f"{directory}/{name}", policy))
        stack.callback(proxies[-1].kill)
        proxies[-1].wait_connected()
    targets = [f"{one.metrics_address[0]}:{one.metrics_address[1]}" for one in proxies]
    with open(f"{directory}/prometheus.yml", "w") as file:
        yaml.safe_dump({"global": {"scrape_interval": "1s"}, "scrape_configs": [
            {"job_name": "shop", "static_configs": [{"targets": targets}]}]}, file)
    port = free_port()
    stack.callback(Process(["prometheus", f"--config.file={directory}/prometheus.yml",
                            f"--storage.tsdb.path={directory}/data", f"--web.listen-address=127.0.0.1:{port}"]).kill)
    live_through(redis, proxies, options.seconds)
    page, width, height = draw(("127.0.0.1", port), options.seconds - RATE_S)
    screenshot(directory, page, width, height, options.out)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--seconds", type=int, default=100)
    parser.add_argument("--out", default=f"{rig.DEPLOY}/grafana/dashboard.png")
    options = parser.parse_args()
    missing = [name for name in ("prometheus", "redis-server", "pngquant") if not rig.have(name)]
    if missing or not any(rig.have(name) for name in ("chromium", "chromium-browser", "google-chrome")):
        sys.exit("picture: needs prometheus, redis-server, chromium and pngquant (Debian packages of these names)")
    directory = tempfile.mkdtemp(prefix="lockkeeper-picture-")
    try:
        with contextlib.ExitStack() as stack:
            run(stack, directory, options)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    print(f"{os.path.relpath(options.out)}: {os.path.getsize(options.out)} bytes")


if __name__ == "__main__":
    main()
