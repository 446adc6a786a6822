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
     "Host: a\nx-forwarded-proto: https\nX-Forwarded-Host: bank\nForwarded: for=1.1.1.1\n"
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
    {"PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n",
     {.peer_address = SLICE_INIT("::1"), .request_id = SLICE_INIT("id")},
     "Host: a\nExpect: 100-continue\nX-Forwarded-For: ::1\nX-Forwarded-Proto: http\n"
     "X-Forwarded-Host: a\nX-Request-Id: id\nVia: 1.1 lockkeeper\n"},
};

static void test_requests(void **state)
{
    UNUSED(state);
    for (size_t i = 0; i < COUNT_OF(request_cases); i++) {
        const struct request_case *c = &request_cases[i];
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
        cmocka_unit_test(test_requests),
        cmocka_unit_test(test_responses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
