"""Answers: their framing, what is malformed, interim answers, Expect, answers that come early."""

from case import (CLOSED, EITHER, KEPT, Answer, Arrived, BodyHas, Case, Read, Reconnect, Seen, Signal, Whole)
from cases_framing import SMUGGLED, TE, post
from cases_head import head
from service import EARLY, FIN, RESET, WHOLE, Until

CASES = []
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
GET = head(b"GET / HTTP/1.1")
GET_1_0 = b"GET / HTTP/1.0\r\nHost: a\r\n\r\n"


def answer(name, rfc, sent, wanted, after=KEPT, request=GET, method="GET", **extra):
    """One request; the service sends `sent` (bytes or a script)."""
    script = [sent] if isinstance(sent, bytes) else list(sent)
    if not isinstance(wanted, Answer):
        wanted = Answer(200, wanted, to=method)
    CASES.append(Case(name, GROUP, rfc, request, [Seen(method)], [wanted], after, service=[script], **extra))


def ok(fields, body=b"", line=b"HTTP/1.1 200 OK"):
    return b"\r\n".join([line, *fields, b"", body])


# ---- framing ------------------------------------------------------------------------------------------
GROUP = "answer framing"
answer("length", "9112 6.3", ok([b"Content-Length: 5"], b"hello"), b"hello")
answer("length-zero", "9112 6.3", ok([b"Content-Length: 0"]), b"")
answer("chunked", "9112 7.1", ok([TE], b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"), b"hello")
answer("chunked-in-capitals", "9112 7", ok([b"transfer-encoding: Chunked"], b"5\r\nhello\r\n0\r\n\r\n"), b"hello")
answer("chunked-in-pieces", "9112 7.1", [ok([TE])] + [bytes([b]) for b in b"A;x=y\r\n0123456789\r\n0\r\n\r\n"], b"0123456789")
answer("chunk-extension-dropped", "9112 7.1.1", ok([TE], b"5;a=\"b\"\r\nhello\r\n0;c\r\n\r\n"), b"hello")
answer("trailers-of-answer", "9112 7.1.2", ok([TE, b"Trailer: X-T"], b"5\r\nhello\r\n0\r\nX-T: 1\r\n\r\n"),
       Answer(200, b"hello", {"x-t": None, "trailer": None}), basis="choice", note="trailers may go on; ours are dropped")
answer("until-close", "9112 6.3", [ok([], b"hello"), FIN], Answer(200, b"hello", framing="chunked"), basis="choice",
       note="the proxy may close as well; chunked, the connection can be kept and a cut be seen")
answer("until-close-empty", "9112 6.3", [ok([]), FIN], b"", EITHER)
answer("until-close-http-1.0-service", "9112 6.3", [ok([], b"hello", b"HTTP/1.0 200 OK"), FIN], b"hello", EITHER)
answer("until-close-with-connection-close", "9112 6.3", [ok([b"Connection: close"], b"hello"), FIN], b"hello", EITHER)
answer("http-1.0-service-with-length", "9112 9.3", [ok([b"Content-Length: 5"], b"hello", b"HTTP/1.0 200 OK"), FIN], b"hello")
answer("http-1.0-service-keep-alive", "9112 9.3", ok([b"Content-Length: 5", b"Connection: keep-alive"], b"hello",
       b"HTTP/1.0 200 OK"), b"hello")
answer("chunked-to-http-1.0-client", "9112 7.1", ok([TE], b"5\r\nhello\r\n0\r\n\r\n"), Answer(200, b"hello", framing="close"),
       CLOSED, GET_1_0)
answer("until-close-to-http-1.0-client", "9112 6.3", [ok([], b"hello"), FIN], Answer(200, b"hello", framing="close"), CLOSED, GET_1_0)
answer("head-with-length", "9110 9.3.2", ok([b"Content-Length: 5"]), Answer(200, b"", {"content-length": "5"}, "HEAD"),
       request=head(b"HEAD / HTTP/1.1"), method="HEAD")
answer("head-chunked", "9110 9.3.2", ok([TE]), b"", request=head(b"HEAD / HTTP/1.1"), method="HEAD")
answer("head-with-body-bytes", "9112 6.3", ok([b"Content-Length: 5"], b"hello"), b"", request=head(b"HEAD / HTTP/1.1"), method="HEAD")
answer("head-with-answer-as-body", "9112 6.3, 11.2", ok([b"Content-Length: %d" % len(OK)], OK), b"",
       request=head(b"HEAD / HTTP/1.1"), method="HEAD")
answer("204", "9110 15.3.5", ok([], b"", b"HTTP/1.1 204 No Content"), Answer(204, b""))
answer("204-with-length-and-body", "9112 6.3", ok([b"Content-Length: 5"], b"hello", b"HTTP/1.1 204 No Content"),
       Answer({204, 502}))
answer("204-chunked", "9112 6.1", ok([TE], b"5\r\nhello\r\n0\r\n\r\n", b"HTTP/1.1 204 No Content"), Answer({204, 502}))
answer("304", "9110 15.4.5", ok([b'ETag: "a"'], b"", b"HTTP/1.1 304 Not Modified"), Answer(304, b"", {"etag": '"a"'}))
answer("304-with-length", "9110 15.4.5", ok([b"Content-Length: 5"], b"", b"HTTP/1.1 304 Not Modified"), Answer(304, b""))
answer("304-with-body-bytes", "9112 6.3", ok([b"Content-Length: 5"], b"hello", b"HTTP/1.1 304 Not Modified"), Answer({304, 502}))
answer("205-empty", "9110 15.3.6", ok([b"Content-Length: 0"], b"", b"HTTP/1.1 205 Reset Content"), Answer(205, b""))
answer("unknown-status", "9110 15", ok([b"Content-Length: 2"], b"ok", b"HTTP/1.1 299 Odd"), Answer(299, b"ok"))
answer("no-reason", "9112 4", ok([b"Content-Length: 2"], b"ok", b"HTTP/1.1 200 "), b"ok")
answer("no-reason-no-space", "9112 4", ok([b"Content-Length: 2"], b"ok", b"HTTP/1.1 200"), b"ok", basis="choice",
       note="not legal, and frequent; no reader takes it for something else")
answer("reason-obs-text", "9112 4", ok([b"Content-Length: 2"], b"ok", b"HTTP/1.1 200 \xd6K"), b"ok")
answer("same-length-twice", "9110 8.6", ok([b"Content-Length: 2", b"Content-Length: 2"], b"ok"), Answer(502), EITHER, basis="choice",
       note="6.3 allows to take equal values for one; ours are strict both ways")
answer("more-than-length", "9112 6.3", ok([b"Content-Length: 2"], b"okHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"), b"ok")
answer("more-than-last-chunk", "9112 7.1", ok([TE], b"2\r\nok\r\n0\r\n\r\n" + ok([b"Content-Length: 4"], b"evil")), b"ok")
CASES.append(Case("second-answer-is-nobodys", GROUP, "9112 11.1, 9.2", [head(b"GET /1 HTTP/1.1"), Read(1), head(b"GET /2 HTTP/1.1")],
                  [Seen(target="/1"), Seen(target="/2")], [Answer(200, b"ok"), Answer(200, b"GET /2")], KEPT,
                  service=[[OK + ok([b"Content-Length: 4"], b"evil")]],
                  note="answers are not queued for who comes next"))
CASES.append(Case("late-second-answer-is-nobodys", GROUP, "9112 9.2",
                  [head(b"GET /1 HTTP/1.1"), Read(1), Signal("late"), Reconnect(), head(b"GET /2 HTTP/1.1")],
                  [Seen(target="/1"), Seen(target="/2")], [Answer(200, b"ok"), Answer(200, b"GET /2")], KEPT,
                  service=[[OK, Until("late"), ok([b"Content-Length: 4"], b"evil")]]))
CASES.append(Case("answer-keeps-field-order", GROUP, "9110 5.3", GET, [Seen()],
                  [Answer(200, b"ok", {"set-cookie": lambda v: v == ["a=1", "b=2"], "x-a": "1"})], KEPT,
                  service=[[ok([b"Set-Cookie: a=1", b"X-A: 1", b"Set-Cookie: b=2", b"Content-Length: 2"], b"ok")]]))

# ---- truncated ----------------------------------------------------------------------------------------
GROUP = "truncated answers"
answer("length-cut", "9112 8", [ok([b"Content-Length: 10"], b"hello"), FIN], Answer(200, b"hello", is_cut=True), CLOSED)
answer("length-reset", "9112 8", [ok([b"Content-Length: 10"], b"hello"), RESET], Answer({200, 502}, is_cut=True), CLOSED)
answer("chunk-cut", "9112 8", [ok([TE], b"a\r\nhello"), FIN], Answer(200, b"hello", is_cut=True), CLOSED)
answer("chunks-without-last", "9112 8", [ok([TE], b"5\r\nhello\r\n"), FIN], Answer(200, b"hello", is_cut=True), CLOSED)
answer("chunks-cut-in-last-line", "9112 8", [ok([TE], b"5\r\nhello\r\n0\r\n"), FIN], Answer(200, b"hello", is_cut=True), CLOSED)
answer("until-close-reset", "9112 8", [ok([], b"hello"), RESET], Answer({200, 502}, is_cut=True), CLOSED, basis="choice",
       note="a reset is not an end; the client must be able to tell")
answer("length-cut-to-http-1.0", "9112 8", [ok([b"Content-Length: 10"], b"hello"), FIN], Answer(200, b"hello", is_cut=True), CLOSED, GET_1_0)
for name, chunk in {"chunk-size-bad": b"zz\r\n", "chunk-size-overflow": b"10000000000000005\r\n", "chunk-data-overrun": b"2\r\nabc\r\n",
                    "chunk-bare-lf": b"2\nok\n0\n\n", "chunk-negative": b"-1\r\n"}.items():
    basis = {"basis": "choice", "note": "as size-ends-with-bare-lf"} if name == "chunk-bare-lf" else {}
    answer(name, "9112 7.1, 8", ok([TE], b"5\r\nhello\r\n" + chunk + b"0\r\n\r\n"), Answer({200, 502}, is_cut=True), CLOSED, **basis)

# ---- malformed ----------------------------------------------------------------------------------------
GROUP = "malformed answers"


def bad(name, rfc, sent, **extra):
    answer(name, rfc, sent, Answer(502), EITHER, **extra)


bad("closed-without-answer", "9110 15.6.3", [FIN])
bad("reset-without-answer", "9110 15.6.3", [RESET])
bad("garbage", "9112 4", b"hello there\r\n\r\n")
bad("http-0.9-body", "9112 B.1", [b"<html></html>", FIN])
bad("binary", "9112 4", b"\x00\x01\x02\x03\r\n\r\n")
bad("half-a-head", "9112 8", [b"HTTP/1.1 200 OK\r\nContent-Le", FIN])
bad("status-two-digits", "9112 4", ok([b"Content-Length: 2"], b"ok", b"HTTP/1.1 20 OK"))
bad("status-four-digits", "9112 4", ok([b"Content-Length: 2"], b"ok", b"HTTP/1.1 2000 OK"))
bad("status-letters", "9112 4", ok([b"Content-Length: 2"], b"ok", b"HTTP/1.1 2xx OK"))
bad("status-below-100", "9110 15", ok([b"Content-Length: 2"], b"ok", b"HTTP/1.1 099 OK"))
bad("status-600", "9110 15", ok([b"Content-Length: 2"], b"ok", b"HTTP/1.1 600 Odd"), basis="choice",
    note="a client treats it as 5xx; a proxy may hand it on")
bad("version-2", "9112 2.3", ok([b"Content-Length: 2"], b"ok", b"HTTP/2.0 200 OK"))
bad("version-lower-case", "9112 2.3", ok([b"Content-Length: 2"], b"ok", b"http/1.1 200 OK"))
bad("line-ends-with-bare-lf", "9112 2.2", b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok", basis="choice",
    note="as for requests; CGI-like services that do this must be mended")
bad("bare-cr-in-field", "9112 2.2", ok([b"X-A: 1\r2", b"Content-Length: 2"], b"ok"))
bad("nul-in-field", "9110 5.5", ok([b"X-A: 1\x002", b"Content-Length: 2"], b"ok"))
bad("nul-in-reason", "9112 4", ok([b"Content-Length: 2"], b"ok", b"HTTP/1.1 200 O\0K"))
bad("folded-field", "9112 5.2", ok([b"X-A: 1", b" 2", b"Content-Length: 2"], b"ok"), basis="choice",
    note="5.2 lets a proxy refuse or unfold")
bad("space-before-colon", "9112 5.1", ok([b"X-A : 1", b"Content-Length: 2"], b"ok"), basis="choice",
    note="5.1 lets a proxy take the space away in answers")
bad("field-without-colon", "9112 5", ok([b"X-A", b"Content-Length: 2"], b"ok"))
bad("field-without-name", "9112 5", ok([b": 1", b"Content-Length: 2"], b"ok"))
bad("space-first-in-head", "9112 2.2", b"HTTP/1.1 200 OK\r\n X-A: 1\r\nContent-Length: 2\r\n\r\nok")
bad("length-and-chunked", "9112 6.3", ok([b"Content-Length: 2", TE], b"2\r\nok\r\n0\r\n\r\n"), basis="choice",
    note="6.3 lets Transfer-Encoding win; it may be an attempt at response splitting")
for name, value in {"length-differs": b"2\r\nContent-Length: 3", "length-list-differs": b"2, 3", "length-negative": b"-2", "length-plus": b"+2",
                    "length-hex": b"0x2", "length-letters": b"2a", "length-empty": b"", "length-overflow": b"99999999999999999999"}.items():
    bad(name, "9112 6.3", ok([b"Content-Length: " + value], b"ok"))
for name, value in {"coding-unknown": b"cow", "coding-gzip-chunked": b"gzip, chunked", "coding-chunked-twice": b"chunked, chunked",
                    "coding-identity": b"identity", "coding-not-last": b"chunked, gzip"}.items():
    bad(name, "9112 6.1", [ok([b"Transfer-Encoding: " + value], b"2\r\nok\r\n0\r\n\r\n"), FIN], basis="choice",
        note="what the proxy cannot decode it cannot bound; it might be passed on until the end")
bad("coding-in-http-1.0", "9112 6.1", [ok([TE], b"2\r\nok\r\n0\r\n\r\n", b"HTTP/1.0 200 OK"), FIN], basis="choice",
    note="6.1: faulty framing; the message may be taken as it says and the connection closed")
bad("head-too-large", "9112 5.4", ok([b"X-A: " + b"a" * 70000, b"Content-Length: 2"], b"ok"), basis="choice",
    note="limits are the proxy's own; it must not pass a part")
bad("too-many-interim", "9110 15.2", b"HTTP/1.1 103 Early Hints\r\n\r\n" * 400 + OK, basis="choice",
    note="no RFC bounds them; ours are 32")
CASES[-1].answers = [Answer(103)] * 32 + [Answer(502)]
answer("split-by-bare-lf", "9112 11.1", ok([b"X-A: 1\n\nHTTP/1.1 200 OK\nContent-Length: 4\n\nevil", b"Content-Length: 2"], b"ok"),
       Answer(502), EITHER, basis="choice", note="response splitting for clients that take LF for a line end")
answer("split-by-bare-cr", "9112 11.1", ok([b"X-A: 1\rSet-Cookie: evil=1", b"Content-Length: 2"], b"ok"), Answer(502), EITHER)

# ---- interim answers and Expect -------------------------------------------------------------------------
GROUP = "interim answers"
EXPECT = post(b"Expect: 100-continue", b"Content-Length: 4")


def interim(name, rfc, send, sent, answers, after=KEPT, seen=None, **extra):
    CASES.append(Case(name, GROUP, rfc, send, [seen or Seen()], answers, after, service=[sent], **extra))


interim("103-passed", "9110 15.2; 8297", GET, [b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", OK],
        [Answer(103, b"", {"link": "</a>"}), Answer(200, b"ok")])
interim("103-several", "8297 2", GET, [b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </b>\r\n\r\n" + OK],
        [Answer(103, b"", {"link": "</a>"}), Answer(103, b"", {"link": "</b>"}), Answer(200, b"ok")])
interim("102-passed", "9110 15.2", GET, [b"HTTP/1.1 102 Processing\r\n\r\n" + OK], [Answer(102), Answer(200, b"ok")])
interim("interim-seen-before-the-answer", "9110 15.2", [GET, Read(1), Signal("go")], [b"HTTP/1.1 103 Early Hints\r\n\r\n", Until("go"), OK],
        [Answer(103), Answer(200, b"ok")])
interim("interim-not-to-http-1.0", "9110 15.2", GET_1_0, [b"HTTP/1.1 103 Early Hints\r\n\r\n" + OK], [Answer(200, b"ok")], CLOSED)
interim("interim-then-nothing", "9110 15.2", GET, [b"HTTP/1.1 103 Early Hints\r\n\r\n", FIN], [Answer(103), Answer(502)], EITHER)
interim("interim-with-length", "9112 6.3", GET, [b"HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\n\r\n" + OK], [Answer(103), Answer(200, b"ok")],
        basis="choice", note="a 1xx has no body whatever it says, and goes on without the length; it might be refused")
interim("interim-nominates-field", "9110 7.6.1", GET, [b"HTTP/1.1 103 Early Hints\r\nConnection: X-Hop\r\nX-Hop: 1\r\n\r\n" + OK],
        [Answer(103, b"", {"x-hop": None}), Answer(200, b"ok")])
interim("100-unasked-is-not-needed", "9110 15.2.1", GET, [b"HTTP/1.1 100 Continue\r\n\r\n" + OK], [Answer(200, b"ok")], basis="choice",
        note="a proxy may hand it on to a 1.1 client; one that did not ask has no use for it")
interim("expect-continue-end-to-end", "9110 10.1.1", [EXPECT, Arrived(1), Signal("go"), Read(1), b"body"],
        [EARLY, Until("go"), b"HTTP/1.1 100 Continue\r\n\r\n", WHOLE, OK], [Answer(100), Answer(200, b"ok")],
        seen=Seen("POST", "/p", b"body"))
interim("expect-refused-by-the-service", "9110 10.1.1", [EXPECT, Arrived(1)],
        [EARLY, b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 2\r\n\r\nno"], [Answer(417, b"no")], CLOSED,
        seen=Seen("POST", "/p", None, is_complete=None), basis="choice",
        note="the client may keep its body back, so the connection cannot be used again")
interim("expect-body-sent-at-once", "9110 10.1.1", EXPECT + b"body", [OK], [Answer(200, b"ok")], seen=Seen("POST", "/p", b"body"), basis="choice",
        note="who has the body need not send 100")
interim("expect-in-capitals", "9110 10.1.1", [post(b"EXPECT: 100-Continue", b"Content-Length: 4"), Arrived(1), Signal("go"), Read(1), b"body"],
        [EARLY, Until("go"), b"HTTP/1.1 100 Continue\r\n\r\n", WHOLE, OK], [Answer(100), Answer(200, b"ok")], seen=Seen("POST", "/p", b"body"))
interim("expect-without-body", "9110 10.1.1", head(b"GET / HTTP/1.1", b"Expect: 100-continue"), [OK], [Answer(200, b"ok")], basis="choice",
        note="a 100 would be legal; nobody waits for one")
interim("expect-in-http-1.0", "9110 10.1.1", post(b"Expect: 100-continue", b"Content-Length: 4", body=b"body", version=b"1.0"), [OK],
        [Answer(200, b"ok")], CLOSED, seen=Seen("POST", "/p", b"body", {"expect": None}))
interim("expect-chunked", "9110 10.1.1", [post(b"Expect: 100-continue", TE), Arrived(1), Signal("go"), Read(1), b"4\r\nbody\r\n0\r\n\r\n"],
        [EARLY, Until("go"), b"HTTP/1.1 100 Continue\r\n\r\n", WHOLE, OK], [Answer(100), Answer(200, b"ok")], seen=Seen("POST", "/p", b"body"))
CASES.append(Case("expect-unknown", GROUP, "9110 10.1.1", post(b"Expect: wonders", b"Content-Length: 4", body=b"body") + SMUGGLED, [],
                  [Answer(417)], CLOSED, basis="choice", note="may be refused with 417, and ours is"))
CASES.append(Case("expect-twice", GROUP, "9110 10.1.1", post(b"Expect: 100-continue", b"Expect: wonders", b"Content-Length: 4", body=b"body"), [],
                  [Answer(417)], CLOSED, basis="choice", note="as expect-unknown"))

# ---- early answers --------------------------------------------------------------------------------------
GROUP = "early answers"
PART = post(b"Content-Length: 10", body=b"hello")
LATE = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig"


def early(name, rfc, send, sent, answers, after, **extra):
    CASES.append(Case(name, GROUP, rfc, send, [Seen("POST", "/p", None, is_complete=None)], answers, after, service=[sent], **extra))


early("answer-before-body", "9112 9.5", [PART, Read(1)], [EARLY, LATE], [Answer(413, b"big")], EITHER)
early("answer-before-body-then-body", "9112 9.3, 9.5", [PART, Read(1), b"world"], [EARLY, LATE], [Answer(413, b"big")], EITHER)
early("answer-before-body-and-close", "9112 9.5", [PART, Read(1)], [EARLY, LATE.replace(b"\r\n", b"\r\nConnection: close\r\n", 1), FIN],
      [Answer(413, b"big")], EITHER)
early("rest-of-body-is-no-request", "9112 9.3", [post(b"Content-Length: %d" % (5 + len(SMUGGLED)), body=b"hello"), Read(1), SMUGGLED],
      [EARLY, LATE], [Answer(413, b"big")], EITHER, note="the bytes that come late are the body's, whatever they look like")
early("rest-of-chunks-is-no-request", "9112 9.3", [post(TE, body=b"%x\r\nhello" % (5 + len(SMUGGLED))), Read(1), SMUGGLED],
      [EARLY, LATE], [Answer(413, b"big")], EITHER)
CASES.append(Case("next-request-after-early-answer", GROUP, "9112 9.3", [PART, Read(1), Reconnect(), head(b"GET /2 HTTP/1.1")],
                  [Seen("POST", "/p", None, is_complete=None), Seen(target="/2")], [Answer(413, b"big"), Answer(200, b"GET /2")], KEPT,
                  service=[[EARLY, LATE]], note="the service still waits for the first body: its connection must not be used"))
CASES.append(Case("answer-and-body-side-by-side", GROUP, "9112 9.5",
                  [PART, BodyHas(b"hello"), b"world"],
                  [Seen("POST", "/p", b"helloworld")], [Answer(200, b"early, late")], KEPT,
                  service=[[EARLY, ok([b"Content-Length: 11"], b"early"), WHOLE, b", late"]], basis="choice",
                  note="a proxy may stop either; ours lets both go on"))
CASES.append(Case("answer-before-request-is-nobodys", GROUP, "9112 9.2", [head(b"GET /1 HTTP/1.1"), Whole(1), Read(1), Signal("go"), head(b"GET /2 HTTP/1.1")],
                  [Seen(target="/1"), Seen(target="/2")], [Answer(200, b"ok"), Answer(200, b"GET /2")], KEPT,
                  service=[[OK, Until("go"), OK]], note="an answer on an idle connection was asked for by nobody"))
