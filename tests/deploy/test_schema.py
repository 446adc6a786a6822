"""The JSON Schema as editors use it: the same verdict as `check` on every fixture, and what a language
server makes of it while one types.

What spans several keys, or needs the environment, files or a parser, no schema can tell: such fixtures
of tests/policy/bad say "# schema: silent", and for them, and only for them, the schema must be silent.
"""

import contextlib
import glob
import json
import os
import re
import subprocess
import threading

import pytest

import rig
from harness import binary

SCHEMA = "policies/schema.json"
FIXTURES = sorted(os.path.relpath(path, rig.TOP) for pattern in
                  ("tests/policy/good/*.yaml", "tests/policy/bad/*.yaml", "policies/*.yaml",
                   "policies/examples/*.yaml") for path in glob.glob(f"{rig.TOP}/{pattern}"))


@pytest.fixture(scope="module")
def complaints(npm):
    """{path: what the schema says}, of all fixtures."""
    done = rig.run("node", "--no-warnings", "schema.mjs", f"{rig.TOP}/{SCHEMA}",
                   *(f"{rig.TOP}/{path}" for path in FIXTURES), cwd=npm)
    return {os.path.relpath(path, rig.TOP): found for path, found in json.loads(done.stdout).items()}


@pytest.mark.parametrize("path", FIXTURES)
def test_same_verdict_as_check(complaints, path):
    done = subprocess.run([binary(), "check", path], cwd=rig.TOP, capture_output=True, timeout=60,
                          env={**os.environ, "JWT_SECRET": "x" * 32})
    assert done.returncode in (0, 1)
    with open(f"{rig.TOP}/{path}", "rb") as file:
        is_silent = b"\n# schema: silent\n" in file.read()
    if is_silent:
        assert done.returncode == 1 and complaints[path] == [], "take the line '# schema: silent' out"
    elif done.returncode == 1:
        assert complaints[path], "teach the schema, or say '# schema: silent' when no schema can tell"
    else:
        assert complaints[path] == []


# ---- a language server ---------------------------------------------------------------------------


class LanguageServer:
    """yaml-language-server, spoken to as an editor does: JSON-RPC on its standard input and output."""

    def __init__(self, where):
        self.child = subprocess.Popen(["node", "node_modules/.bin/yaml-language-server", "--stdio"], cwd=where,
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.changed, self.answers, self.diagnostics, self.last_id = threading.Condition(), {}, {}, 0
        threading.Thread(target=self.read_all, daemon=True).start()
        self.ask("initialize", {"processId": os.getpid(), "rootUri": f"file://{rig.TOP}", "capabilities": {
            "textDocument": {"completion": {"completionItem": {"documentationFormat": ["plaintext"]}},
                             "publishDiagnostics": {}}}})
        self.send("initialized", {})
        self.send("workspace/didChangeConfiguration", {"settings": {"yaml": {
            "validate": True, "completion": True, "hover": True, "schemaStore": {"enable": False}}}})

    def write(self, message):
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self.child.stdin.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        self.child.stdin.flush()

    def send(self, method, params):
        self.write({"method": method, "params": params})

    def ask(self, method, params):
        self.last_id += 1
        number = self.last_id
        self.write({"id": number, "method": method, "params": params})
        with self.changed:
            assert self.changed.wait_for(lambda: number in self.answers, 60), f"no answer to {method}"
            return self.answers[number]

    def read_all(self):
        with contextlib.suppress(ValueError, OSError):
            while True:
                length = 0
                while (line := self.child.stdout.readline()) not in (b"\r\n", b""):
                    if line.lower().startswith(b"content-length:"):
                        length = int(line.split(b":")[1])
                if length == 0:
                    return
                self.on_message(json.loads(self.child.stdout.read(length)))

    def on_message(self, message):
        if "method" in message and "id" in message:  # it asks the editor: nothing is configured
            items = message.get("params", {}).get("items")
            self.write({"id": message["id"], "result": [None] * len(items) if items else None})
        with self.changed:
            if "method" not in message:
                self.answers[message["id"]] = message.get("result")
            elif message["method"] == "textDocument/publishDiagnostics":
                params = message["params"]
                self.diagnostics[params["uri"]] = params["diagnostics"]
            self.changed.notify_all()

    def open(self, name, text):
        """The document as it is typed; it need not exist as a file."""
        uri = f"file://{rig.TOP}/policies/examples/{name}.yaml"
        self.send("textDocument/didOpen", {"textDocument": {
            "uri": uri, "languageId": "yaml", "version": 1, "text": text}})
        return uri

    def wait_diagnostics(self, uri):
        with self.changed:
            assert self.changed.wait_for(lambda: uri in self.diagnostics, 60), "no diagnostics"
            return self.diagnostics[uri]

    def at(self, method, uri, line, column):
        return self.ask(f"textDocument/{method}", {"textDocument": {"uri": uri},
                                                   "position": {"line": line, "character": column}})

    def close(self):
        self.child.kill()
        self.child.wait(10)
        self.child.stdin.close()


@pytest.fixture(scope="module")
def server(npm):
    one = LanguageServer(npm)
    yield one
    one.close()


HEAD = "# yaml-language-server: $schema=../schema.json\nupstream: http://127.0.0.1:3000\n"


def complete(server, name, text):
    """What is offered at the place marked with a bar: {word: the text that explains it}."""
    before, after = (HEAD + text).split("|")
    uri = server.open(name, before + after)
    answer = server.at("completion", uri, before.count("\n"), len(before.rsplit("\n", 1)[-1]))
    items = answer["items"] if isinstance(answer, dict) else answer
    return {item["label"]: item.get("documentation", "") for item in items}


def test_examples_are_clean_in_an_editor(server):
    for path in glob.glob(f"{rig.TOP}/policies/examples/*.yaml"):
        name = os.path.basename(path)[:-5]
        with open(path) as file:
            assert server.wait_diagnostics(server.open(name, file.read())) == [], name


def test_diagnostics(server):
    text = HEAD + "routes:\n  - name: api\n    limts: []\n    limits:\n      - { name: a, rate: 10/minut, algorithm: token }\n"
    found = server.wait_diagnostics(server.open("mistakes", text))
    lines = sorted((one["range"]["start"]["line"], one["message"]) for one in found)
    assert [line for line, _ in lines] == [4, 6, 6]
    assert "limts" in lines[0][1]
    assert any("token_bucket" in message and "sliding_log" in message for _, message in lines[1:])


@pytest.mark.parametrize("name,text,expected", [
    ("top", "|", {"routes", "store", "listen", "trusted_proxies"}),
    ("route", "routes:\n  - name: api\n    |", {"match", "limits", "lock", "fence"}),
    ("limit", "routes:\n  - name: api\n    limits:\n      - name: a\n        |", {"rate", "burst", "key", "mode"}),
    ("algorithm", "routes:\n  - name: api\n    limits:\n      - name: a\n        algorithm: |",
     {"token_bucket", "sliding_window", "sliding_log", "fixed_window"}),
    ("conflict", "routes:\n  - name: api\n    lock:\n      key: a\n      on_conflict: |", {"409", "423", "429"}),
])
def test_completion(server, name, text, expected):
    offered = complete(server, name, text)
    assert expected <= set(offered), sorted(offered)


def test_completion_and_hover_explain(server):
    offered = complete(server, "explained", "routes:\n  - name: api\n    limits:\n      - name: a\n        |")
    assert "whose budget" in str(offered["key"])
    uri = server.open("hover", HEAD + "drain_timeout: 10s\n")
    assert re.search(r"after SIGTERM", json.dumps(server.at("hover", uri, 2, 4)))
