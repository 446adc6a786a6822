"""All cases, in order; names are unique within their group."""

import cases_connection
import cases_framing
import cases_head
import cases_limits
import cases_response

CASES = [case for module in (cases_head, cases_framing, cases_connection, cases_response, cases_limits)
         for case in module.CASES]

# Cases that stand among others of their kind which the RFC decides; for these it leaves room.
LEAVES_ROOM = {
    "request line": {
        "no-version": "HTTP/0.9 may still be answered", "http-0.9-simple": "HTTP/0.9 may still be answered",
        "version-2.0": "505 is advice", "version-3.1": "505 is advice", "version-0.9": "505 is advice",
        "http-2-preface": "who speaks HTTP/2 may answer in it"},
    "Content-Length": {"length-folded": "as folded-line"},
    "Transfer-Encoding": {"chunked-in-http-1.0": "6.1 has it taken for faulty framing; the connection might be closed later"},
    "chunks": {"trailers-dropped": "trailers may go on as trailers", "trailer-is-no-header": "trailers may go on as trailers",
               "data-shorter": "as data-ends-with-bare-lf"},
    "smuggling": {"0.cl-length-hidden": "as folded-line", "te-1.0-with-length": "as chunked-in-http-1.0"},
    "Upgrade": {"h2c-in-a-list": "a handshake that is not complete may be refused"},
    "half-close and aborts": {"half-close-in-head": "an answer such as 400 or 408 is allowed"},
    "sizes": {"body-too-large": "the connection may be kept and the body drained",
              "body-huge": "the connection may be kept and the body drained",
              "chunked-body-too-large": "limits are the proxy's own"},
    "times": {"no-request-at-all": "a 408 to no request is allowed"},
    "pool": {name: "502 tells more than a silent close" for name in (
        "stale-post-not-repeated", "stale-patch-not-repeated", "stale-lock-not-repeated", "not-repeated-after-interim")} | {
            "not-repeated-once-answered": "GET may be repeated also then"},
}
for case in CASES:
    if case.name in LEAVES_ROOM.get(case.group, ()):
        case.basis, case.note = "choice", LEAVES_ROOM[case.group].pop(case.name)
assert not any(LEAVES_ROOM.values()), LEAVES_ROOM

GROUPS = list(dict.fromkeys(case.group for case in CASES))

assert len({(case.group, case.name) for case in CASES}) == len(CASES), "two cases have one name"
