"""Bounds: sizes, times, and the pool of connections to the service."""

from case import CLOSED, EITHER, KEPT, Answer, Case, Drip, Read, Seen, Signal
from cases_framing import SMUGGLED, TE, post
from cases_head import TAIL, head
from service import EARLY, FIN, RESET, Until

CASES = []
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def case(name, rfc, send, seen, answers, after, **extra):
    CASES.append(Case(name, GROUP, rfc, send, seen, answers, after, **extra))


# ---- sizes (targets.py sets them: head 16 KiB, target 8 KiB, 100 fields, body 100 kB) -----------------
GROUP = "sizes"
LONG = b"/" + b"t" * 7000
case("target-within", "9112 3", head(b"GET " + LONG + b" HTTP/1.1"), [Seen(target=LONG.decode())], [Answer(200, b"GET " + LONG)], KEPT)
case("target-too-long", "9110 15.5.15", head(b"GET /" + b"t" * 9000 + b" HTTP/1.1") + TAIL, [], [Answer(414)], CLOSED,
     basis="choice", note="414 is advice; some say 400")
case("target-without-end", "9110 15.5.15", b"GET /" + b"t" * 40000, [], [Answer(414)], CLOSED, basis="choice", note="as target-too-long")
case("method-without-end", "9112 3", b"M" * 40000, [], [Answer({400, 414, 431, 501})], CLOSED)
case("fields-within", "9112 5.4", head(b"GET / HTTP/1.1", *[b"X-%d: y" % n for n in range(60)]), [Seen(fields={"x-59": "y"})],
     [Answer(200)], KEPT)
case("field-within", "9112 5.4", head(b"GET / HTTP/1.1", b"X-A: " + b"a" * 7000), [Seen(fields={"x-a": "a" * 7000})], [Answer(200)], KEPT)
case("field-too-long", "6585 5", head(b"GET / HTTP/1.1", b"X-A: " + b"a" * 70000) + TAIL, [], [Answer(431)], CLOSED, basis="choice",
     note="431 is optional; some say 400")
case("field-without-end", "6585 5", b"GET / HTTP/1.1\r\nHost: a\r\nX-A: " + b"a" * 70000, [], [Answer(431)], CLOSED, basis="choice",
     note="as field-too-long")
case("name-too-long", "6585 5", head(b"GET / HTTP/1.1", b"X" * 70000 + b": 1") + TAIL, [], [Answer(431)], CLOSED, basis="choice",
     note="as field-too-long")
case("fields-too-large-together", "6585 5", head(b"GET / HTTP/1.1", *[b"X-%d: " % n + b"a" * 900 for n in range(60)]) + TAIL, [],
     [Answer(431)], CLOSED, basis="choice", note="as field-too-long")
case("too-many-fields", "6585 5", head(b"GET / HTTP/1.1", *[b"X-%d: y" % n for n in range(150)]) + TAIL, [], [Answer(431)],
     CLOSED, basis="choice", note="as field-too-long")
case("body-within", "9110 15.5.14", post(b"Content-Length: 90000", body=b"x" * 90000), [Seen("POST", "/p", b"x" * 90000)],
     [Answer(200)], KEPT)
case("body-too-large", "9110 15.5.14", post(b"Content-Length: 200000", body=b"x" * 1000), [], [Answer(413)], CLOSED)
case("body-huge", "9110 15.5.14", post(b"Content-Length: 9000000000000000000", body=SMUGGLED), [], [Answer({400, 413})], CLOSED)
case("chunked-body-too-large", "9110 15.5.14", post(TE, body=(b"4e20\r\n" + b"x" * 20000 + b"\r\n") * 8 + b"0\r\n\r\n"),
     [Seen("POST", "/p", None, is_complete=False)], [Answer(413)], CLOSED)
case("chunked-body-within", "9110 15.5.14", post(TE, body=(b"4e20\r\n" + b"x" * 20000 + b"\r\n") * 4 + b"0\r\n\r\n"),
     [Seen("POST", "/p", b"x" * 80000)], [Answer(200)], KEPT)
case("large-answer", "9112 6.3", head(b"GET / HTTP/1.1"), [Seen()], [Answer(200, b"y" * 500000)], KEPT,
     service=[[b"HTTP/1.1 200 OK\r\nContent-Length: 500000\r\n\r\n" + b"y" * 500000]])
case("large-chunk", "9112 7.1", head(b"GET / HTTP/1.1"), [Seen()], [Answer(200, b"y" * 500000)], KEPT,
     service=[[b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % 500000 + b"y" * 500000 + b"\r\n0\r\n\r\n"]])
case("many-small-chunks", "9112 7.1", post(TE, body=b"1\r\nx\r\n" * 5000 + b"0\r\n\r\n"), [Seen("POST", "/p", b"x" * 5000)],
     [Answer(200)], KEPT)

# ---- times (the process for these has all of them at targets.HASTY_MS) -------------------------------------------
GROUP = "times"


def hasty(name, rfc, send, seen, answers, after, **extra):
    case(name, rfc, send, seen, answers, after, profile="hasty", **extra)


ANSWERS_408 = "408 is advice (15.5.9); a silent close leaves the client to guess"
hasty("head-never-ends", "9110 15.5.9", b"GET / HTTP/1.1\r\nHost: a\r\n", [], [Answer(408)], CLOSED, basis="choice", note=ANSWERS_408)
hasty("line-never-ends", "9110 15.5.9", b"GET / HT", [], [Answer(408)], CLOSED, basis="choice", note=ANSWERS_408)
hasty("head-drips", "9110 15.5.9", [b"GET / HTTP/1.1\r\nHost: a\r\n", Drip(b"X-Slow: " + b"z" * 400, 0.02)], [], [Answer(408)],
      CLOSED, basis="choice", note=ANSWERS_408 + "; each byte must not buy more time")
hasty("second-head-never-ends", "9110 15.5.9", [head(b"GET /1 HTTP/1.1"), Read(1), b"GET /2 HT"], [Seen(target="/1")],
      [Answer(200, b"GET /1"), Answer(408)], CLOSED, basis="choice", note=ANSWERS_408)
hasty("length-body-stalls", "9110 15.5.9", post(b"Content-Length: 10", body=b"hello"), [Seen("POST", "/p", None, is_complete=False)],
      [Answer(408)], CLOSED, basis="choice", note=ANSWERS_408)
hasty("chunk-stalls", "9110 15.5.9", post(TE, body=b"5\r\nhe"), [Seen("POST", "/p", None, is_complete=False)], [Answer(408)], CLOSED,
      basis="choice", note=ANSWERS_408)
hasty("chunks-without-last-stall", "9110 15.5.9", post(TE, body=b"5\r\nhello\r\n"), [Seen("POST", "/p", None, is_complete=False)],
      [Answer(408)], CLOSED, basis="choice", note=ANSWERS_408)
hasty("no-request-at-all", "9112 9.5", [b""], [], [], CLOSED)
hasty("idle-after-request", "9112 9.5", head(b"GET / HTTP/1.1"), [Seen()], [Answer(200, b"GET /")], CLOSED,
      note="closed without an answer to nothing")
hasty("empty-line-then-idle", "9112 2.2, 9.5", b"\r\n", [], [], CLOSED, basis="choice", note="an empty line begins no request; a 408 may come")
hasty("service-silent", "9110 15.6.5", head(b"GET / HTTP/1.1"), [Seen()], [Answer(504)], EITHER, service=[[Until("never")]])
hasty("service-stops-in-head", "9110 15.6.5", head(b"GET / HTTP/1.1"), [Seen()], [Answer(504)], EITHER,
      service=[[b"HTTP/1.1 200 OK\r\nX-A: ", Until("never")]])
hasty("service-stops-after-interim", "9110 15.6.5", head(b"GET / HTTP/1.1"), [Seen()], [Answer(103), Answer(504)], EITHER,
      service=[[b"HTTP/1.1 103 Early Hints\r\n\r\n", Until("never")]])
hasty("service-stops-in-body", "9112 8", head(b"GET / HTTP/1.1"), [Seen()], [Answer(200, b"hel", is_cut=True)], CLOSED,
      service=[[b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel", Until("never")]])
hasty("service-stops-in-chunks", "9112 8", head(b"GET / HTTP/1.1"), [Seen()], [Answer(200, b"hel", is_cut=True)], CLOSED,
      service=[[b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n", Until("never")]])
hasty("service-stops-in-body-until-close", "9112 8", head(b"GET / HTTP/1.1"), [Seen()], [Answer(200, b"hel", is_cut=True)], CLOSED,
      service=[[b"HTTP/1.1 200 OK\r\n\r\nhel", Until("never")]], basis="choice", note="as until-close-reset")
hasty("late-answer-is-nobodys", "9112 9.2", [head(b"GET /1 HTTP/1.1"), Read(1), Signal("late"), head(b"GET /2 HTTP/1.1")],
      [Seen(target="/1"), Seen(target="/2")], [Answer(504), Answer(200, b"GET /2")], EITHER, service=[[Until("late"), OK]])

# ---- the pool -----------------------------------------------------------------------------------------
GROUP = "pool"
WARM = [head(b"GET /1 HTTP/1.1"), Read(1)]


def stale(name, rfc, request, seen, answers, after, end=FIN, **extra):
    """The second request goes out on a kept connection, which the service then ends without an answer."""
    case(name, rfc, WARM + [request], [Seen(target="/1")] + seen, [Answer(200, b"GET /1")] + answers, after,
         service=[None, [EARLY, end]], **extra)


G2 = Seen(target="/2")
stale("stale-get-repeated", "9112 9.3.1", head(b"GET /2 HTTP/1.1"), [G2, G2], [Answer(200, b"GET /2")], KEPT, basis="choice",
      note="may be repeated by itself")
stale("stale-get-repeated-after-reset", "9112 9.3.1", head(b"GET /2 HTTP/1.1"), [G2, G2], [Answer(200, b"GET /2")], KEPT, RESET,
      basis="choice", note="may be repeated by itself")
stale("stale-put-without-body-repeated", "9112 9.3.1; 9110 9.2.2", head(b"DELETE /2 HTTP/1.1"), [Seen("DELETE", "/2"), Seen("DELETE", "/2")],
      [Answer(200, b"DELETE /2")], KEPT, basis="choice", note="may be repeated by itself")
stale("stale-post-not-repeated", "9110 9.2.2", head(b"POST /2 HTTP/1.1", b"Content-Length: 0"), [Seen("POST", "/2")], [Answer(502)], EITHER)
stale("stale-patch-not-repeated", "9110 9.2.2", head(b"PATCH /2 HTTP/1.1"), [Seen("PATCH", "/2")], [Answer(502)], EITHER)
stale("stale-lock-not-repeated", "9110 9.2.2; 4918 9.10", head(b"LOCK /2 HTTP/1.1"), [Seen("LOCK", "/2")], [Answer(502)], EITHER)
case("fresh-get-not-repeated", "9112 9.3.1", head(b"GET /2 HTTP/1.1"), [G2], [Answer(502)], EITHER, service=[[EARLY, FIN]], basis="choice",
     note="a service that ends a new connection without an answer is at fault, and would be again")
case("stale-repeated-only-once", "9112 9.3.1", WARM + [head(b"GET /2 HTTP/1.1")], [Seen(target="/1"), G2, G2],
     [Answer(200, b"GET /1"), Answer(502)], EITHER, service=[None, [FIN], [FIN]], basis="choice", note="a storm of repeats helps nobody")
case("not-repeated-once-answered", "9112 9.3.1", WARM + [head(b"GET /2 HTTP/1.1")], [Seen(target="/1"), G2], [Answer(200, b"GET /1"), Answer(502)],
     EITHER, service=[None, [b"HTTP/1.1 2", FIN]])
case("not-repeated-after-interim", "9112 9.3.1", WARM + [head(b"GET /2 HTTP/1.1")], [Seen(target="/1"), G2],
     [Answer(200, b"GET /1"), Answer(103), Answer(502)], EITHER, service=[None, [b"HTTP/1.1 103 Early Hints\r\n\r\n", FIN]])
case("closed-connection-not-used", "9112 9.6", WARM + [Signal("end"), head(b"POST /2 HTTP/1.1", b"Content-Length: 0")],
     [Seen(target="/1"), Seen("POST", "/2")], [Answer(200, b"ok"), Answer(200, b"POST /2")], KEPT, service=[[OK, Until("end"), FIN]],
     note="an end that was there before the request is seen before it")
case("connection-close-of-the-service", "9112 9.6", WARM + [head(b"POST /2 HTTP/1.1", b"Content-Length: 0")],
     [Seen(target="/1"), Seen("POST", "/2")], [Answer(200, b"ok"), Answer(200, b"POST /2")], KEPT,
     service=[[b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"]], note="not used again, though it is still open")
case("http-1.0-service-not-kept", "9112 9.3", WARM + [head(b"POST /2 HTTP/1.1", b"Content-Length: 0")],
     [Seen(target="/1"), Seen("POST", "/2")], [Answer(200, b"ok"), Answer(200, b"POST /2")], KEPT,
     service=[[b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok"]])
case("extra-bytes-spoil-connection", "9112 11.1", WARM + [head(b"POST /2 HTTP/1.1", b"Content-Length: 0")],
     [Seen(target="/1"), Seen("POST", "/2")], [Answer(200, b"ok"), Answer(200, b"POST /2")], KEPT,
     service=[[OK + b"\r\n"]], basis="choice", note="an empty line would be harmless, and is not looked at")
case("body-put-not-repeated-once-sent", "9112 9.3.1", WARM + [head(b"PUT /2 HTTP/1.1", b"Content-Length: 4") + b"body"],
     [Seen(target="/1"), Seen("PUT", "/2", None, is_complete=None)], [Answer(200, b"GET /1"), Answer(502)], EITHER,
     service=[None, [FIN]], basis="choice", note="PUT may be repeated, but the body has gone by; it is not kept in memory")
