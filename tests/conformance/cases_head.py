"""Request lines, targets, Host and field lines: RFC 9112 sections 2 to 5."""

from case import CLOSED, KEPT, Answer, Case, Seen

CASES = []
# Sent after every refused request on the same connection: what is refused must take it along.
TAIL = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"


def refused(name, group, rfc, send, status=400, tail=TAIL, **extra):
    """Nothing reaches the service, the client gets one answer, the connection is closed."""
    CASES.append(Case(name, group, rfc, send + tail, [], [Answer(status)], CLOSED, **extra))


def passed(name, group, rfc, send, target="/", method="GET", body=b"", after=KEPT, fields=None, **extra):
    """Exactly one request reaches the service, its answer the client."""
    answer = Answer(200, b"" if method == "HEAD" else f"{method} {target}".encode(), to=method)
    CASES.append(Case(name, group, rfc, send, [Seen(method, target, body, fields)], [answer], after, **extra))


def head(line, *fields):
    return b"\r\n".join([line, b"Host: a", *fields, b"", b""])


# ---- request line -----------------------------------------------------------------------------------
GROUP, RFC = "request line", "9112 3"


def line_refused(name, line, status=400, rfc=RFC, **extra):
    refused(name, GROUP, rfc, head(line), status, **extra)


passed("plain", GROUP, RFC, head(b"GET / HTTP/1.1"))
passed("extension-method", GROUP, "9110 9.1", head(b"PROPFIND /dav HTTP/1.1"), "/dav", "PROPFIND")
passed("empty-line-first", GROUP, "9112 2.2", b"\r\n" + head(b"GET /x HTTP/1.1"), "/x")
line_refused("unknown-method", b"GPOST / HTTP/1.1", {400, 405, 501}, rfc="9110 9.1, 15.6.2", basis="choice",
             note="a proxy may hand on what it does not know; ours has the registered methods")
line_refused("method-lower-case", b"get / HTTP/1.1", {400, 405, 501}, rfc="9110 9.1", basis="choice",
             note="methods are case-sensitive, so this is an unknown one")
line_refused("two-spaces-before-target", b"GET  / HTTP/1.1", rfc="9112 3", basis="choice",
             note="3 lets a lenient reader split at any white space; readers differ in where")
line_refused("two-spaces-before-version", b"GET /  HTTP/1.1", basis="choice", note="as two-spaces-before-target")
line_refused("tab-as-separator", b"GET\t/\tHTTP/1.1", basis="choice", note="as two-spaces-before-target")
line_refused("space-in-target", b"GET /a b HTTP/1.1", rfc="9112 3.2")
line_refused("space-after-version", b"GET / HTTP/1.1 ", basis="choice", note="as two-spaces-before-target",
             status={400, 505})
line_refused("space-first", b" GET / HTTP/1.1")
line_refused("no-version", b"GET /", {400, 505}, rfc="9112 3; 9112 B.1")
line_refused("http-0.9-simple", b"GET /", {400, 505}, rfc="9112 B.1")
line_refused("empty-target", b"GET  HTTP/1.1", {400, 505})
line_refused("only-method", b"GET", {400, 505})
line_refused("method-with-colon", b"GE:T / HTTP/1.1", rfc="9110 9.1")
line_refused("method-with-bracket", b"GE(T / HTTP/1.1", rfc="9110 9.1")
line_refused("method-with-nul", b"GE\0T / HTTP/1.1", rfc="9110 9.1")
line_refused("method-not-ascii", b"G\xc3\x8bT / HTTP/1.1", rfc="9110 9.1")
line_refused("version-lower-case", b"GET / http/1.1", {400, 505}, rfc="9112 2.3")
line_refused("version-two-digits", b"GET / HTTP/1.10", {400, 505}, rfc="9112 2.3")
line_refused("version-leading-zero", b"GET / HTTP/01.1", {400, 505}, rfc="9112 2.3")
line_refused("version-without-minor", b"GET / HTTP/1", {400, 505}, rfc="9112 2.3")
line_refused("version-with-space", b"GET / HTTP/ 1.1", {400, 505}, rfc="9112 2.3")
line_refused("version-hex", b"GET / HTTP/1.A", {400, 505}, rfc="9112 2.3")
line_refused("version-2.0", b"GET / HTTP/2.0", {400, 505}, rfc="9110 2.5, 15.6.6")
line_refused("version-3.1", b"GET / HTTP/3.1", {400, 505}, rfc="9110 2.5, 15.6.6")
line_refused("version-0.9", b"GET / HTTP/0.9", {400, 505}, rfc="9110 2.5, 15.6.6")
line_refused("version-1.2", b"GET / HTTP/1.2", {400, 505}, rfc="9110 2.5", basis="choice",
             note="a server may answer as 1.1; nobody sends 1.2, and services differ in what they take it for")
line_refused("other-protocol", b"GET / ICAP/1.0", {400, 505})
refused("http-2-preface", GROUP, "9113 3.4", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {400, 405, 501, 505}, tail=b"")
refused("tls-hello", GROUP, "9112 2.1", bytes.fromhex("1603010200010001fc0303") + bytes(64) + b"\r\n\r\n", tail=b"")
refused("binary", GROUP, "9112 2.1", bytes(range(1, 32)) + b"\r\n\r\n", tail=b"")
refused("answer-instead-of-request", GROUP, "9112 2.1", head(b"HTTP/1.1 200 OK"))
refused("line-ends-with-bare-lf", GROUP, "9112 2.2", b"GET / HTTP/1.1\nHost: a\r\n\r\n", basis="choice",
        note="2.2 lets a recipient take LF alone; who does not sees another head")
refused("all-lines-end-with-bare-lf", GROUP, "9112 2.2", b"GET / HTTP/1.1\nHost: a\n\n", basis="choice",
        note="as line-ends-with-bare-lf")
refused("bare-cr-in-line", GROUP, "9112 2.2", head(b"GET /a\rb HTTP/1.1"))
refused("bare-cr-ends-line", GROUP, "9112 2.2", b"GET / HTTP/1.1\rHost: a\r\n\r\n")
refused("cr-cr-lf", GROUP, "9112 2.2", b"GET / HTTP/1.1\r\r\nHost: a\r\n\r\n")
refused("white-space-line-first", GROUP, "9112 2.2", b" \r\n" + head(b"GET / HTTP/1.1"))

# ---- target -----------------------------------------------------------------------------------------
GROUP, RFC = "target", "9112 3.2"
passed("origin-form", GROUP, "9112 3.2.1", head(b"GET /a/b?c=d&e HTTP/1.1"), "/a/b?c=d&e")
passed("escapes-stay", GROUP, "9112 3.2.1", head(b"GET /a%2Fb%20c?d=%00%0d%0a HTTP/1.1"),
       "/a%2Fb%20c?d=%00%0d%0a")
passed("empty-query-stays", GROUP, "9112 3.2.1", head(b"GET /a? HTTP/1.1"), "/a?")
passed("question-mark-in-query", GROUP, "3986 3.4", head(b"GET /a?b?c=/ HTTP/1.1"), "/a?b?c=/")
passed("asterisk-of-options", GROUP, "9112 3.2.4", head(b"OPTIONS * HTTP/1.1"), "*", "OPTIONS")
passed("absolute-form", GROUP, "9112 3.2.2", head(b"GET http://a/x?y HTTP/1.1"), "/x?y",
       fields={"host": "a"})
passed("absolute-form-without-path", GROUP, "9112 3.2.1", head(b"GET http://a HTTP/1.1"), "/",
       fields={"host": "a"})
passed("absolute-form-query-without-path", GROUP, "9112 3.2.1", head(b"GET http://a?q HTTP/1.1"), "/?q",
       fields={"host": "a"})
passed("absolute-form-scheme-in-capitals", GROUP, "3986 3.1", head(b"GET HTTP://a/x HTTP/1.1"), "/x",
       fields={"host": "a"})
passed("absolute-form-options", GROUP, "9112 3.2.4", head(b"OPTIONS http://a HTTP/1.1"), "*", "OPTIONS")
refused("absolute-form-of-another-host", GROUP, "9112 3.2.2", head(b"GET http://b/x HTTP/1.1"), basis="choice",
        note="3.2.2 has the target win and Host be replaced; a difference between the two is an attack or a fault")
refused("absolute-form-of-another-port", GROUP, "9112 3.2.2", head(b"GET http://a:81/x HTTP/1.1"), basis="choice",
        note="as absolute-form-of-another-host")
refused("absolute-form-with-user", GROUP, "9110 4.2.4", head(b"GET http://u:p@a/x HTTP/1.1"))
refused("absolute-form-without-host", GROUP, "9110 4.2.1", head(b"GET http:///x HTTP/1.1"))
refused("absolute-form-of-ftp", GROUP, "9112 3.2.2", head(b"GET ftp://a/x HTTP/1.1"), {400, 421, 501}, basis="choice",
        note="not what this service serves")
refused("asterisk-of-get", GROUP, "9112 3.2.4", head(b"GET * HTTP/1.1"))
refused("asterisk-and-more", GROUP, "9112 3.2.4", head(b"OPTIONS *x HTTP/1.1"))
refused("relative-target", GROUP, RFC, head(b"GET x/y HTTP/1.1"))
refused("query-alone", GROUP, RFC, head(b"GET ?x HTTP/1.1"))
refused("fragment", GROUP, RFC, head(b"GET /a#b HTTP/1.1"))
refused("authority-form-of-get", GROUP, "9112 3.2.3", head(b"GET a:80 HTTP/1.1"))
refused("connect", GROUP, "9110 9.3.6", b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", {400, 405, 501})
refused("connect-with-path", GROUP, "9112 3.2.3", head(b"CONNECT /x HTTP/1.1"), {400, 405, 501})
refused("target-with-nul", GROUP, RFC, head(b"GET /a\0b HTTP/1.1"))
refused("target-with-tab", GROUP, RFC, head(b"GET /a\tb HTTP/1.1"))
refused("target-with-del", GROUP, RFC, head(b"GET /a\x7fb HTTP/1.1"))
refused("target-not-ascii", GROUP, RFC, head("GET /é HTTP/1.1".encode()))
refused("target-with-quote", GROUP, RFC, head(b'GET /a"b HTTP/1.1'), basis="choice",
        note="not a URI; browsers escape it")
refused("target-with-angle", GROUP, RFC, head(b"GET /<a> HTTP/1.1"), basis="choice", note="as target-with-quote")
refused("target-with-backslash", GROUP, RFC, head(b"GET /a\\..\\b HTTP/1.1"), basis="choice",
        note="not a URI; some services take it for a slash")
refused("target-with-escaped-nul", GROUP, "9110 17.3", head(b"GET /a%00b HTTP/1.1"), basis="choice",
        note="a legal URI; services that end strings at NUL see another path than the routes")
refused("target-with-broken-escape", GROUP, "3986 2.1", head(b"GET /a%zz HTTP/1.1"))
refused("target-with-cut-escape", GROUP, "3986 2.1", head(b"GET /a%4 HTTP/1.1"))

# ---- Host -------------------------------------------------------------------------------------------
GROUP, RFC = "Host", "9112 3.2"


def host_refused(name, *lines, rfc=RFC, **extra):
    refused(name, GROUP, rfc, b"\r\n".join([b"GET / HTTP/1.1", *lines, b"", b""]), **extra)


def host_passed(name, value, rfc="9110 7.2", **extra):
    passed(name, GROUP, rfc, b"GET / HTTP/1.1\r\nHost: " + value + b"\r\n\r\n",
           fields={"host": value.decode().strip()}, **extra)


host_passed("host-with-port", b"shop.test:8080")
host_passed("host-ipv4", b"127.0.0.1:80")
host_passed("host-ipv6", b"[::1]:8080")
host_passed("host-in-capitals", b"SHOP.Test")
host_passed("host-with-spaces-around", b"  shop.test \t")
host_refused("host-missing")
host_refused("host-twice", b"Host: a", b"Host: b")
host_refused("host-twice-the-same", b"Host: a", b"Host: a")
host_refused("host-twice-apart", b"Host: a", b"X-A: 1", b"hOST: a")
host_refused("host-empty", b"Host:", basis="choice", note="legal only for targets without an authority")
host_refused("host-list", b"Host: a, b")
host_refused("host-with-space", b"Host: a b")
host_refused("host-with-path", b"Host: a/b", rfc="9110 7.2")
host_refused("host-with-user", b"Host: u@a", rfc="9110 7.2")
host_refused("host-with-query", b"Host: a?b", rfc="9110 7.2")
host_refused("host-with-fragment", b"Host: a#b", rfc="9110 7.2")
host_refused("host-port-not-a-number", b"Host: a:b", rfc="9110 7.2")
host_refused("host-port-too-large", b"Host: a:65536", rfc="9110 7.2", basis="choice",
             note="the grammar has any number of digits; no such port exists")
host_refused("host-two-ports", b"Host: a:80:81", rfc="9110 7.2")
host_refused("host-broken-ipv6", b"Host: [::1", rfc="3986 3.2.2")
host_refused("host-ipv6-and-more", b"Host: [::1]x", rfc="3986 3.2.2")
host_refused("host-not-ascii", "Host: é".encode(), rfc="3986 3.2.2")
host_refused("host-with-nul", b"Host: a\0b", rfc="9110 5.5")
host_refused("host-space-before-colon", b"Host : a", rfc="9112 5.1")
host_refused("host-folded", b"Host: a", b" b", rfc="9112 5.2")
host_refused("host-in-second-spelling", b"Host: a", b"Host : b", rfc="9112 5.1")
passed("http-1.0-without-host", GROUP, "9112 3.2", b"GET /old HTTP/1.0\r\n\r\n", "/old", after=CLOSED)

# ---- field lines ------------------------------------------------------------------------------------
GROUP, RFC = "field lines", "9112 5"


def field_refused(name, *lines, rfc=RFC, status=400, **extra):
    refused(name, GROUP, rfc, head(b"GET / HTTP/1.1", *lines), status, **extra)


def field_passed(name, line, fields, rfc=RFC, **extra):
    passed(name, GROUP, rfc, head(b"GET / HTTP/1.1", line), fields=fields, **extra)


field_passed("value-trimmed", b"X-A: \t one two \t ", {"x-a": "one two"}, "9112 5.1")
field_passed("value-without-space", b"X-A:1", {"x-a": "1"}, "9112 5.1")
field_passed("value-empty", b"X-A:", {"x-a": ""}, "9112 5.1")
field_passed("value-with-colons", b"X-A: b: c:d", {"x-a": "b: c:d"}, "9112 5.1")
field_passed("value-with-tab", b"X-A: b\tc", {"x-a": "b\tc"}, "9110 5.5")
field_passed("value-obs-text", b"X-A: \xe9\xff", {"x-a": "\xe9\xff"}, "9110 5.5")
field_passed("same-name-keeps-order", b"X-A: 1\r\nX-B: 2\r\nx-a: 3", {"x-a": "1, 3", "x-b": "2"}, "9110 5.3")
field_passed("every-token-character", b"!#$%&'*+-.^_`|~9aZ: 1", {"!#$%&'*+-.^_`|~9az": "1"}, "9110 5.6.2",
             basis="choice", note="a proxy may drop names it does not like; ours passes all that are legal")
field_refused("space-before-colon", b"X-A : 1", rfc="9112 5.1")
field_refused("tab-before-colon", b"X-A\t: 1", rfc="9112 5.1")
field_refused("space-before-name", b" X-A: 1", rfc="9112 2.2, 5.2")
refused("space-before-first-name", GROUP, "9112 2.2", b"GET / HTTP/1.1\r\n X-A: 1\r\nHost: a\r\n\r\n")
field_refused("folded-line", b"X-A: 1", b" 2", rfc="9112 5.2", basis="choice",
              note="5.2 allows to refuse or to unfold; a service that does neither sees another field")
field_refused("folded-with-tab", b"X-A: 1", b"\t2", rfc="9112 5.2", basis="choice", note="as folded-line")
field_refused("folded-empty", b"X-A: 1", b" ", rfc="9112 5.2", basis="choice", note="as folded-line")
field_refused("no-colon", b"X-A")
field_refused("no-name", b": 1", rfc="9110 5.1")
field_refused("name-with-space", b"X A: 1", rfc="9110 5.1")
field_refused("name-with-nul", b"X\0A: 1", rfc="9110 5.1")
field_refused("name-with-slash", b"X/A: 1", rfc="9110 5.1")
field_refused("name-with-at", b"X@A: 1", rfc="9110 5.1")
field_refused("name-quoted", b'"X-A": 1', rfc="9110 5.1")
field_refused("name-not-ascii", "X-É: 1".encode(), rfc="9110 5.1")
field_refused("value-with-nul", b"X-A: b\0c", rfc="9110 5.5")
field_refused("value-with-bell", b"X-A: b\x07c", rfc="9110 5.5", basis="choice",
              note="5.5 lets other control bytes stay in safe contexts; a log is none")
field_refused("value-with-del", b"X-A: b\x7fc", rfc="9110 5.5", basis="choice", note="as value-with-bell")
field_refused("value-with-bare-cr", b"X-A: b\rc", rfc="9112 2.2, 9110 5.5")
field_refused("value-with-bare-lf", b"X-A: b\nX-B: c", rfc="9112 2.2", basis="choice",
              note="as line-ends-with-bare-lf")
field_refused("injected-request-by-bare-lf", b"X-A: b\n\nGET /smuggled HTTP/1.1\nHost: a", rfc="9112 2.2", basis="choice",
              note="as line-ends-with-bare-lf; who takes LF for a line end makes two requests of it")
field_refused("injected-request-by-bare-cr", b"X-A: b\r\rGET /smuggled HTTP/1.1\rHost: a", rfc="9112 2.2")
field_refused("vertical-tab-before-colon", b"X-A\x0b: 1", rfc="9112 5.1")
field_refused("form-feed-in-value", b"X-A: 1\x0c2", rfc="9110 5.5", basis="choice", note="as value-with-bell")
refused("cr-cr-lf-ends-head", GROUP, "9112 2.2", b"GET / HTTP/1.1\r\nHost: a\r\n\r\r\n")
refused("lf-ends-head", GROUP, "9112 2.2", b"GET / HTTP/1.1\r\nHost: a\r\n\n", basis="choice",
        note="as line-ends-with-bare-lf")
passed("escaped-line-end-in-query-stays-escaped", GROUP, "9112 11.1", head(b"GET /?x=1%0d%0aX-Evil:%201 HTTP/1.1"),
       "/?x=1%0d%0aX-Evil:%201", fields={"x-evil": None})
