#include "unit/unit.h"

#include "http/http_parse.h"
#include "serve/trailers.h"

static const struct slice names[] = {SLICE_INIT("x-checksum"), SLICE_INIT("grpc-status")};
static const struct policy_settings settings = {.trailers = names,
                                                .trailer_count = COUNT_OF(names)};

static void those_of_the_list_go_on(void **state)
{
    static const char text[] = "X-Checksum: 1\r\nX-Other: 2\r\nGRPC-Status:0 \r\nx-checksum:\r\n";
    struct arena arena;

    UNUSED(state);
    for (size_t piece = 1; piece < sizeof(text); piece++) {
        struct trailers *trailers = NULL;
        struct http_field *fields;

        arena_init(&arena, NULL);
        for (size_t at = 0; at < strlen(text); at += piece)
            trailers_add(
                &trailers,
                slice_from(text + at, piece < strlen(text) - at ? piece : strlen(text) - at),
                &arena);
        assert_int_equal(trailers_allowed(trailers, &settings, &arena, &fields), 3);
        assert_slice_equal(fields[0].name, SLICE("X-Checksum"));
        assert_slice_equal(fields[0].value, SLICE("1"));
        assert_slice_equal(fields[1].name, SLICE("GRPC-Status"));
        assert_slice_equal(fields[1].value, SLICE("0"));
        assert_slice_equal(fields[2].name, SLICE("x-checksum"));
        assert_slice_equal(fields[2].value, SLICE(""));
        arena_clear(&arena);
    }
}

static struct http_request parse(struct arena *arena, const char *line, const char *fields)
{
    const struct http_limits limits = {4096, 20, 1024};
    struct slice bytes = arena_printf(arena, "GET / %s\r\nHost: a\r\n%s\r\n", line, fields);
    struct http_scan scan = {.at = 0};
    struct http_request request;
    size_t head_bytes;

    assert_int_equal(http_scan(&scan, HTTP_KIND_REQUEST, bytes, &limits, &head_bytes),
                     HTTP_FAULT_NONE);
    assert_int_equal(http_parse_request(bytes, &scan, arena, &limits, &request), HTTP_FAULT_NONE);
    return request;
}

static void clients_say_whether_they_want_them(void **state)
{
    static const struct {
        const char *line, *fields;
        bool is_wanted;
    } cases[] = {
        {"HTTP/1.1", "", false},
        {"HTTP/1.1", "TE: trailers\r\n", true},
        {"HTTP/1.1", "TE: gzip;q=0.5 , Trailers\r\n", true},
        {"HTTP/1.1", "TE: gzip\r\nte: trailers\r\n", true},
        {"HTTP/1.1", "TE: trailersx\r\n", false},
        {"HTTP/1.0", "TE: trailers\r\n", false},
    };
    struct arena arena;

    UNUSED(state);
    arena_init(&arena, NULL);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct http_request request = parse(&arena, cases[i].line, cases[i].fields);

        assert_int_equal(trailers_are_wanted(&request), cases[i].is_wanted);
    }
    arena_clear(&arena);
}

static void what_is_announced(void **state)
{
    static const struct {
        const char *fields, *announced; /* NULL: nothing */
    } cases[] = {
        {"Trailer: X-Checksum\r\n", "x-checksum"},
        {"Trailer: a, grpc-status\r\nTrailer: x-checksum,b\r\n", "x-checksum, grpc-status"},
        {"Trailer: Content-Length, a\r\n", NULL},
        {"", NULL},
    };
    struct arena arena;

    UNUSED(state);
    arena_init(&arena, NULL);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct http_request request = parse(&arena, "HTTP/1.1", cases[i].fields);
        size_t kept = 0;

        trailers_announce(&request.fields, &settings, &arena);
        for (size_t j = 0; j < request.fields.count; j++) {
            if (request.fields.items[j].id != HTTP_FIELD_TRAILER ||
                request.fields.items[j].is_dropped)
                continue;
            kept++;
            assert_slice_equal(request.fields.items[j].value, slice_of(cases[i].announced));
        }
        assert_int_equal(kept, cases[i].announced != NULL);
    }
    arena_clear(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(those_of_the_list_go_on),
        cmocka_unit_test(clients_say_whether_they_want_them),
        cmocka_unit_test(what_is_announced),
    };

    return cmocka_run_group_tests_name("trailers", tests, NULL, NULL);
}
