#include "unit.h"

#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "http/http_write.h"

static struct http_request make_request(struct http_field *items, size_t count)
{
    return (struct http_request){
        .method = SLICE("POST"),
        .target = SLICE("http://a/p?q"),
        .path = SLICE("/p"),
        .query = SLICE("q"),
        .fields = {.items = items, .count = count},
        .minor = 0,
    };
}

static void requests_are_written_anew(void **state)
{
    struct http_field items[] = {
        {SLICE("Host"), SLICE("a"), HTTP_FIELD_HOST, false},
        {SLICE("Connection"), SLICE("close"), HTTP_FIELD_CONNECTION, false},
        {SLICE("X-Gone"), SLICE("1"), HTTP_FIELD_OTHER, true},
        {SLICE("Content-Length"), SLICE("99"), HTTP_FIELD_CONTENT_LENGTH, false},
        {SLICE("transfer-encoding"), SLICE("x"), HTTP_FIELD_TRANSFER_ENCODING, false},
        {SLICE("x-Empty"), SLICE(""), HTTP_FIELD_OTHER, false},
    };
    struct http_request request = make_request(items, COUNT_OF(items));
    struct arena arena;

    UNUSED(state);
    arena_init(&arena, NULL);
    request.body = HTTP_BODY_CHUNKED;
    assert_slice_equal(http_write_request(&arena, &request),
                       SLICE("POST /p?q HTTP/1.1\r\nHost: a\r\nx-Empty: \r\n"
                             "Transfer-Encoding: chunked\r\n\r\n"));
    request.body = HTTP_BODY_LENGTH;
    request.content_length = UINT64_MAX;
    assert_slice_equal(http_write_request(&arena, &request),
                       SLICE("POST /p?q HTTP/1.1\r\nHost: a\r\nx-Empty: \r\n"
                             "Content-Length: 18446744073709551615\r\n\r\n"));
    request.body = HTTP_BODY_NONE;
    request.query = SLICE_NONE;
    assert_slice_equal(
        http_write_request(&arena, &request),
        SLICE("POST /p HTTP/1.1\r\nHost: a\r\nx-Empty: \r\nContent-Length: 0\r\n\r\n"));
    request.method = SLICE("GET");
    request.query = SLICE("");
    assert_slice_equal(http_write_request(&arena, &request),
                       SLICE("GET /p? HTTP/1.1\r\nHost: a\r\nx-Empty: \r\n\r\n"));
    request.asks_trailers = true;
    assert_slice_equal(http_write_request(&arena, &request),
                       SLICE("GET /p? HTTP/1.1\r\nHost: a\r\nx-Empty: \r\n"
                             "TE: trailers\r\nConnection: TE\r\n\r\n"));
    request.upgrade = SLICE("a, b/1");
    assert_slice_equal(http_write_request(&arena, &request),
                       SLICE("GET /p? HTTP/1.1\r\nHost: a\r\nx-Empty: \r\nUpgrade: a, b/1\r\n"
                             "TE: trailers\r\nConnection: upgrade, TE\r\n\r\n"));
    request.asks_trailers = false;
    assert_slice_equal(http_write_request(&arena, &request),
                       SLICE("GET /p? HTTP/1.1\r\nHost: a\r\nx-Empty: \r\nUpgrade: a, b/1\r\n"
                             "Connection: upgrade\r\n\r\n"));
    assert_slice_equal(http_write_trailers(&arena, items, 1), SLICE("0\r\nHost: a\r\n\r\n"));
    arena_clear(&arena);
}

static void responses_get_their_framing(void **state)
{
    struct http_field items[] = {
        {SLICE("Server"), SLICE("s"), HTTP_FIELD_SERVER, false},
        {SLICE("Content-Length"), SLICE("99"), HTTP_FIELD_CONTENT_LENGTH, false},
        {SLICE("Date"), SLICE("then"), HTTP_FIELD_DATE, false},
    };
    struct http_response head = {
        .status = 200, .reason = SLICE("Fine"), .fields = {.items = items, .count = 2}};
    struct http_write_framing framing = {
        .body = HTTP_BODY_LENGTH, .content_length = 5, .close = true, .date = SLICE("now")};
    struct arena arena;

    UNUSED(state);
    arena_init(&arena, NULL);
    assert_slice_equal(http_write_response(&arena, &head, &framing),
                       SLICE("HTTP/1.1 200 Fine\r\nServer: s\r\nDate: now\r\nContent-Length: 5\r\n"
                             "Connection: close\r\n\r\n"));
    head.fields.count = 3;
    framing = (struct http_write_framing){
        .body = HTTP_BODY_CHUNKED, .keep_alive = true, .date = SLICE("now")};
    assert_slice_equal(http_write_response(&arena, &head, &framing),
                       SLICE("HTTP/1.1 200 Fine\r\nServer: s\r\nDate: then\r\n"
                             "Transfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n"));
    head.fields.count = 0;
    framing = (struct http_write_framing){.body = HTTP_BODY_UNTIL_CLOSE};
    assert_slice_equal(http_write_response(&arena, &head, &framing),
                       SLICE("HTTP/1.1 200 Fine\r\n\r\n"));
    arena_clear(&arena);
}

static void chunk_sizes(void **state)
{
    char room[HTTP_CHUNK_SIZE_BYTES];

    UNUSED(state);
    assert_slice_equal(http_write_chunk_size(room, 0), SLICE("0\r\n"));
    assert_slice_equal(http_write_chunk_size(room, 0x1a4), SLICE("1a4\r\n"));
    assert_slice_equal(http_write_chunk_size(room, SIZE_MAX), SLICE("ffffffffffffffff\r\n"));
}

static void problems_are_documents(void **state)
{
    struct arena arena;

    UNUSED(state);
    arena_init(&arena, NULL);
    assert_slice_equal(
        http_write_problem(&arena, 431, "head-too-large", "too much"),
        SLICE("{\"type\":\"about:blank\",\"title\":\"Request Header Fields Too Large\","
              "\"status\":431,\"reason\":\"head-too-large\",\"detail\":\"too much\","
              "\"executed\":\"no\"}\n"));
    arena_clear(&arena);
}

/* A part that would break out of its line is a bug, and ends the process before it is sent. */
static bool write_dies(struct slice path, struct slice name, struct slice value)
{
    struct http_field item = {name, value, HTTP_FIELD_OTHER, false};
    struct http_request request = make_request(&item, 1);
    int status;
    pid_t child = fork();

    assert_true(child >= 0);
    if (child == 0) {
        struct arena arena;

        fclose(stderr);
        arena_init(&arena, NULL);
        request.path = path;
        http_write_request(&arena, &request);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return !(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void injection_is_impossible(void **state)
{
    static const struct slice bad[] = {
        SLICE_INIT("a\r\nX: y"),   SLICE_INIT("a\nb"), SLICE_INIT("a\rb"), SLICE_INIT("a\0b"),
        SLICE_INIT("\r\n\r\nGET"), SLICE_INIT("\r"),   SLICE_INIT("\n"),
    };

    UNUSED(state);
    assert_false(write_dies(SLICE("/"), SLICE("X"), SLICE("a\tb \xe9")));
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        assert_true(write_dies(bad[i], SLICE("X"), SLICE("y")));
        assert_true(write_dies(SLICE("/"), bad[i], SLICE("y")));
        assert_true(write_dies(SLICE("/"), SLICE("X"), bad[i]));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_are_written_anew),
        cmocka_unit_test(responses_get_their_framing),
        cmocka_unit_test(chunk_sizes),
        cmocka_unit_test(problems_are_documents),
        cmocka_unit_test(injection_is_impossible),
    };

    return cmocka_run_group_tests_name("http_write", tests, NULL, NULL);
}
