"""Connections: persistence, pipelining, what belongs to one hop, Upgrade, half-close, aborts."""

from case import (ABORT, CLOSE, CLOSED, EITHER, KEPT, SHUT, Answer, Arrived, BodyHas, Case, Ended, Gets, Read, Reconnect,
                  Seen, Signal, Whole)
from cases_head import head
from cases_framing import SMUGGLED, TE, post
from service import EARLY, ENDED, FIN, RESET, TUNNEL, Takes, Until

CASES = []
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def case(name, rfc, send, seen, answers, after, **extra):
    CASES.append(Case(name, GROUP, rfc, send, seen, answers, after, **extra))


def one(name, rfc, fields, seen_fields, after=KEPT, line=b"GET / HTTP/1.1", answer_fields=None, **extra):
    method, target = line.decode().split(" ")[:2]
    case(name, rfc, head(line, *fields), [Seen(method, target, fields=seen_fields)],
         [Answer(200, f"{method} {target}".encode(), answer_fields)], after, **extra)


def lacks_option(option):
    return lambda values: option not in ", ".join(values).lower()


# ---- persistence and pipelining -----------------------------------------------------------------------
GROUP = "persistence"
one("kept-by-default", "9112 9.3", (), {})
one("close-honoured", "9112 9.6", (b"Connection: close",), {"connection": lacks_option("keep-alive")}, CLOSED,
    answer_fields={"connection": "close"})
one("close-in-a-list", "9112 9.6", (b"Connection: x-hop, CLOSE",), {}, CLOSED)
one("close-in-second-field", "9112 9.6", (b"Connection: x-hop", b"Connection: close"), {}, CLOSED)
one("close-beats-keep-alive", "9112 9.3", (b"Connection: keep-alive, close",), {}, CLOSED)
one("close-does-not-reach-the-service", "9110 7.6.1", (b"Connection: close",), {"connection": lacks_option("x-hop")}, CLOSED)
one("http-1.0-closes", "9112 9.3", (), {}, CLOSED, line=b"GET /old HTTP/1.0")
one("http-1.0-keep-alive", "9112 9.3", (b"Connection: keep-alive",), {}, KEPT, line=b"GET /old HTTP/1.0", basis="choice",
    note="a server may close; old clients such as ab ask for it", answer_fields={"connection": "keep-alive"})
one("http-1.0-goes-on-as-1.1", "9110 2.5", (), {}, CLOSED, line=b"GET /old HTTP/1.0")
case("close-drops-the-next-request", "9112 9.6", head(b"GET /1 HTTP/1.1", b"Connection: close") + SMUGGLED,
     [Seen(target="/1")], [Answer(200, b"GET /1")], CLOSED)
case("pipeline-of-three", "9112 9.3.2", b"".join(head(b"GET /%d HTTP/1.1" % n) for n in (1, 2, 3)),
     [Seen(target=f"/{n}") for n in (1, 2, 3)], [Answer(200, b"GET /%d" % n) for n in (1, 2, 3)], KEPT)
case("pipeline-with-bodies", "9112 9.3.2", post(b"Content-Length: 3", body=b"one") +
     post(TE, body=b"3\r\ntwo\r\n0\r\n\r\n") + head(b"GET /3 HTTP/1.1"),
     [Seen("POST", "/p", b"one"), Seen("POST", "/p", b"two"), Seen(target="/3")],
     [Answer(200, b"POST /p"), Answer(200, b"POST /p"), Answer(200, b"GET /3")], KEPT)
case("pipeline-waits-its-turn", "9112 9.3.2", [head(b"GET /1 HTTP/1.1") + head(b"GET /2 HTTP/1.1"), Arrived(1), Signal("go")],
     [Seen(target="/1"), Seen(target="/2")], [Answer(200, b"ok"), Answer(200, b"GET /2")], KEPT,
     service=[[Until("go"), OK]])
case("pipeline-of-unsafe-in-order", "9112 9.3.2", b"".join(post(b"Content-Length: 1", body=b"%d" % n) for n in range(4)),
     [Seen("POST", "/p", b"%d" % n) for n in range(4)], [Answer(200, b"POST /p")] * 4, KEPT)
case("pipeline-error-ends-it", "9112 9.3.2, 11.2", head(b"GET /1 HTTP/1.1") + b"BAD\r\n\r\n" + SMUGGLED,
     [Seen(target="/1")], [Answer(200, b"GET /1"), Answer({400, 505})], CLOSED)
case("pipeline-bad-framing-ends-it", "9112 9.3.2, 11.2", head(b"GET /1 HTTP/1.1") +
     post(b"Content-Length: x", body=SMUGGLED), [Seen(target="/1")], [Answer(200, b"GET /1"), Answer(400)], CLOSED)
case("pipeline-head-and-get", "9112 6.3", head(b"HEAD /1 HTTP/1.1") + head(b"GET /2 HTTP/1.1"),
     [Seen("HEAD", "/1"), Seen(target="/2")], [Answer(200, b"", to="HEAD"), Answer(200, b"GET /2")], KEPT)
case("empty-line-between-requests", "9112 2.2", head(b"GET /1 HTTP/1.1") + b"\r\n" + head(b"GET /2 HTTP/1.1"),
     [Seen(target="/1"), Seen(target="/2")], [Answer(200, b"GET /1"), Answer(200, b"GET /2")], KEPT)
case("empty-line-after-post", "9112 2.2", post(b"Content-Length: 2", body=b"ab\r\n") + head(b"GET /2 HTTP/1.1"),
     [Seen("POST", "/p", b"ab"), Seen(target="/2")], [Answer(200, b"POST /p"), Answer(200, b"GET /2")], KEPT)
case("split-in-the-line-end", "9112 2.2", [b"GET /1 HTTP/1.1\r\nHost: a\r", b"\n\r", b"\nGET /2 HTTP/1.1\r\nHo", b"st: a\r\n\r\n"],
     [Seen(target="/1"), Seen(target="/2")], [Answer(200, b"GET /1"), Answer(200, b"GET /2")], KEPT)
case("split-in-the-chunks", "9112 7.1", [post(TE) + b"1", b"0\r", b"\n0123456789", b"abcdef\r", b"\n0", b"\r\n\r", b"\n"],
     [Seen("POST", "/p", b"0123456789abcdef")], [Answer(200, b"POST /p")], KEPT)

# ---- what belongs to one hop ----------------------------------------------------------------------------
GROUP = "hop by hop"
one("nominated-field-stays", "9110 7.6.1", (b"Connection: X-Hop", b"X-Hop: 1", b"X-End: 2"), {"x-hop": None, "x-end": "2"})
one("nominated-in-another-case", "9110 7.6.1", (b"x-HOP: 1", b"connection: close , x-hop"), {"x-hop": None}, CLOSED)
one("nominated-after-and-before", "9110 7.6.1", (b"X-Hop: 1", b"Connection: X-Hop", b"X-hop: 2"), {"x-hop": None})
one("nominated-twice", "9110 7.6.1", (b"X-A: 1", b"X-B: 1", b"Connection: X-A", b"Connection: X-B"), {"x-a": None, "x-b": None})
one("nominated-but-missing", "9110 7.6.1", (b"Connection: X-Hop",), {"x-hop": None})
one("keep-alive-stays", "9110 7.6.1", (b"Keep-Alive: timeout=5",), {"keep-alive": None})
one("proxy-connection-stays", "9110 7.6.1", (b"Proxy-Connection: keep-alive",), {"proxy-connection": None})
one("te-stays", "9110 10.1.4", (b"TE: trailers, gzip", b"Connection: TE"), {"te": lambda values: "gzip" not in ",".join(values)})
one("trailer-stays", "9110 6.6.2", (b"Trailer: X-T",), {"trailer": None}, basis="choice",
    note="Trailer may go on; as trailers do not, it would announce what never comes")
one("proxy-authorization-stays", "9110 11.7.2", (b"Proxy-Authorization: Basic eA==",), {"proxy-authorization": None},
    basis="choice", note="it is meant for the first proxy that asks for it: one that asks for none may pass it on")
one("connection-is-rewritten", "9110 7.6.1", (b"Connection: X-Hop, X-Other",),
    {"connection": lambda values: "x-hop" not in ",".join(values).lower()})
one("via-added", "9110 7.6.3", (), {"via": lambda values: values and values[-1].startswith("1.1 ")})
one("via-appended", "9110 7.6.3", (b"Via: 1.0 first",),
    {"via": lambda values: ", ".join(values).startswith("1.0 first, 1.1 ")})
one("via-tells-http-1.0", "9110 7.6.3", (), {"via": lambda values: values and values[-1].startswith("1.0 ")}, CLOSED,
    line=b"GET / HTTP/1.0")
one("via-on-answers", "9110 7.6.3", (), {}, answer_fields={"via": lambda values: values}, basis="choice",
    note="a gateway may leave it out of answers")
one("max-forwards-stays-for-get", "9110 7.6.2", (b"Max-Forwards: 0",), {"max-forwards": "0"})
for method, value, forwarded in ((b"OPTIONS", b"10", "9"), (b"TRACE", b"1", "0")):
    one(f"max-forwards-counts-down-for-{method.decode().lower()}", "9110 7.6.2", (b"X-A: 1", b"max-forwards: " + value),
        {"max-forwards": forwarded, "x-a": "1"}, line=method + b" / HTTP/1.1")
case("max-forwards-ends-options", "9110 7.6.2, 9.3.7", head(b"OPTIONS / HTTP/1.1", b"Max-Forwards: 0") + head(b"GET /2 HTTP/1.1"),
     [Seen(target="/2")], [Answer({200, 204}, b""), Answer(200, b"GET /2")], KEPT)
case("max-forwards-ends-trace", "9110 7.6.2, 9.3.8", head(b"TRACE / HTTP/1.1", b"Max-Forwards: 0") + head(b"GET /2 HTTP/1.1"),
     [Seen(target="/2")], [Answer({200, 405, 501}), Answer(200, b"GET /2")], KEPT)
case("max-forwards-malformed", "9110 7.6.2", head(b"OPTIONS / HTTP/1.1", b"Max-Forwards: -1"), [], [Answer(400)], EITHER,
     basis="choice", note="whether it may be forwarded cannot be told")
one("end-to-end-fields-go-on", "9110 7.6.1", (b"Authorization: x", b"Cookie: y=z", b"Range: bytes=0-1", b"If-Match: \"a\""),
    {"authorization": "x", "cookie": "y=z", "range": "bytes=0-1", "if-match": '"a"'})
one("spoofed-forwarded-for-replaced", "7239 8.1", (b"X-Forwarded-For: 9.9.9.9", b"X-Forwarded-Proto: https", b"Forwarded: for=9.9.9.9"),
    {"x-forwarded-for": "127.0.0.1", "x-forwarded-proto": "http", "forwarded": None}, basis="choice",
    note="nobody vouches for what this client says of itself")
one("underscores-go-on", "9110 5.1", (b"X_Own: 1", b"X-Own: 2"), {"x_own": "1", "x-own": "2"})
for field in (b"X_Forwarded_For: 9.9.9.9", b"x-forwarded_proto: https", b"Fencing_Token: 9", b"Transfer_Encoding: chunked"):
    name = field.decode().split(":")[0].lower()
    one(f"{name.replace('_', '-')}-in-disguise-stays", "3875 4.1.18; 7239 8.1", (field,),
        {name: None, "x-forwarded-for": "127.0.0.1", "x-forwarded-proto": "http"}, basis="choice",
        note="services that see fields as CGI does cannot tell it from the one with hyphens, which is ours to write")
for kind, option in (("answer-nominated-stays", b"Connection: X-Hop\r\nX-Hop: 1"), ("answer-keep-alive-stays", b"Keep-Alive: timeout=5"),
                     ("answer-proxy-authenticate-stays", b"Proxy-Authenticate: Basic"), ("answer-upgrade-stays", b"Upgrade: h2c")):
    name = option.decode().split("\r\n")[-1].split(":")[0].lower()
    case(kind, "9110 7.6.1", head(b"GET / HTTP/1.1"), [Seen()], [Answer(200, b"ok", {name: None, "x-end": "1"})], KEPT,
         service=[[b"HTTP/1.1 200 OK\r\n" + option + b"\r\nX-End: 1\r\nContent-Length: 2\r\n\r\nok"]],
         **({"basis": "choice", "note": "a gateway that is no proxy of the client's may pass it; it means nothing there"}
            if name in ("proxy-authenticate", "upgrade") else {}))

# ---- Upgrade ------------------------------------------------------------------------------------------
GROUP = "Upgrade"
H2C = (b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA", b"Connection: Upgrade, HTTP2-Settings")
one("h2c-does-not-reach-the-service", "9110 7.8; 7540 3.2", H2C, {"upgrade": None, "http2-settings": None}, basis="choice",
    note="as upgrade-to-tls-not-offered")
one("h2c-in-a-list", "9110 7.8", (b"Upgrade: websocket, h2c", b"Connection: upgrade, http2-settings", b"HTTP2-Settings: AA"),
    {"upgrade": lambda values: "h2c" not in ",".join(values)}, EITHER)
one("upgrade-without-connection", "9110 7.8", (b"Upgrade: websocket",), {"upgrade": None})
one("connection-upgrade-without-upgrade", "9110 7.8", (b"Connection: upgrade",), {"upgrade": None})
one("upgrade-in-http-1.0", "9110 7.8", (b"Upgrade: websocket", b"Connection: upgrade"), {"upgrade": None}, CLOSED,
    line=b"GET / HTTP/1.0")
WEBSOCKET = (b"Upgrade: websocket", b"Connection: Upgrade", b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
             b"Sec-WebSocket-Version: 13")
HANDSHAKE = head(b"GET /ws HTTP/1.1", *WEBSOCKET)


def switching(*fields, line=b"HTTP/1.1 101 Switching Protocols"):
    return b"\r\n".join([line, *fields, b"", b""])


SWITCHED = switching(b"Upgrade: websocket", b"Connection: Upgrade", b"Sec-WebSocket-Accept: ICX+Yqv66kxgM0FcWaLWlFLwTAI=")


def offers(*protocols):
    return lambda values: ", ".join(values).lower() == ", ".join(protocols)


def has_upgrade(values):
    return "upgrade" in [option.strip().lower() for option in ",".join(values).split(",")]


def through(data, **fields):
    """The handshake at the service, and what came through the tunnel."""
    return Seen(target="/ws", tunnel=data, fields={"upgrade": offers("websocket"), "connection": has_upgrade,
                                                   "sec-websocket-version": "13", **fields})


ANSWER_101 = Answer(101, fields={"upgrade": offers("websocket"), "connection": has_upgrade,
                                 "sec-websocket-accept": "ICX+Yqv66kxgM0FcWaLWlFLwTAI="})


def tunnel(name, rfc, send, came_through, service, **extra):
    case(name, rfc, send, [through(came_through)], [ANSWER_101], CLOSED, service=[[SWITCHED, TUNNEL] + service], **extra)


def refused_101(name, rfc, answer, request=HANDSHAKE, **extra):
    """The 101 is no answer to what was offered: 502, and what follows is a request."""
    case(name, rfc, [request, Read(1), SMUGGLED], [Seen(target="/ws"), Seen(target="/smuggled")],
         [Answer(502), Answer(200, b"GET /smuggled")], EITHER, service=[[answer]], **extra)


tunnel("tunnel", "9110 7.8", [HANDSHAKE, Read(1), b"ping", Gets(b"pong"), b"\x00\xff\r\n\r\n", Gets(b"\r\n\x00"), SHUT],
       b"ping\x00\xff\r\n\r\n", [Takes(b"ping"), b"pong", Takes(b"\xff\r\n\r\n"), b"\r\n\x00", ENDED, FIN])
tunnel("tunnel-bytes-right-behind-the-request", "9110 7.8", [HANDSHAKE + b"early", Read(1), Gets(b"got it"), SHUT], b"early",
       [Takes(b"early"), b"got it", ENDED, FIN], basis="choice",
       note="a client should wait for the 101; what it sends before is not a request any more once that has come")
tunnel("tunnel-request-right-behind-the-request", "9110 7.8", [HANDSHAKE + SMUGGLED, Read(1), Gets(b"got it"), SHUT], SMUGGLED,
       [Takes(SMUGGLED), b"got it", ENDED, FIN], basis="choice", note="as tunnel-bytes-right-behind-the-request")
case("tunnel-bytes-right-behind-the-101", "9110 15.2.2", [HANDSHAKE, Read(1), Gets(b"hello"), SHUT], [through(b"")], [ANSWER_101], CLOSED,
     service=[[SWITCHED + b"hello", TUNNEL, ENDED, FIN]])
tunnel("tunnel-client-ends-first", "9110 7.8", [HANDSHAKE, Read(1), b"last", SHUT, Gets(b"goodbye")], b"last",
       [ENDED, b"goodbye", FIN], basis="choice", note="the end of one side is handed on, not taken for the end of both")
tunnel("tunnel-service-ends-first", "9110 7.8", [HANDSHAKE, Read(1), b"a", Gets(b"last"), Signal("on"), b"b", SHUT], b"ab",
       [Takes(b"a"), b"last", FIN, Takes(b"ab"), ENDED], basis="choice", note="as tunnel-client-ends-first")
tunnel("tunnel-client-half-closed-before-the-101", "9110 7.8", [HANDSHAKE, SHUT, Read(1), Gets(b"goodbye")], b"", [ENDED, b"goodbye", FIN],
       basis="choice", note="as tunnel-client-ends-first")
tunnel("tunnel-service-resets", "9110 7.8", [HANDSHAKE, Read(1), b"x"], b"x", [Takes(b"x"), RESET])
tunnel("tunnel-client-resets", "9110 7.8", [HANDSHAKE, Read(1), b"x", Gets(b"y"), ABORT, Ended(1)], b"x", [Takes(b"x"), b"y", Until("never")])
tunnel("tunnel-much", "9110 7.8", [HANDSHAKE, Read(1), b"u" * 300000, Gets(b"d" * 300000), SHUT], b"u" * 300000,
       [Takes(b"u" * 300000), b"d" * 300000, ENDED, FIN], basis="must")
tunnel("tunnel-idle", "9110 7.8", [HANDSHAKE, Read(1), b"x", Gets(b"y")], b"x", [Takes(b"x"), b"y", Until("never")], profile="hasty",
       basis="choice", note="nothing that waits may wait for ever")
case("103-before-101", "9110 15.2", [HANDSHAKE, Read(2), Gets(b"z"), SHUT], [through(b"")], [Answer(103), ANSWER_101], CLOSED,
     service=[[b"HTTP/1.1 103 Early Hints\r\n\r\n" + SWITCHED, TUNNEL, b"z", ENDED, FIN]])
case("upgrade-to-one-of-several", "9110 7.8", [head(b"GET /ws HTTP/1.1", b"Upgrade: foo/2, bar", b"Connection: x, upgrade", b"Upgrade: Baz"),
     Read(1), Gets(b"z"), SHUT], [Seen(target="/ws", fields={"upgrade": offers("foo/2", "bar", "baz"), "connection": has_upgrade})],
     [Answer(101, fields={"upgrade": offers("bar")})], CLOSED,
     service=[[switching(b"Connection: upgrade", b"Upgrade: BAR"), TUNNEL, b"z", ENDED, FIN]])
case("upgrade-not-taken-up", "9110 7.8", [HANDSHAKE, Read(1), head(b"GET /2 HTTP/1.1")],
     [Seen(target="/ws", fields={"upgrade": offers("websocket")}), Seen(target="/2")], [Answer(200, b"GET /ws"), Answer(200, b"GET /2")], KEPT)
case("pipelined-behind-upgrade-not-taken-up", "9110 7.8; 9112 9.3.2", HANDSHAKE + head(b"GET /2 HTTP/1.1"),
     [Seen(target="/ws"), Seen(target="/2")], [Answer(403, b"no"), Answer(200, b"GET /2")], KEPT,
     service=[[b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno"]], note="what came early is a request when no 101 comes")
case("426-tells-what-it-takes", "9110 15.5.22", head(b"GET /ws HTTP/1.1"), [Seen(target="/ws")],
     [Answer(426, b"", {"upgrade": offers("websocket"), "connection": has_upgrade})], KEPT,
     service=[[b"HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket, h2c\r\nConnection: upgrade\r\nContent-Length: 0\r\n\r\n"]],
     basis="choice", note="Upgrade is for one hop, but here it is the service that takes the offer")
one("upgrade-to-tls-not-offered", "2817; 9110 7.8", (b"Upgrade: TLS/1.0, HTTP/1.1", b"Connection: upgrade"), {"upgrade": None},
    basis="choice", note="requests behind such an upgrade would be seen by nobody here")
one("upgrade-to-http-2-not-offered", "9110 7.8", (b"Upgrade: HTTP/2.0, foo", b"Connection: upgrade"), {"upgrade": offers("foo")},
    basis="choice", note="as upgrade-to-tls-not-offered")
one("upgrade-malformed-not-offered", "9110 7.8", (b"Upgrade: web socket", b"Connection: upgrade"), {"upgrade": None},
    basis="choice", note="a server may ignore Upgrade; two readers may take this for different things")
case("websocket-with-body-not-offered", "9110 7.8", post(b"Upgrade: websocket", b"Connection: upgrade", b"Content-Length: 4", body=b"data"),
     [Seen("POST", "/p", b"data", {"upgrade": None})], [Answer(200, b"POST /p")], KEPT, basis="choice",
     note="a server may ignore Upgrade; the protocol could change only behind the body, and no known one does so")
refused_101("101-to-another-protocol", "9110 7.8", switching(b"Upgrade: foo", b"Connection: upgrade"))
refused_101("101-to-more-than-offered", "9110 7.8", switching(b"Upgrade: websocket, foo", b"Connection: upgrade"))
refused_101("101-without-upgrade", "9110 7.8", switching(b"Connection: upgrade"))
refused_101("101-without-connection", "9110 7.8", switching(b"Upgrade: websocket"))
refused_101("101-in-http-1.0", "9110 15.2", switching(b"Upgrade: websocket", b"Connection: upgrade", line=b"HTTP/1.0 101 Switching Protocols"))
refused_101("101-to-h2c-beside-websocket", "9110 7.8", switching(b"Upgrade: h2c", b"Connection: upgrade"),
            head(b"GET /ws HTTP/1.1", b"Upgrade: h2c, websocket", b"Connection: upgrade, http2-settings", b"HTTP2-Settings: AAMAAABk"),
            basis="choice", note="as upgrade-to-tls-not-offered")
case("101-unasked", "9110 15.2.2", head(b"GET / HTTP/1.1"), [Seen()], [Answer({502})], EITHER,
     service=[[b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: foo\r\nConnection: upgrade\r\n\r\nraw"]])
case("101-unasked-opens-no-tunnel", "9110 7.8", [head(b"GET / HTTP/1.1", *H2C), Read(1), SMUGGLED], [Seen(), Seen(target="/smuggled")],
     [Answer({502}), Answer(200)], EITHER,
     service=[[b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n"]],
     note="what follows is a request of its own, and is looked at as one")
case("upgrade-with-body", "9110 7.8", post(b"Upgrade: h2c", b"Connection: upgrade", b"Content-Length: 4", body=b"data"),
     [Seen("POST", "/p", b"data", {"upgrade": None})], [Answer(200, b"POST /p")], KEPT, basis="choice",
     note="as upgrade-to-tls-not-offered")
case("pipelined-behind-upgrade", "9110 7.8", head(b"GET /1 HTTP/1.1", *H2C) + head(b"GET /2 HTTP/1.1"),
     [Seen(target="/1"), Seen(target="/2")], [Answer(200, b"GET /1"), Answer(200, b"GET /2")], KEPT)

# ---- half-close and aborts ------------------------------------------------------------------------------
GROUP = "half-close and aborts"
case("half-close-after-request", "9112 9.6", [head(b"GET / HTTP/1.1"), SHUT], [Seen()], [Answer(200, b"GET /")], CLOSED, basis="choice",
     note="nothing is said of half-closed clients; ours get their answer")
case("half-close-while-waiting", "9112 9.6", [head(b"GET / HTTP/1.1"), Arrived(1), SHUT, Signal("go")], [Seen()], [Answer(200, b"ok")],
     CLOSED, service=[[Until("go"), OK]], basis="choice", note="as half-close-after-request")
case("half-close-after-pipeline", "9112 9.3.2", [head(b"GET /1 HTTP/1.1") + head(b"GET /2 HTTP/1.1"), SHUT],
     [Seen(target="/1"), Seen(target="/2")], [Answer(200, b"GET /1"), Answer(200, b"GET /2")], CLOSED,
     basis="choice", note="as half-close-after-request")
case("half-close-in-the-next-head", "9112 8", [head(b"GET /1 HTTP/1.1") + b"GET /2 HTTP/1.1\r\nHo", Arrived(1), SHUT, Signal("go")],
     [Seen(target="/1")], [Answer(200, b"ok")], CLOSED, service=[[Until("go"), OK]], basis="choice", note="as half-close-in-head")
case("half-close-in-head", "9112 8", [b"GET / HTTP/1.1\r\nHost: a\r\n", SHUT], [], [], CLOSED)
case("half-close-in-length-body", "9112 8", [post(b"Content-Length: 10", body=b"hello"), Arrived(1), SHUT, Ended(1)],
     [Seen("POST", "/p", None, is_complete=False)], [], CLOSED, basis="choice",
     note="a buffering proxy may keep all of it back; ours streams, and cuts the service's connection")
case("half-close-in-chunks", "9112 8", [post(TE, body=b"5\r\nhello\r\n"), BodyHas(b"hello"), SHUT, Ended(1)],
     [Seen("POST", "/p", None, is_complete=False)], [], CLOSED, basis="choice", note="as half-close-in-length-body")
case("half-close-before-last-line", "9112 7.1, 8", [post(TE, body=b"5\r\nhello\r\n0\r\n"), BodyHas(b"hello"), SHUT, Ended(1)],
     [Seen("POST", "/p", None, is_complete=False)], [], CLOSED, basis="choice", note="as half-close-in-length-body")
case("abort-in-body", "9112 8", [post(b"Content-Length: 10", body=b"hello"), BodyHas(b"hello"), ABORT, Ended(1)],
     [Seen("POST", "/p", None, is_complete=False)], [], CLOSED, basis="choice", note="as half-close-in-length-body")
case("close-in-head", "9112 8", [b"GET / HTTP/1.1\r\nHost: a\r\nX-A", CLOSE], [], [], CLOSED)
case("abort-while-waiting", "9112 9.5", [head(b"GET /1 HTTP/1.1"), Arrived(1), ABORT, Ended(1), Signal("go")], [Seen(target="/1")], [],
     EITHER, service=[[Until("go"), OK]], basis="choice",
     note="the service's connection is given up, so that its answer can reach nobody else")
case("abort-then-others-answer", "9112 9.5", [head(b"GET /1 HTTP/1.1"), Arrived(1), ABORT, Reconnect(), head(b"GET /2 HTTP/1.1"),
     Arrived(2), Signal("go")], [Seen(target="/1"), Seen(target="/2")], [Answer(200, b"GET /2")], KEPT,
     service=[[Until("go"), b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nGET /1"]],
     note="the late answer must not be given to somebody else")
case("abort-in-answer", "9112 8", [head(b"GET /1 HTTP/1.1"), Arrived(1), ABORT, Reconnect(), head(b"GET /2 HTTP/1.1")],
     [Seen(target="/1"), Seen(target="/2")], [Answer(200, b"GET /2")], KEPT,
     service=[[EARLY, b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nhalf"]])
case("reuse-after-whole-answer", "9112 9.3", [head(b"GET /1 HTTP/1.1"), Read(1), Reconnect(), head(b"GET /2 HTTP/1.1"), Whole(2)],
     [Seen(target="/1"), Seen(target="/2")], [Answer(200, b"GET /1"), Answer(200, b"GET /2")], KEPT)
case("service-ends-after-close", "9112 9.6", head(b"GET / HTTP/1.1"), [Seen()], [Answer(200, b"ok")], KEPT,
     service=[[b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", FIN]])
