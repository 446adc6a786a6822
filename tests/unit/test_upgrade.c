#include "unit.h"

#include "http/http_parse.h"
#include "http/upgrade.h"

static const struct http_limits limits = {4096, 20, 1024};

static struct http_scan scan_of(enum http_kind kind, struct slice bytes)
{
    struct http_scan scan = {.at = 0};
    size_t head_bytes;

    assert_int_equal(http_scan(&scan, kind, bytes, &limits, &head_bytes), HTTP_FAULT_NONE);
    assert_int_equal(head_bytes, bytes.len);
    return scan;
}

static struct slice offer(struct arena *arena, const char *text)
{
    struct slice bytes = arena_copy(arena, slice_of(text));
    struct http_scan scan = scan_of(HTTP_KIND_REQUEST, bytes);
    struct http_request request;

    assert_int_equal(http_parse_request(bytes, &scan, arena, &limits, &request), HTTP_FAULT_NONE);
    return upgrade_offer(&request, arena);
}

static struct slice taken(struct arena *arena, const char *line, const char *fields,
                          const char *offered)
{
    struct slice bytes = arena_printf(arena, "%s\r\n%s\r\n", line, fields);
    struct http_scan scan = scan_of(HTTP_KIND_RESPONSE, bytes);
    struct http_response head;

    assert_int_equal(http_parse_response(bytes, &scan, arena, false, &head), HTTP_FAULT_NONE);
    return upgrade_taken(&head, slice_of(offered), arena);
}

static void offers(void **state)
{
    static const struct {
        const char *fields, *offer; /* NULL: none */
    } cases[] = {
        {"Connection: upgrade\r\nUpgrade: websocket\r\n", "websocket"},
        {"Connection: close, UPGRADE\r\nUpgrade: a/1 ,, b\r\nUpgrade: c\r\n", "a/1, b, c"},
        {"Connection: upgrade\r\nUpgrade: h2c\r\n", NULL},
        {"Connection: upgrade\r\nUpgrade: H2C, websocket, TLS/1.0, HTTP/2.0, h3\r\n", "websocket"},
        {"Connection: upgrade\r\nUpgrade: h2cx\r\n", "h2cx"},
        {"Connection: upgrade\r\nUpgrade: a b\r\n", NULL},
        {"Connection: upgrade\r\nUpgrade: a, /1\r\n", NULL},
        {"Connection: upgrade\r\nUpgrade: a/\r\n", NULL},
        {"Connection: upgrade\r\nUpgrade: a/1/2\r\n", NULL},
        {"Connection: upgrade\r\nUpgrade:\r\n", NULL},
        {"Upgrade: websocket\r\n", NULL},
        {"Connection: upgrade\r\n", NULL},
        {"Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n", NULL},
        {"Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n", "websocket"},
        {"Connection: upgrade\r\nUpgrade: websocket\r\nTransfer-Encoding: chunked\r\n", NULL},
    };
    struct arena arena;

    UNUSED(state);
    arena_init(&arena, NULL);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct slice text =
            arena_printf(&arena, "GET / HTTP/1.1\r\nHost: a\r\n%s\r\n", cases[i].fields);

        assert_slice_equal(offer(&arena, text.at), slice_of(cases[i].offer));
    }
    assert_null(
        offer(&arena, "GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n").at);
    arena_clear(&arena);
}

static void answers(void **state)
{
    static const char switching[] = "HTTP/1.1 101 Switching Protocols";
    static const char offered[] = "websocket, a/1";
    struct arena arena;

    UNUSED(state);
    arena_init(&arena, NULL);
#define TAKEN(fields) taken(&arena, switching, fields, offered)
    assert_slice_equal(TAKEN("Connection: upgrade\r\nUpgrade: WebSocket\r\n"), SLICE("WebSocket"));
    assert_slice_equal(TAKEN("Connection: upgrade\r\nUpgrade: a/1, websocket\r\n"),
                       SLICE("a/1, websocket"));
    assert_null(TAKEN("Connection: upgrade\r\nUpgrade: a/2\r\n").at);
    assert_null(TAKEN("Connection: upgrade\r\nUpgrade: a\r\n").at);
    assert_null(TAKEN("Connection: upgrade\r\nUpgrade: websocket, b\r\n").at);
    assert_null(TAKEN("Connection: upgrade\r\nUpgrade: \r\n").at);
    assert_null(TAKEN("Connection: upgrade\r\n").at);
    assert_null(TAKEN("Upgrade: websocket\r\n").at);
    assert_null(
        taken(&arena, "HTTP/1.0 101 X", "Connection: upgrade\r\nUpgrade: websocket\r\n", offered)
            .at);
    assert_null(taken(&arena, switching, "Connection: upgrade\r\nUpgrade: websocket\r\n", NULL).at);
    arena_clear(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(offers),
        cmocka_unit_test(answers),
    };

    return cmocka_run_group_tests_name("upgrade", tests, NULL, NULL);
}
