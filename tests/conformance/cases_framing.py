"""Where a request ends: Content-Length, Transfer-Encoding, chunks, and the ways to make a proxy and a
service disagree about it.  RFC 9112 sections 6, 7 and 11.2."""

from case import CLOSED, EITHER, KEPT, Answer, Case, Seen
from cases_head import TAIL

CASES = []
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"


def post(*fields, body=b"", method=b"POST", version=b"1.1"):
    return b"\r\n".join([method + b" /p HTTP/" + version, b"Host: a", *fields, b"", body])


def refused(name, group, rfc, send, status=400, tail=TAIL, **extra):
    CASES.append(Case(name, group, rfc, send + tail, [], [Answer(status)], CLOSED, **extra))


def passed(name, group, rfc, send, body, method="POST", after=KEPT, fields=None, framing=None, **extra):
    answer = Answer(200, f"{method} /p".encode(), to=method)
    CASES.append(Case(name, group, rfc, send, [Seen(method, "/p", body, fields, framing)], [answer], after, **extra))


def broken(name, group, rfc, send, status=400, tail=TAIL, **extra):
    """The head is fine, the body is not: what the service has got of it never becomes whole."""
    CASES.append(Case(name, group, rfc, send + tail, [Seen("POST", "/p", None, is_complete=False)],
                      [Answer(status)], CLOSED, **extra))


# ---- Content-Length ---------------------------------------------------------------------------------
GROUP, RFC = "Content-Length", "9112 6.3"
passed("length", GROUP, RFC, post(b"Content-Length: 5", body=b"hello"), b"hello")
passed("length-zero", GROUP, RFC, post(b"Content-Length: 0"), b"", fields={"content-length": "0"})
passed("length-zeros-first", GROUP, "9110 8.6", post(b"Content-Length: 0005", body=b"hello"), b"hello",
       fields={"content-length": "5"}, basis="choice",
       note="1*DIGIT allows leading zeros; what goes on has none, so that nobody reads it as octal")
passed("length-with-spaces-around", GROUP, "9112 5.1", post(b"Content-Length: \t5 ", body=b"hello"), b"hello")
passed("length-of-get", GROUP, "9110 9.3.1", post(b"Content-Length: 5", body=b"hello", method=b"GET"), b"hello", "GET")
passed("length-of-delete", GROUP, "9110 9.3.5", post(b"Content-Length: 5", body=b"hello", method=b"DELETE"), b"hello",
       "DELETE")
passed("length-of-options", GROUP, "9110 9.3.7", post(b"Content-Length: 2", body=b"{}", method=b"OPTIONS"), b"{}",
       "OPTIONS")
passed("body-looks-like-request", GROUP, "9112 6.3", post(b"Content-Length: %d" % len(SMUGGLED), body=SMUGGLED), SMUGGLED)
passed("body-looks-like-chunks", GROUP, "9112 6.3", post(b"Content-Length: 5", body=b"0\r\n\r\n"), b"0\r\n\r\n")
passed("body-with-nul-and-all-bytes", GROUP, "9110 6.4", post(b"Content-Length: 256", body=bytes(range(256))),
       bytes(range(256)))
passed("post-without-length", GROUP, "9110 8.6", post(), b"", fields={"content-length": lambda v: v in ([], ["0"])})
CASES.append(Case("shorter-than-body", GROUP, RFC, post(b"Content-Length: 2", body=b"okGARBAGE\r\n\r\n"),
                  [Seen("POST", "/p", b"ok")], [Answer(200, b"POST /p"), Answer({400, 505})], CLOSED))
for name, value in {
        "length-twice-differs": b"5\r\nContent-Length: 6", "length-list-differs": b"5, 6", "length-plus": b"+5",
        "length-minus": b"-5", "length-minus-zero": b"-0", "length-hex": b"0x5", "length-with-letters": b"5x",
        "length-decimal": b"5.0", "length-exponent": b"5e0", "length-with-space-inside": b"5 5",
        "length-empty": b"", "length-comma-first": b",5", "length-quoted": b'"5"', "length-word": b"five",
        "length-over-64-bits": b"18446744073709551621", "length-over-63-bits": b"9223372036854775813",
        "length-very-long": b"1" * 300, "length-not-ascii-digits": "٥".encode(),
        "length-underscore": b"0_5", "length-semicolon": b"5;q=1"}.items():
    refused(name, GROUP, "9112 6.3; 9110 8.6", post(b"Content-Length: " + value, body=b"hello"), {400, 413})
for name, value in {"length-twice-the-same": b"5\r\nContent-Length: 5", "length-list-the-same": b"5, 5"}.items():
    refused(name, GROUP, "9110 8.6", post(b"Content-Length: " + value, body=b"hello"), basis="choice",
            note="6.3 allows to take equal values for one; services that take the list's text differ")
refused("length-with-nul", GROUP, "9110 5.5", post(b"Content-Length: 5\0", body=b"hello"))
refused("length-space-before-colon", GROUP, "9112 5.1", post(b"Content-Length : 5", body=b"hello"))
refused("length-folded", GROUP, "9112 5.2", post(b"Content-Length:", b" 5", body=b"hello"))
refused("length-second-spelling", GROUP, "9112 6.3", post(b"Content-Length: 5", b"content-length: 44", body=b"hello"))
passed("length-with-underscore-is-not-length", GROUP, "9110 5.1", post(b"Content_Length: 44", b"Content-Length: 5",
       body=b"hello"), b"hello")

# ---- Transfer-Encoding ------------------------------------------------------------------------------
GROUP, RFC = "Transfer-Encoding", "9112 6.1"
CHUNKS = b"5\r\nhello\r\n0\r\n\r\n"
passed("chunked", GROUP, RFC, post(b"Transfer-Encoding: chunked", body=CHUNKS), b"hello")
passed("chunked-in-capitals", GROUP, "9112 7", post(b"Transfer-Encoding: CHUNKED", body=CHUNKS), b"hello")
passed("chunked-of-get", GROUP, RFC, post(b"Transfer-Encoding: chunked", body=CHUNKS, method=b"GET"), b"hello", "GET")
passed("chunked-empty", GROUP, RFC, post(b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"), b"")
refused("length-and-chunked", GROUP, "9112 6.1, 6.3", post(b"Content-Length: 15", b"Transfer-Encoding: chunked",
        body=CHUNKS), basis="choice", note="6.1 allows to take Transfer-Encoding and close; a refusal leaves no doubt")
refused("chunked-and-length", GROUP, "9112 6.1, 6.3", post(b"Transfer-Encoding: chunked", b"Content-Length: 15",
        body=CHUNKS), basis="choice", note="as length-and-chunked")
refused("length-zero-and-chunked", GROUP, "9112 6.1, 6.3", post(b"Content-Length: 0", b"Transfer-Encoding: chunked",
        body=CHUNKS), basis="choice", note="as length-and-chunked")
refused("chunked-in-http-1.0", GROUP, "9112 6.1", post(b"Transfer-Encoding: chunked", body=CHUNKS, version=b"1.0"))
for name, value in {
        "coding-gzip": b"gzip", "coding-identity": b"identity", "coding-gzip-chunked": b"gzip, chunked",
        "coding-chunked-gzip": b"chunked, gzip", "coding-chunked-twice": b"chunked, chunked",
        "coding-chunked-identity": b"chunked, identity", "coding-identity-chunked": b"identity, chunked",
        "coding-xchunked": b"xchunked", "coding-chunkedx": b"chunkedx", "coding-quoted": b'"chunked"',
        "coding-quoted-once": b"'chunked'", "coding-with-parameter": b"chunked;q=1",
        "coding-semicolon": b"chunked;", "coding-unknown": b"cow", "coding-space-inside": b"chun ked"}.items():
    refused(name, GROUP, "9112 6.1, 7", post(b"Transfer-Encoding: " + value, body=CHUNKS), {400, 422, 501})
for name, value in {"coding-comma-first": b", chunked", "coding-comma-last": b"chunked,"}.items():
    refused(name, GROUP, "9110 5.6.1", post(b"Transfer-Encoding: " + value, body=CHUNKS), {400, 422, 501}, basis="choice",
            note="a recipient of lists takes empty elements; not all services do")
refused("coding-empty", GROUP, "9112 6.1", post(b"Transfer-Encoding:", body=CHUNKS), {400, 422, 501}, basis="choice",
        note="a list may be empty, and then there is no body; services differ")
refused("coding-twice", GROUP, "9112 7", post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked",
        body=CHUNKS), {400, 422, 501})
refused("coding-twice-one-unknown", GROUP, "9112 6.1", post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: cow",
        body=CHUNKS), {400, 422, 501})
refused("coding-twice-identity-first", GROUP, "9112 6.1", post(b"Transfer-Encoding: identity",
        b"Transfer-Encoding: chunked", body=CHUNKS), {400, 422, 501})
refused("coding-space-before-colon", GROUP, "9112 5.1", post(b"Transfer-Encoding : chunked", body=CHUNKS))
refused("coding-tab-before-colon", GROUP, "9112 5.1", post(b"Transfer-Encoding\t: chunked", body=CHUNKS))
refused("coding-folded", GROUP, "9112 5.2", post(b"Transfer-Encoding:", b" chunked", body=CHUNKS), basis="choice",
        note="as folded-line")
refused("coding-folded-in-other-field", GROUP, "9112 5.2", post(b"X: y", b" Transfer-Encoding: chunked",
        b"Content-Length: 15", body=CHUNKS), basis="choice", note="as folded-line")
refused("coding-after-vertical-tab", GROUP, "9110 5.5", post(b"Transfer-Encoding: \x0bchunked", body=CHUNKS), {400, 422, 501})
refused("coding-after-nul", GROUP, "9110 5.5", post(b"Transfer-Encoding: \0chunked", body=CHUNKS))
refused("coding-after-bare-lf", GROUP, "9112 2.2", post(b"X: y\nTransfer-Encoding: chunked", body=CHUNKS),
        basis="choice", note="as line-ends-with-bare-lf")
refused("coding-after-bare-cr", GROUP, "9112 2.2", post(b"X: y\rTransfer-Encoding: chunked", body=CHUNKS))

# ---- chunks -----------------------------------------------------------------------------------------
GROUP, RFC = "chunks", "9112 7.1"
TE = b"Transfer-Encoding: chunked"


def chunks_passed(name, body, want, rfc=RFC, **extra):
    passed(name, GROUP, rfc, post(TE, body=body), want, **extra)


def chunks_broken(name, body, rfc=RFC, status=400, **extra):
    broken(name, GROUP, rfc, post(TE, body=body), status, **extra)


chunks_passed("several-chunks", b"1\r\na\r\n2\r\nbc\r\n0\r\n\r\n", b"abc")
chunks_passed("size-zeros-first", b"0005\r\nhello\r\n000\r\n\r\n", b"hello")
chunks_passed("size-hex-both-cases", b"a\r\n0123456789\r\nB\r\n0123456789a\r\n0\r\n\r\n", b"0123456789" b"0123456789a")
chunks_passed("chunk-has-line-ends", b"8\r\n\r\n0\r\n\r\n!\r\n0\r\n\r\n", b"\r\n0\r\n\r\n!")
chunks_passed("extension-dropped", b"5;a=b;c=\"d e\"\r\nhello\r\n0;x\r\n\r\n", b"hello", "9112 7.1.1")
chunks_passed("trailers-dropped", b"5\r\nhello\r\n0\r\nX-T: 1\r\nX-U: 2\r\n\r\n", b"hello", "9112 7.1.2",
              fields={"x-t": None, "x-u": None})
chunks_passed("trailer-is-no-header", b"0\r\nX-User: admin\r\nHost: evil\r\nContent-Length: 5\r\n\r\n", b"", "9110 6.5.1",
              fields={"x-user": None, "host": "a"})
for name, body in {
        "size-missing": b"\r\nhello\r\n0\r\n\r\n", "size-word": b"five\r\nhello\r\n0\r\n\r\n",
        "size-0x": b"0x5\r\nhello\r\n0\r\n\r\n", "size-plus": b"+5\r\nhello\r\n0\r\n\r\n",
        "size-minus": b"-5\r\nhello\r\n0\r\n\r\n", "size-space-first": b" 5\r\nhello\r\n0\r\n\r\n",
        "size-tab-first": b"\t5\r\nhello\r\n0\r\n\r\n",
        "size-over-64-bits": b"10000000000000005\r\nhello\r\n0\r\n\r\n",
        "size-64-bits": b"ffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        "size-wraps-to-32-bits": b"fffffffff00000005\r\nhello\r\n0\r\n\r\n",
        "size-underscore": b"0_5\r\nhello\r\n0\r\n\r\n", "size-comma": b"5,\r\nhello\r\n0\r\n\r\n",
        "size-nul": b"5\0\r\nhello\r\n0\r\n\r\n", "size-not-ascii": b"5\xff\r\nhello\r\n0\r\n\r\n",
        "data-longer": b"4\r\nhello\r\n0\r\n\r\n", "data-shorter": b"6\r\nhello\r\n0\r\n\r\n",
        "data-without-line-end": b"5\r\nhello0\r\n\r\n", "data-ends-with-two-bytes": b"5\r\nhelloXX0\r\n\r\n",
        "data-ends-with-cr-alone": b"5\r\nhello\rX0\r\n\r\n",
        "trailer-without-colon": b"0\r\nX-T\r\n\r\n", "trailer-space-before-colon": b"0\r\nX-T : 1\r\n\r\n",
        "trailer-with-nul": b"0\r\nX-T: \0\r\n\r\n", "trailer-without-name": b"0\r\n: 1\r\n\r\n",
        "extension-with-nul": b"5;a=\0\r\nhello\r\n0\r\n\r\n",
        "extension-with-bare-cr": b"5;a\rb\r\nhello\r\n0\r\n\r\n",
        "size-ends-with-cr-cr-lf": b"5\r\r\nhello\r\n0\r\n\r\n"}.items():
    chunks_broken(name, body)
for name, body in {
        "size-ends-with-bare-lf": b"5\nhello\r\n0\r\n\r\n", "data-ends-with-bare-lf": b"5\r\nhello\n0\r\n\r\n",
        "last-size-ends-with-bare-lf": b"5\r\nhello\r\n0\n\r\n", "last-line-bare-lf": b"5\r\nhello\r\n0\r\n\n",
        "trailer-ends-with-bare-lf": b"0\r\nX-T: 1\n\r\n",
        "extension-with-bare-lf": b"5;a\nhello\r\n0\r\n\r\n"}.items():
    chunks_broken(name, body, "9112 2.2, 7.1; TERM.EXT", basis="choice",
                  note="2.2's leave to take LF alone is for heads; in chunks it lets two readers see two bodies")
chunks_broken("size-space-last", b"5 \r\nhello\r\n0\r\n\r\n", basis="choice",
              note="the grammar has no space there; some take it as bad white space before an extension")
chunks_broken("size-space-before-extension", b"5 ;a\r\nhello\r\n0\r\n\r\n", "9112 7.1.1", basis="choice",
              note="BWS is legal there and must be removed; no client sends it")
chunks_broken("trailer-folded", b"0\r\nX-T: 1\r\n 2\r\n\r\n", "9112 5.2", basis="choice", note="as folded-line")
chunks_broken("extensions-too-long", b"".join(b"1;" + b"e" * 4000 + b"\r\nx\r\n" for _ in range(5)) + b"0\r\n\r\n",
              "9112 7.1.1", {400, 413, 431}, basis="choice",
              note="7.1.1: limit the total of extensions; ours is 8 KiB")
chunks_broken("trailers-too-long", b"0\r\n" + b"X-T: %s\r\n" % (b"t" * 1000) * 20 + b"\r\n", "9112 7.1.2",
              {400, 413, 431}, basis="choice", note="bounded as heads are")

# ---- smuggling: what one side of a disagreement would make of these bytes ------------------------------
GROUP, RFC = "smuggling", "9112 11.2"
PREFIX = b"0\r\n\r\n" + SMUGGLED
refused("cl.te", GROUP, RFC, post(b"Content-Length: %d" % len(PREFIX), TE, body=PREFIX), tail=b"", basis="choice",
        note="as length-and-chunked")
refused("te.cl", GROUP, RFC, post(b"Content-Length: 4", TE, body=b"%x\r\n%s\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED)),
        tail=b"", basis="choice", note="as length-and-chunked")
for name, fields in {
        "te.te-x": (TE, b"Transfer-Encoding: x"), "te.te-list": (b"Transfer-Encoding: chunked, x",),
        "te.te-space-before-colon": (b"Transfer-Encoding : chunked", b"Content-Length: 4"),
        "te.te-line-feed": (b"X: x\nTransfer-Encoding: chunked", b"Content-Length: 4"),
        "te.te-fold": (b"Transfer-Encoding:\r\n\tchunked", b"Content-Length: 4"),
        "te.te-capital-with-length": (b"transfer-ENCODING: Chunked", b"Content-Length: 4"),
        "te.te-quoted-with-length": (b'Transfer-Encoding: "chunked"', b"Content-Length: 4"),
        "te.te-vertical-tab": (b"Transfer-Encoding:\x0bchunked", b"Content-Length: 4"),
        "te.te-x-name": (b"Foo: bar\r\n\rTransfer-Encoding: chunked", b"Content-Length: 4"),
        "te.te-not-first": (b"Content-Length: 4", b"Transfer-Encoding: identity, chunked")}.items():
    refused(name, GROUP, RFC, post(*fields, body=b"%x\r\n%s\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED)),
            {400, 422, 501}, tail=b"", basis="must" if name not in ("te.te-line-feed", "te.te-fold",
                                                               "te.te-capital-with-length") else "choice",
            note="" if name not in ("te.te-line-feed", "te.te-fold", "te.te-capital-with-length")
            else "as folded-line, line-ends-with-bare-lf and length-and-chunked")
passed("te-in-another-spelling-is-another-field", GROUP, RFC, post(b"Transfer_Encoding: chunked",
       b"Content-Length: %d" % len(PREFIX), body=PREFIX), PREFIX)
passed("te-longer-name-is-another-field", GROUP, RFC, post(b"X-Transfer-Encoding: chunked",
       b"Content-Length: %d" % len(PREFIX), body=PREFIX), PREFIX)
refused("cl.cl", GROUP, "9112 6.3", post(b"Content-Length: 0", b"Content-Length: %d" % len(SMUGGLED), body=SMUGGLED), tail=b"")
refused("cl.cl-long-first", GROUP, "9112 6.3", post(b"Content-Length: %d" % len(SMUGGLED), b"Content-Length: 0", body=SMUGGLED), tail=b"")
for method in ("GET", "HEAD", "DELETE", "OPTIONS"):
    # cl.0: a service that ignores bodies of such methods would see a second request.
    CASES.append(Case(f"cl.0-{method.lower()}", GROUP, "9112 6.3; 9110 9.3.1",
                      post(b"Content-Length: %d" % len(SMUGGLED), body=SMUGGLED, method=method.encode()),
                      [Seen(method, "/p", SMUGGLED)],
                      [Answer(200, b"" if method == "HEAD" else f"{method} /p".encode(), to=method)], KEPT))
passed("0.cl-expect-free", GROUP, "9112 6.3", post(b"Content-Length: 0", method=b"GET"), b"", "GET")
CASES.append(Case("0.cl-length-hidden", GROUP, RFC,
                  b"GET /p HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n 7\r\n\r\nGET /smuggled HTTP/1.1\r\nX: yGET /y HTTP/1.1\r\n\r\n",
                  [], [Answer()], CLOSED))
CASES[-1].answers = [Answer(400)]
broken("chunk-size-line-hides-chunk", GROUP, "9112 7.1; TERM.EXT",
       post(TE, body=b"2;\nxx\r\n%x\r\n0\r\n\r\n%s\r\n0\r\n\r\n" % (len(SMUGGLED) + 5, SMUGGLED)), tail=b"",
       basis="choice", note="as size-ends-with-bare-lf: one reader ends the size line at LF, the other at CR LF")
broken("chunk-spill", GROUP, "9112 7.1; SPILL",
       post(TE, body=b"5\r\nhelloXX\r\n0\r\n\r\n" + SMUGGLED), tail=b"")
broken("chunk-size-cr-hides", GROUP, "9112 7.1", post(TE, body=b"2;\rxx\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED)),
       tail=b"")
CASES.append(Case("early-last-chunk", GROUP, "9112 7.1",
                  post(TE, body=b"0\r\n\r\nPUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"),
                  [Seen("POST", "/p", b""), Seen("PUT", "/", b"")],
                  [Answer(200, b"POST /p"), Answer(200, b"PUT /")], EITHER,
                  note="two requests were sent, and two must be seen"))
CASES.append(Case("http-1.0-body-without-length", GROUP, "9112 6.3",
                  b"POST /p HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n" + SMUGGLED,
                  [Seen("POST", "/p", b""), Seen("GET", "/smuggled")],
                  [Answer(200, b"POST /p"), Answer(200, b"GET /smuggled")], KEPT,
                  note="no framing means no body: what follows is the next request, to us and to the service"))
refused("te-1.0-with-length", GROUP, "9112 6.1", post(TE, b"Content-Length: 4", b"Connection: keep-alive",
        body=b"%x\r\n%s\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED), version=b"1.0"), tail=b"")
refused("connection-names-transfer-encoding", GROUP, "9110 7.6.1", post(TE, b"Connection: Transfer-Encoding", body=PREFIX),
        basis="choice", note="taking the field off would unframe the body; the nomination is an attack", tail=b"")
refused("connection-names-content-length", GROUP, "9110 7.6.1", post(b"Content-Length: %d" % len(PREFIX),
        b"Connection: content-length", body=PREFIX), basis="choice", note="as connection-names-transfer-encoding", tail=b"")
refused("connection-names-host", GROUP, "9110 7.6.1", post(b"Content-Length: 0", b"Connection: close, Host"),
        basis="choice", note="7.6.1 forbids to nominate end-to-end fields; the service relies on it")
refused("connection-names-authorization", GROUP, "9110 7.6.1", post(b"Content-Length: 0", b"Authorization: x",
        b"Connection: authorization"), basis="choice", note="as connection-names-host")
refused("connection-names-cookie", GROUP, "9110 7.6.1", post(b"Content-Length: 0", b"Cookie: x",
        b"Connection: cookie"), basis="choice", note="as connection-names-host")
refused("connection-names-x-forwarded-for", GROUP, "9110 7.6.1", post(b"Content-Length: 0",
        b"Connection: x-forwarded-for"), basis="choice", note="as connection-names-host: it would hide the client")
