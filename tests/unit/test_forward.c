#include "unit/unit.h"

#include <stdio.h>

#include "http/http_parse.h"
#include "serve/forward.h"

/* Heads are parsed as they come from the wire, and compared as "name: value" lines. */

static const struct http_limits limits = {16384, 100, 4096};

static struct http_request request_of(struct arena *arena, const char *text)
{
    struct http_scan scan = {0};
    struct slice bytes = slice_of(text);
    struct http_request head;
    size_t len;

    assert_int_equal(http_scan(&scan, HTTP_KIND_REQUEST, bytes, &limits, &len), HTTP_FAULT_NONE);
    assert_int_equal(http_parse_request(slice_head(bytes, len), &scan, arena, &limits, &head),
                     HTTP_FAULT_NONE);
    return head;
}

static struct http_response response_of(struct arena *arena, const char *text)
{
    struct http_scan scan = {0};
    struct slice bytes = slice_of(text);
    struct http_response head;
    size_t len;

    assert_int_equal(http_scan(&scan, HTTP_KIND_RESPONSE, bytes, &limits, &len), HTTP_FAULT_NONE);
    assert_int_equal(http_parse_response(slice_head(bytes, len), &scan, arena, false, &head),
                     HTTP_FAULT_NONE);
    return head;
}

static void assert_fields(const struct http_fields *fields, const char *expected)
{
    char text[2000] = "";

    for (size_t i = 0; i < fields->count; i++)
        if (!fields->items[i].is_dropped)
            snprintf(text + strlen(text), sizeof(text) - strlen(text), "%.*s: %.*s\n",
                     SLICE_ARGS(fields->items[i].name), SLICE_ARGS(fields->items[i].value));
    assert_string_equal(text, expected);
}

#define SPOOFED                                                                                    \
    "X-Forwarded-For: 1.1.1.1\r\nx-forwarded-proto: https\r\nX-Forwarded-Host: bank\r\n"           \
    "Forwarded: for=1.1.1.1\r\nX-Forwarded-For: 2.2.2.2, 3.3.3.3\r\n"

struct request_case {
    const char *head;
    struct forward_hop hop;
    const char *expected;
};

static const struct request_case request_cases[] = {
    {"GET / HTTP/1.1\r\nHost: a.test:81\r\nX-Own: 1\r\n\r\n",
     {.peer_address = SLICE_INIT("10.0.0.1"), .request_id = SLICE_INIT("id")},
     "Host: a.test:81\nX-Own: 1\nX-Forwarded-For: 10.0.0.1\nX-Forwarded-Proto: http\n"
     "X-Forwarded-Host: a.test:81\nX-Request-Id: id\nVia: 1.1 lockkeeper\n"},
    {"GET / HTTP/1.1\r\nHost: a\r\n" SPOOFED "\r\n",
     {.peer_address = SLICE_INIT("10.0.0.1"), .request_id = SLICE_INIT("id"), .is_tls = true},
     "Host: a\nX-Forwarded-For: 10.0.0.1\nX-Forwarded-Proto: https\nX-Forwarded-Host: a\n"
     "X-Request-Id: id\nVia: 1.1 lockkeeper\n"},
    {"GET / HTTP/1.1\r\nHost: a\r\n" SPOOFED "\r\n",
     {.peer_address = SLICE_INIT("10.0.0.1"),
      .request_id = SLICE_INIT("id"),
      .is_peer_trusted = true},
     "Host: a\nx-forwarded-proto: https\nX-Forwarded-Host: bank\n"
     "X-Forwarded-For: 1.1.1.1, 2.2.2.2, 3.3.3.3, 10.0.0.1\nX-Request-Id: id\nVia: 1.1 "
     "lockkeeper\n"},
    /* A trusted peer on a unix socket has no address to add. */
    {"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.1.1.1\r\n\r\n",
     {.request_id = SLICE_INIT("id"), .is_peer_trusted = true},
     "Host: a\nX-Forwarded-For: 1.1.1.1\nX-Forwarded-Proto: http\nX-Forwarded-Host: a\n"
     "X-Request-Id: id\nVia: 1.1 lockkeeper\n"},
    {"GET / HTTP/1.1\r\nHost: a\r\nFencing-Token: 9\r\nlock-key: k\r\nLOCK-MODE: shared\r\n"
     "X-Request-Id: mine\r\nx-request-id: yours\r\nVia: 1.0 other\r\n\r\n",
     {.peer_address = SLICE_INIT("::1"), .request_id = SLICE_INIT("mine"), .is_peer_trusted = true},
     "Host: a\nVia: 1.0 other\nX-Forwarded-For: ::1\nX-Forwarded-Proto: http\nX-Forwarded-Host: a\n"
     "X-Request-Id: mine\nVia: 1.1 lockkeeper\n"},
    {"GET / HTTP/1.1\r\nHost: a\r\nConnection: X-Hop, close\r\nX-Hop: 1\r\nTE: trailers\r\n"
     "Keep-Alive: timeout=1\r\nUpgrade: h2c\r\nProxy-Authorization: secret\r\nX-End: 2\r\n\r\n",
     {.peer_address = SLICE_INIT("::1"), .request_id = SLICE_INIT("id")},
     "Host: a\nX-End: 2\nX-Forwarded-For: ::1\nX-Forwarded-Proto: http\nX-Forwarded-Host: a\n"
     "X-Request-Id: id\nVia: 1.1 lockkeeper\n"},
    /* HTTP/1.0 without Host, and an expectation without a body. */
    {"GET / HTTP/1.0\r\n\r\n",
     {.peer_address = SLICE_INIT("::1"),
      .request_id = SLICE_INIT("id"),
      .upstream_host = SLICE_INIT("svc")},
     "Host: svc\nX-Forwarded-For: ::1\nX-Forwarded-Proto: http\nX-Request-Id: id\n"
     "Via: 1.0 lockkeeper\n"},
    {"GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n",
     {.peer_address = SLICE_INIT("::1"), .request_id = SLICE_INIT("id")},
     "Host: a\nX-Forwarded-For: ::1\nX-Forwarded-Proto: http\nX-Forwarded-Host: a\n"
     "X-Request-Id: id\nVia: 1.1 lockkeeper\n"},
    /* Counted down for these methods; of no meaning for others. */
    {"OPTIONS / HTTP/1.1\r\nHost: a\r\nMax-Forwards: 3\r\nX-Own: 1\r\n\r\n",
     {.request_id = SLICE_INIT("id"), .forwarding = POLICY_FORWARDING_FORWARDED},
     "Host: a\nX-Own: 1\nForwarded: proto=http;host=a\nMax-Forwards: 2\nX-Request-Id: id\n"
     "Via: 1.1 lockkeeper\n"},
    {"GET / HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n",
     {.request_id = SLICE_INIT("id"), .forwarding = POLICY_FORWARDING_FORWARDED},
     "Host: a\nMax-Forwards: 0\nForwarded: proto=http;host=a\nX-Request-Id: id\n"
     "Via: 1.1 lockkeeper\n"},
    /* Names that services take for those of ours, whoever the peer is. */
    {"GET / HTTP/1.1\r\nHost: a\r\nX_Forwarded_For: 9.9.9.9\r\nx-forwarded_proto: https\r\n"
     "Fencing_Token: 1\r\nLOCK_MODE: shared\r\nContent_Length: 5\r\nX_Own: 1\r\nLock__Key: "
     "2\r\n\r\n",
     {.peer_address = SLICE_INIT("::1"), .request_id = SLICE_INIT("id"), .is_peer_trusted = true},
     "Host: a\nX_Own: 1\nLock__Key: 2\nX-Forwarded-For: ::1\nX-Forwarded-Proto: http\n"
     "X-Forwarded-Host: a\nX-Request-Id: id\nVia: 1.1 lockkeeper\n"},
    {"PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n",
     {.peer_address = SLICE_INIT("::1"), .request_id = SLICE_INIT("id")},
     "Host: a\nExpect: 100-continue\nX-Forwarded-For: ::1\nX-Forwarded-Proto: http\n"
     "X-Forwarded-Host: a\nX-Request-Id: id\nVia: 1.1 lockkeeper\n"},
};

#define OWN_IDS "X-Request-Id: id\nVia: 1.1 lockkeeper\n"
#define FORWARDED_HOP(peer, is_trusted)                                                            \
    {                                                                                              \
        .peer_address = SLICE_INIT(peer), .request_id = SLICE_INIT("id"),                          \
        .local_address = SLICE_INIT("10.0.0.9"), .forwarding = POLICY_FORWARDING_FORWARDED,        \
        .is_peer_trusted = is_trusted                                                              \
    }
#define BOTH_HOP(peer, is_trusted)                                                                 \
    {                                                                                              \
        .peer_address = SLICE_INIT(peer), .request_id = SLICE_INIT("id"),                          \
        .local_address = SLICE_INIT("::9"), .forwarding = POLICY_FORWARDING_BOTH,                  \
        .is_peer_trusted = is_trusted                                                              \
    }
#define FORWARDED_REQUEST(fields) "GET / HTTP/1.1\r\nHost: a:81\r\n" fields "\r\n"
#define OWN_10_0_0_1 "for=10.0.0.1;proto=http;host=\"a:81\";by=10.0.0.9\n"

static const struct request_case forwarded_cases[] = {
    {FORWARDED_REQUEST(SPOOFED), FORWARDED_HOP("10.0.0.1", false),
     "Host: a:81\nForwarded: " OWN_10_0_0_1 OWN_IDS},
    {FORWARDED_REQUEST(SPOOFED), FORWARDED_HOP("10.0.0.1", true),
     "Host: a:81\nForwarded: for=1.1.1.1, " OWN_10_0_0_1 OWN_IDS},
    {FORWARDED_REQUEST("Forwarded: for=_a;by=_b\r\nForwarded: for=\"[::1]:80\", for=unknown\r\n"),
     FORWARDED_HOP("2001:db8::1", true),
     "Host: a:81\nForwarded: for=_a;by=_b, for=\"[::1]:80\", for=unknown, "
     "for=\"[2001:db8::1]\";proto=http;host=\"a:81\";by=10.0.0.9\n" OWN_IDS},
    /* What is malformed does not go on, nor what stands left of it. */
    {FORWARDED_REQUEST("Forwarded: for=3.3.3.3\r\nForwarded: for=\"1.1.1.1\r\n"
                       "Forwarded: for=2.2.2.2\r\n"),
     FORWARDED_HOP("10.0.0.1", true), "Host: a:81\nForwarded: for=2.2.2.2, " OWN_10_0_0_1 OWN_IDS},
    {FORWARDED_REQUEST("Forwarded: for=\", for=2.2.2.2\r\n"), FORWARDED_HOP("10.0.0.1", true),
     "Host: a:81\nForwarded: " OWN_10_0_0_1 OWN_IDS},
    /* A unix socket's peer: its hops, or nobody. */
    {FORWARDED_REQUEST("Forwarded: for=1.1.1.1\r\n"),
     {.request_id = SLICE_INIT("id"),
      .forwarding = POLICY_FORWARDING_FORWARDED,
      .is_peer_trusted = true},
     "Host: a:81\nForwarded: for=1.1.1.1\n" OWN_IDS},
    {FORWARDED_REQUEST("Forwarded: for=1.1.1.1\r\n"),
     {.request_id = SLICE_INIT("id"), .forwarding = POLICY_FORWARDING_FORWARDED, .is_tls = true},
     "Host: a:81\nForwarded: proto=https;host=\"a:81\"\n" OWN_IDS},
    /* Both: X-Forwarded-* is believed, and Forwarded is made from it. */
    {FORWARDED_REQUEST(SPOOFED), BOTH_HOP("10.0.0.1", false),
     "Host: a:81\nX-Forwarded-For: 10.0.0.1\nX-Forwarded-Proto: http\nX-Forwarded-Host: a:81\n"
     "Forwarded: for=10.0.0.1;proto=http;host=\"a:81\";by=\"[::9]\"\n" OWN_IDS},
    {FORWARDED_REQUEST("X-Forwarded-For: 1.1.1.1, ::2\r\nX-Forwarded-For: who?,,[::3]:80\r\n"
                       "X-Forwarded-Proto: https, http\r\nX-Forwarded-Host: a\"b\\c\r\n"
                       "Forwarded: for=8.8.8.8\r\n"),
     BOTH_HOP("10.0.0.1", true),
     "Host: a:81\nX-Forwarded-Proto: https, http\nX-Forwarded-Host: a\"b\\c\n"
     "X-Forwarded-For: 1.1.1.1, ::2, who?,,[::3]:80, 10.0.0.1\n"
     "Forwarded: for=1.1.1.1;proto=https;host=\"a\\\"b\\\\c\", for=\"[::2]\", for=unknown, "
     "for=\"[::3]\", for=10.0.0.1;proto=http;host=\"a:81\";by=\"[::9]\"\n" OWN_IDS},
};

#define TRACEPARENT "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
#define TRACED "traceparent: " TRACEPARENT "\r\ntracestate: a=1\r\nTraceState: b=2\r\n"
#define TRACED_HOP(...)                                                                            \
    {                                                                                              \
        .request_id = SLICE_INIT("id"), .forwarding = POLICY_FORWARDING_FORWARDED, .trace = {      \
            __VA_ARGS__                                                                            \
        }                                                                                          \
    }
#define NOBODY "Forwarded: proto=http;host=\"a:81\"\n"

static const struct request_case traced_cases[] = {
    {FORWARDED_REQUEST(TRACED), TRACED_HOP(.is_sent = true),
     "Host: a:81\ntraceparent: " TRACEPARENT "\ntracestate: a=1\nTraceState: b=2\n" NOBODY OWN_IDS},
    {FORWARDED_REQUEST(TRACED), TRACED_HOP(.is_sent = false), "Host: a:81\n" NOBODY OWN_IDS},
    {FORWARDED_REQUEST(TRACED), TRACED_HOP(.made = SLICE_INIT("00-made")),
     "Host: a:81\n" NOBODY "traceparent: 00-made\n" OWN_IDS},
};

static void check_request(const struct request_case *c)
{
    struct http_request head, forwarded;
    struct arena arena;
    size_t count;

    arena_init(&arena, NULL);
    head = request_of(&arena, c->head);
    count = head.fields.count;
    forward_request(&head, &c->hop, &arena, &forwarded);
    assert_fields(&forwarded.fields, c->expected);
    /* The original is as it was: templates and the log still read it. */
    assert_int_equal(head.fields.count, count);
    for (size_t field = 0; field < count; field++)
        assert_true(!head.fields.items[field].is_dropped ||
                    forwarded.fields.items[field].is_dropped);
    arena_clear(&arena);
}

static void test_requests(void **state)
{
    UNUSED(state);
    for (size_t i = 0; i < COUNT_OF(request_cases); i++)
        check_request(&request_cases[i]);
}

static void test_forwarded(void **state)
{
    UNUSED(state);
    for (size_t i = 0; i < COUNT_OF(forwarded_cases); i++)
        check_request(&forwarded_cases[i]);
}

static void test_traces(void **state)
{
    UNUSED(state);
    for (size_t i = 0; i < COUNT_OF(traced_cases); i++)
        check_request(&traced_cases[i]);
}

/* A long chain keeps its last hops. */
static void test_many_hops(void **state)
{
    const struct forward_hop hop = BOTH_HOP("10.0.0.1", true);
    char text[4000] = "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: https\r\nX-Forwarded-For: ";
    struct http_request head, forwarded;
    struct arena arena;
    struct slice value;

    UNUSED(state);
    arena_init(&arena, NULL);
    for (int i = 1; i <= 100; i++)
        snprintf(text + strlen(text), sizeof(text) - strlen(text), "::%d,", i);
    strcat(text, "\r\n\r\n");
    head = request_of(&arena, text);
    forward_request(&head, &hop, &arena, &forwarded);
    value = SLICE("");
    for (size_t i = 0; i < forwarded.fields.count; i++)
        if (forwarded.fields.items[i].id == HTTP_FIELD_FORWARDED)
            value = forwarded.fields.items[i].value;
    assert_true(slice_starts_with(value, SLICE("for=\"[::69]\", for=\"[::70]\", ")));
    assert_true(slice_ends_with(
        value, SLICE(", for=\"[::100]\", for=10.0.0.1;proto=http;host=a;by=\"[::9]\"")));
    arena_clear(&arena);
}

static void test_responses(void **state)
{
    struct verdict verdict = {.field_count = 2,
                              .fields = {{SLICE("RateLimit-Policy"), SLICE("\"a\";q=1;w=1")},
                                         {SLICE("RateLimit"), SLICE("\"a\";r=0;t=1")}}};
    struct http_response head, forwarded;
    struct arena arena;

    UNUSED(state);
    arena_init(&arena, NULL);
    head =
        response_of(&arena, "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nConnection: X-Hop\r\n"
                            "X-Hop: 1\r\nRateLimit: \"own\";r=5\r\nx-request-id: other\r\n"
                            "Lock-Status: held\r\n\r\n");
    forward_response(&head, &verdict, SLICE("id"), &arena, &forwarded);
    assert_fields(&forwarded.fields,
                  "Content-Type: text/plain\nRateLimit: \"own\";r=5\nLock-Status: held\n"
                  "RateLimit-Policy: \"a\";q=1;w=1\nRateLimit: \"a\";r=0;t=1\nX-Request-Id: id\n"
                  "Via: 1.0 lockkeeper\n");
    assert_int_equal(forwarded.status, 200);
    assert_int_equal(forwarded.body, head.body);
    arena_clear(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests),  cmocka_unit_test(test_forwarded),
        cmocka_unit_test(test_many_hops), cmocka_unit_test(test_traces),
        cmocka_unit_test(test_responses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
