/* Each rule with the section it comes from (9112 and 9110 are RFCs); every input is also given byte
 * by byte and split in two at each place, and must fare the same. */
#include "unit.h"

#include "http/http_body.h"
#include "http/http_parse.h"

static const struct http_limits limits = {
    .max_header_bytes = 1024, .max_header_count = 8, .max_target_bytes = 256};

struct head_result {
    enum http_fault fault;
    size_t head_bytes;
    struct http_request request;
    struct http_response response;
};

/* Scans pieces that end at each of ends[], then parses. */
static struct head_result parse_pieces(struct arena *arena, enum http_kind kind, struct slice bytes,
                                       const size_t *ends, size_t count, bool to_head)
{
    struct head_result result = {.fault = HTTP_FAULT_NONE};
    struct http_scan scan = {.at = 0};
    struct slice head;

    for (size_t i = 0; i < count && result.fault == HTTP_FAULT_NONE && result.head_bytes == 0;
         i++) {
        /* A copy of the exact size lets the sanitizer see reads beyond the end. */
        char *exact = malloc(ends[i] > 0 ? ends[i] : 1);

        memcpy(exact, bytes.at, ends[i]);
        result.fault =
            http_scan(&scan, kind, slice_from(exact, ends[i]), &limits, &result.head_bytes);
        free(exact);
    }
    if (result.fault != HTTP_FAULT_NONE || result.head_bytes == 0)
        return result;
    head = arena_copy(arena, slice_from(bytes.at + scan.start, result.head_bytes - scan.start));
    if (kind == HTTP_KIND_REQUEST)
        result.fault = http_parse_request(head, &scan, arena, &limits, &result.request);
    else
        result.fault = http_parse_response(head, &scan, arena, to_head, &result.response);
    return result;
}

static void assert_same_fields(const struct http_fields *a, const struct http_fields *b)
{
    assert_int_equal(a->count, b->count);
    for (size_t i = 0; i < a->count; i++) {
        assert_slice_equal(a->items[i].name, b->items[i].name);
        assert_slice_equal(a->items[i].value, b->items[i].value);
        assert_int_equal(a->items[i].is_dropped, b->items[i].is_dropped);
    }
}

static void assert_same(const struct head_result *a, const struct head_result *b)
{
    assert_int_equal(a->fault, b->fault);
    if (a->fault != HTTP_FAULT_NONE)
        return;
    assert_int_equal(a->head_bytes, b->head_bytes);
    if (a->head_bytes == 0)
        return;
    assert_slice_equal(a->request.path, b->request.path);
    assert_slice_equal(a->request.host, b->request.host);
    assert_int_equal(a->request.body, b->request.body);
    assert_int_equal(a->response.status, b->response.status);
    assert_int_equal(a->response.body, b->response.body);
    assert_same_fields(&a->request.fields, &b->request.fields);
    assert_same_fields(&a->response.fields, &b->response.fields);
}

static struct head_result parse(struct arena *arena, enum http_kind kind, struct slice bytes,
                                bool to_head)
{
    size_t all = bytes.len;
    struct head_result whole = parse_pieces(arena, kind, bytes, &all, 1, to_head), pieces;
    size_t *each = malloc((bytes.len + 1) * sizeof(*each));

    for (size_t i = 0; i <= bytes.len; i++)
        each[i] = i;
    pieces = parse_pieces(arena, kind, bytes, each, bytes.len + 1, to_head);
    assert_same(&whole, &pieces);
    for (size_t i = 0; i < bytes.len; i++) {
        size_t two[2] = {i, bytes.len};

        pieces = parse_pieces(arena, kind, bytes, two, 2, to_head);
        assert_same(&whole, &pieces);
    }
    free(each);
    return whole;
}

#define HOST "Host: a\r\n"
#define GET(fields) "GET / HTTP/1.1\r\n" HOST fields "\r\n"
#define POST(fields) "POST / HTTP/1.1\r\n" HOST fields "\r\n"
#define TARGET(target) "GET " target " HTTP/1.1\r\n" HOST "\r\n"
#define WITH_HOST(host) "GET / HTTP/1.1\r\nHost: " host "\r\n\r\n"

struct request_case {
    const char *name;
    struct slice bytes;
    unsigned status; /* 0: accepted */
};
#define CASE(name, bytes, status)                                                                  \
    {                                                                                              \
        name, SLICE_INIT(bytes), status                                                            \
    }

static const struct request_case request_cases[] = {
    CASE("9112/3 plain", GET(""), 0),
    CASE("9112/2.2 one empty line before the request", "\r\n" GET(""), 0),
    CASE("9112/2.2 two empty lines before the request", "\r\n\r\n" GET(""), 400),
    CASE("9112/2.2 bare LF ends the request line", "GET / HTTP/1.1\nHost: a\r\n\r\n", 400),
    CASE("9112/2.2 bare LF ends a field", "GET / HTTP/1.1\r\nHost: a\n\r\n", 400),
    CASE("9112/2.2 bare LF ends the head", "GET / HTTP/1.1\r\nHost: a\r\n\n", 400),
    CASE("9112/2.2 bare CR in a value", GET("X: a\rb\r\n"), 400),
    CASE("9112/2.2 bare CR ends a field (CVE-2023-30589)",
         GET("X: a\rTransfer-Encoding: chunked\r\n"), 400),
    CASE("9112/2.2 CR CR LF", GET("X: a\r\r\n"), 400),
    CASE("9112/2.2 space before the first field", "GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400),
    CASE("9112/2.2 tab before the first field", "GET / HTTP/1.1\r\n\tHost: a\r\n\r\n", 400),
    CASE("9112/3 two spaces after the method", "GET  / HTTP/1.1\r\n" HOST "\r\n", 400),
    CASE("9112/3 two spaces before the version", "GET /  HTTP/1.1\r\n" HOST "\r\n", 400),
    CASE("9112/3 space after the version", "GET / HTTP/1.1 \r\n" HOST "\r\n", 400),
    CASE("9112/3 tab as separator", "GET\t/ HTTP/1.1\r\n" HOST "\r\n", 400),
    CASE("9112/3 space before the method", " GET / HTTP/1.1\r\n" HOST "\r\n", 400),
    CASE("9112/3 space in the target", "GET /a b HTTP/1.1\r\n" HOST "\r\n", 400),
    CASE("9112/3 no target", "GET HTTP/1.1\r\n" HOST "\r\n", 400),
    CASE("9110/9.1 unknown method", "FROB / HTTP/1.1\r\n" HOST "\r\n", 501),
    CASE("9110/9.1 methods are case-sensitive", "get / HTTP/1.1\r\n" HOST "\r\n", 501),
    CASE("9110/9.1 prefix of a method", "GE / HTTP/1.1\r\n" HOST "\r\n", 501),
    CASE("9110/9.1 method of RTSP", "DESCRIBE / HTTP/1.1\r\n" HOST "\r\n", 501),
    CASE("9110/9.1 method is no token", "G(T / HTTP/1.1\r\n" HOST "\r\n", 400),
    CASE("9110/9.3.6 CONNECT", "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", 501),
    CASE("5789 PATCH", "PATCH / HTTP/1.1\r\n" HOST "\r\n", 0),
    CASE("9112/2.3 HTTP/1.0 without Host", "GET / HTTP/1.0\r\n\r\n", 0),
    CASE("9112/2.3 HTTP/0.9 by number", "GET / HTTP/0.9\r\n" HOST "\r\n", 505),
    CASE("9112/2.3 HTTP/0.9 simple request", "GET /\r\n", 505),
    CASE("9112/2.3 HTTP/1.2", "GET / HTTP/1.2\r\n" HOST "\r\n", 505),
    CASE("9112/2.3 HTTP/2.0", "GET / HTTP/2.0\r\n" HOST "\r\n", 505),
    CASE("9113/3.4 HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    CASE("9112/2.3 lower-case name", "GET / http/1.1\r\n" HOST "\r\n", 400),
    CASE("9112/2.3 two digits", "GET / HTTP/1.10\r\n" HOST "\r\n", 400),
    CASE("9112/2.3 no dot", "GET / HTTP/11\r\n" HOST "\r\n", 400),
    CASE("9112/2.3 another protocol", "GET / RTSP/1.0\r\n" HOST "\r\n", 400),
    CASE("8446 TLS record", "\x16\x03\x01\x02\x00\x01", 400),

    CASE("9112/3.2.1 origin form with query", TARGET("/a/b?c=d&e"), 0),
    CASE("9112/3.2.1 no leading slash", TARGET("a/b"), 400),
    CASE("9112/3.2.2 absolute form", TARGET("http://a/x"), 0),
    CASE("9112/3.2.2 absolute form in other case", TARGET("HTTP://A/x"), 0),
    CASE("9112/3.2.2 absolute form, another host", TARGET("http://b/x"), 400),
    CASE("9112/3.2.2 absolute form, another port", TARGET("http://a:81/x"), 400),
    CASE("9112/3.2.2 absolute form with user", TARGET("http://u@a/x"), 400),
    CASE("9112/3.2.2 absolute form without host", TARGET("http:///x"), 400),
    CASE("9112/3.2.2 another scheme", TARGET("ftp://a/x"), 400),
    CASE("9112/3.2.2 absolute form, no Host", "GET http://a/ HTTP/1.1\r\n\r\n", 400),
    CASE("9112/3.2.3 authority form", TARGET("a:80"), 400),
    CASE("9112/3.2.4 asterisk with OPTIONS", "OPTIONS * HTTP/1.1\r\n" HOST "\r\n", 0),
    CASE("9112/3.2.4 asterisk with GET", TARGET("*"), 400),
    CASE("3986 fragment", TARGET("/a#b"), 400),
    CASE("3986 fragment in a query", TARGET("/a?b#c"), 400),
    CASE("3986 backslash in the path", TARGET("/a\\b"), 400),
    CASE("3986 quote", TARGET("/a\"b"), 400),
    CASE("3986 angle bracket", TARGET("/a?<b>"), 400),
    CASE("3986 high byte", TARGET("/\xc3\xa9"), 400),
    CASE("3986 broken escape in the path", TARGET("/a%2"), 400),
    CASE("3986 bad escape in the path", TARGET("/a%zz"), 400),
    CASE("3986 escaped NUL in the path", TARGET("/a%00b"), 400),
    CASE("3986 escape in the path", TARGET("/a%2fb%C3"), 0),
    CASE("3986 what browsers leave as it is", TARGET("/a|{b}^`?q=[x]\\|%"), 0),
    CASE("9110/5.5 NUL in the target", "GET /\0 HTTP/1.1\r\n" HOST "\r\n", 400),
    CASE("9110/5.5 DEL in the target", TARGET("/\x7f"), 400),

    CASE("9112/3.2 no Host", "GET / HTTP/1.1\r\n\r\n", 400),
    CASE("9112/3.2 two Host fields", GET("Host: a\r\n"), 400),
    CASE("9112/3.2 two Host fields in HTTP/1.0", "GET / HTTP/1.0\r\n" HOST HOST "\r\n", 400),
    CASE("9112/3.2 empty Host", WITH_HOST(""), 400),
    CASE("9110/7.2 Host list", WITH_HOST("a, b"), 400),
    CASE("9110/7.2 Host with path", WITH_HOST("a/b"), 400),
    CASE("9110/7.2 Host with user", WITH_HOST("u@a"), 400),
    CASE("9110/7.2 Host with space", WITH_HOST("a b"), 400),
    CASE("9110/7.2 Host with escape", WITH_HOST("a%41"), 400),
    CASE("9110/7.2 Host with port", WITH_HOST("a:8080"), 0),
    CASE("9110/7.2 Host with empty port", WITH_HOST("a:"), 400),
    CASE("9110/7.2 Host with big port", WITH_HOST("a:65536"), 400),
    CASE("9110/7.2 Host with signed port", WITH_HOST("a:+80"), 400),
    CASE("9110/7.2 Host with two ports", WITH_HOST("a:80:80"), 400),
    CASE("9110/7.2 Host with trailing dot", WITH_HOST("a.b."), 0),
    CASE("9110/7.2 Host with empty label", WITH_HOST("a..b"), 400),
    CASE("9110/7.2 Host of a dot", WITH_HOST("."), 400),
    CASE("9110/7.2 Host with underscore", WITH_HOST("a_b.c"), 0),
    CASE("9110/7.2 IPv6", WITH_HOST("[2001:db8::1]:80"), 0),
    CASE("9110/7.2 IPv6 without brackets", WITH_HOST("2001:db8::1"), 400),
    CASE("9110/7.2 IPv6 not closed", WITH_HOST("[::1"), 400),
    CASE("9110/7.2 IPv6 with rest", WITH_HOST("[::1]a"), 400),
    CASE("9110/7.2 IPv6 with zone", WITH_HOST("[fe80::1%25eth0]"), 400),
    CASE("9110/7.2 brackets around a name", WITH_HOST("[a]"), 400),

    CASE("9112/5.1 space before the colon", GET("X : a\r\n"), 400),
    CASE("9112/5.1 tab before the colon", GET("X\t: a\r\n"), 400),
    CASE("9112/5.1 space in a name", GET("X y: a\r\n"), 400),
    CASE("9112/5.1 empty name", GET(": a\r\n"), 400),
    CASE("9112/5.1 no colon", GET("nocolon\r\n"), 400),
    CASE("9112/5.1 name with a delimiter", GET("X(y): a\r\n"), 400),
    CASE("9112/5.1 name with a high byte", GET("X\xe9: a\r\n"), 400),
    CASE("9112/5.1 no space after the colon", GET("X:a\r\n"), 0),
    CASE("9112/5.1 empty value", GET("X:\r\n"), 0),
    CASE("9112/5.2 folded by space", GET("X: a\r\n b\r\n"), 400),
    CASE("9112/5.2 folded by tab", GET("X: a\r\n\tb\r\n"), 400),
    CASE("9110/5.5 NUL in a value", GET("X: a\0b\r\n"), 400),
    CASE("9110/5.5 escape in a value", GET("X: a\x1b\r\n"), 400),
    CASE("9110/5.5 DEL in a value", GET("X: a\x7f\r\n"), 400),
    CASE("9110/5.5 tab within a value", GET("X: a\tb\r\n"), 0),
    CASE("9110/5.5 obs-text in a value", GET("X: \xe9\xff\r\n"), 0),

    CASE("9112/6.3 Content-Length", POST("Content-Length: 5\r\n"), 0),
    CASE("9112/5.1 spaces around a length", POST("Content-Length: \t 5 \r\n"), 0),
    CASE("llhttp: a tab behind a length", POST("Content-Length: 5\t\r\n"), 400),
    CASE("9112/6.3 chunked", POST("Transfer-Encoding: chunked\r\n"), 0),
    CASE("9112/6.3 Chunked in other case", POST("Transfer-Encoding: CHUNKED\r\n"), 0),
    CASE("9112/6.1 length, then coding",
         POST("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"), 400),
    CASE("9112/6.1 coding, then length",
         POST("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"), 400),
    CASE("9112/6.3 two equal lengths", POST("Content-Length: 5\r\nContent-Length: 5\r\n"), 400),
    CASE("9112/6.3 two different lengths", POST("Content-Length: 5\r\nContent-Length: 6\r\n"), 400),
    CASE("9110/8.6 list of lengths", POST("Content-Length: 5, 5\r\n"), 400),
    CASE("9110/8.6 plus sign", POST("Content-Length: +5\r\n"), 400),
    CASE("9110/8.6 minus sign", POST("Content-Length: -5\r\n"), 400),
    CASE("9110/8.6 hexadecimal", POST("Content-Length: 0x5\r\n"), 400),
    CASE("9110/8.6 space within", POST("Content-Length: 5 5\r\n"), 400),
    CASE("9110/8.6 empty", POST("Content-Length:\r\n"), 400),
    CASE("9110/8.6 a letter", POST("Content-Length: 5a\r\n"), 400),
    CASE("9110/8.6 fraction", POST("Content-Length: 5.0\r\n"), 400),
    CASE("9110/8.6 overflow of 64 bits", POST("Content-Length: 18446744073709551617\r\n"), 400),
    CASE("9110/8.6 overflow of 63 bits", POST("Content-Length: 9223372036854775808\r\n"), 400),
    CASE("9110/8.6 63 bits", POST("Content-Length: 9223372036854775807\r\n"), 0),
    CASE("9112/6.1 coding in HTTP/1.0",
         "POST / HTTP/1.0\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n", 400),
    CASE("9112/6.1 gzip", POST("Transfer-Encoding: gzip\r\n"), 501),
    CASE("9112/6.1 gzip, chunked", POST("Transfer-Encoding: gzip, chunked\r\n"), 501),
    CASE("9112/6.1 chunked, gzip", POST("Transfer-Encoding: chunked, gzip\r\n"), 400),
    CASE("9112/6.1 identity", POST("Transfer-Encoding: identity\r\n"), 501),
    CASE("9112/6.1 chunked twice in a list", POST("Transfer-Encoding: chunked, chunked\r\n"), 400),
    CASE("9112/6.1 chunked in two fields",
         POST("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"), 400),
    CASE("9112/6.1 chunked and identity",
         POST("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n"), 400),
    CASE("9112/6.1 xchunked", POST("Transfer-Encoding: xchunked\r\n"), 501),
    CASE("9112/6.1 chunked with parameter", POST("Transfer-Encoding: chunked;q=1\r\n"), 501),
    CASE("9112/6.1 quoted", POST("Transfer-Encoding: \"chunked\"\r\n"), 501),
    CASE("9112/6.1 vertical tab",
         POST("Transfer-Encoding: \x0b"
              "chunked\r\n"),
         400),
    CASE("9112/6.1 empty coding", POST("Transfer-Encoding:\r\n"), 501),
    CASE("9112/6.1 space before the colon", POST("Transfer-Encoding : chunked\r\n"), 400),

    CASE("9110/10.1.1 100-continue", POST("Content-Length: 5\r\nExpect: 100-continue\r\n"), 0),
    CASE("9110/10.1.1 another expectation", POST("Content-Length: 5\r\nExpect: x\r\n"), 417),
    CASE("9110/10.1.1 two expectations", POST("Expect: 100-continue\r\nExpect: 100-continue\r\n"),
         417),
    CASE("9110/10.1.1 ignored in HTTP/1.0", "POST / HTTP/1.0\r\nExpect: x\r\n\r\n", 0),
    CASE("9110/7.6.1 Connection names a field", GET("Connection: x-hop\r\nX-Hop: 1\r\n"), 0),
    CASE("9110/7.6.1 Connection names Host", GET("Connection: host\r\n"), 400),
    CASE("9110/7.6.1 Connection names Content-Length", GET("Connection: close, Content-Length\r\n"),
         400),
    CASE("9110/7.6.1 Connection names Transfer-Encoding", GET("Connection: transfer-encoding\r\n"),
         400),
    CASE("9110/7.6.1 Connection names X-Forwarded-For", GET("Connection: x-forwarded-for\r\n"),
         400),
    CASE("9110/7.6.1 Connection names Authorization", GET("Connection: Authorization\r\n"), 400),
    CASE("9110/7.6.1 Connection option is no token", GET("Connection: a b\r\n"), 400),
    CASE("9110/7.6.1 empty options", GET("Connection: , close ,,\r\n"), 0),

    CASE("9110/5.4 as many fields as allowed", GET("1:\r\n2:\r\n3:\r\n4:\r\n5:\r\n6:\r\n7:\r\n"),
         0),
    CASE("9110/5.4 one field more", GET("1:\r\n2:\r\n3:\r\n4:\r\n5:\r\n6:\r\n7:\r\n8:\r\n"), 431),
};

static void requests_fare_as_the_rules_say(void **state)
{
    size_t wrong = 0;

    UNUSED(state);
    for (size_t i = 0; i < COUNT_OF(request_cases); i++) {
        const struct request_case *c = &request_cases[i];
        struct arena arena;
        struct head_result result;

        arena_init(&arena, NULL);
        result = parse(&arena, HTTP_KIND_REQUEST, c->bytes, false);
        if (http_fault_status(result.fault) != c->status ||
            (c->status == 0 && result.head_bytes != c->bytes.len)) {
            print_error("%s: %u, not %u (%s)\n", c->name, http_fault_status(result.fault),
                        c->status, http_fault_text(result.fault));
            wrong++;
        }
        arena_clear(&arena);
    }
    assert_int_equal(wrong, 0);
}

/* prefix, then fill bytes, then suffix. */
static struct slice make_long(char *room, const char *prefix, char fill, size_t count,
                              const char *suffix)
{
    size_t len = strlen(prefix);

    memcpy(room, prefix, len);
    memset(room + len, fill, count);
    memcpy(room + len + count, suffix, strlen(suffix));
    return slice_from(room, len + count + strlen(suffix));
}

static void limits_are_exact(void **state)
{
    static const char end_of_line[] = " HTTP/1.1\r\n" HOST "\r\n";
    const size_t around = sizeof("GET / HTTP/1.1\r\n" HOST "X: \r\n\r\n") - 1;
    char room[4096];
    struct arena arena;
    struct {
        struct slice bytes;
        enum http_fault fault;
    } cases[] = {
        {make_long(room, "GET /", 'a', 255, end_of_line), HTTP_FAULT_NONE},
        {make_long(room + 400, "GET /", 'a', 256, end_of_line), HTTP_FAULT_TARGET_TOO_LONG},
        {make_long(room + 800, "GET /", 'a', 600, ""), HTTP_FAULT_TARGET_TOO_LONG},
    };

    UNUSED(state);
    arena_init(&arena, NULL);
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        assert_int_equal(parse(&arena, HTTP_KIND_REQUEST, cases[i].bytes, false).fault,
                         cases[i].fault);
    for (size_t extra = 0; extra < 2; extra++) {
        struct slice bytes = make_long(room, "GET / HTTP/1.1\r\n" HOST "X: ", 'a',
                                       limits.max_header_bytes - around + extra, "\r\n\r\n");

        assert_int_equal(parse(&arena, HTTP_KIND_REQUEST, bytes, false).fault,
                         extra == 0 ? HTTP_FAULT_NONE : HTTP_FAULT_HEAD_TOO_LARGE);
    }
    arena_clear(&arena);
}

static struct http_request parse_good(struct arena *arena, struct slice bytes)
{
    struct head_result result = parse(arena, HTTP_KIND_REQUEST, bytes, false);

    assert_int_equal(result.fault, HTTP_FAULT_NONE);
    assert_int_equal(result.head_bytes, bytes.len);
    return result.request;
}

static void parts_of_a_request(void **state)
{
    struct arena arena;
    struct http_request r;

    UNUSED(state);
    arena_init(&arena, NULL);
    r = parse_good(&arena, SLICE("PUT http://Shop.Example.:80/a%20b?x=1&y HTTP/1.1\r\n"
                                 "HOST: shop.example.:80\r\nX-One: \t a b \t\r\n"
                                 "connection: Keep-Alive, X-Two\r\nx-two: 2\r\nTE: trailers\r\n"
                                 "Content-Length: 7\r\nExpect: 100-Continue\r\n\r\n"));
    assert_slice_equal(r.method, SLICE("PUT"));
    assert_slice_equal(r.path, SLICE("/a%20b"));
    assert_slice_equal(r.query, SLICE("x=1&y"));
    assert_slice_equal(r.host, SLICE("shop.example"));
    assert_slice_equal(r.authority, SLICE("Shop.Example.:80"));
    assert_int_equal(r.body, HTTP_BODY_LENGTH);
    assert_int_equal(r.content_length, 7);
    assert_int_equal(r.minor, 1);
    assert_true(r.is_idempotent && r.expects_continue && !r.wants_close && !r.is_head);
    assert_slice_equal(http_fields_find(&r.fields, SLICE("x-one")), SLICE("a b"));
    assert_slice_equal(http_fields_get(&r.fields, HTTP_FIELD_TE), SLICE("trailers"));
    assert_null(http_fields_find(&r.fields, SLICE("x-three")).at);
    assert_int_equal(r.fields.count, 7);
    for (size_t i = 0; i < r.fields.count; i++) {
        struct slice name = r.fields.items[i].name;

        assert_int_equal(r.fields.items[i].is_dropped, slice_equal(name, SLICE("connection")) ||
                                                           slice_equal(name, SLICE("TE")) ||
                                                           slice_equal(name, SLICE("x-two")));
    }
    r = parse_good(&arena,
                   SLICE("HEAD http://a?q HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"));
    assert_slice_equal(r.path, SLICE("/"));
    assert_slice_equal(r.query, SLICE("q"));
    assert_true(r.is_head && r.wants_close && r.body == HTTP_BODY_NONE);
    r = parse_good(&arena, SLICE("OPTIONS http://a HTTP/1.1\r\nHost: a\r\n\r\n"));
    assert_slice_equal(r.path, SLICE("*"));
    r = parse_good(&arena, SLICE("GET /? HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"));
    assert_true(r.query.at != NULL && r.query.len == 0 && !r.wants_close && r.minor == 0);
    assert_int_equal(r.host.len, 0);
    r = parse_good(&arena, SLICE("GET / HTTP/1.0\r\n\r\n"));
    assert_true(r.wants_close && r.query.at == NULL);
    r = parse_good(&arena, SLICE("POST / HTTP/1.0\r\nExpect: x\r\nContent-Length: 1\r\n\r\n"));
    assert_true(r.fields.items[0].is_dropped && !r.fields.items[1].is_dropped);
    r = parse_good(&arena,
                   SLICE("GET / HTTP/1.1\r\nHost: [2001:DB8::1]:80\r\nUpgrade: websocket\r\n"
                         "Connection: Upgrade\r\n\r\n"));
    assert_slice_equal(r.host, SLICE("2001:db8::1"));
    assert_true(r.wants_upgrade);
    r = parse_good(&arena, SLICE("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n"
                                 "Expect: 100-continue\r\n\r\n"));
    assert_true(r.body == HTTP_BODY_NONE && !r.expects_continue && !r.is_idempotent);
    arena_clear(&arena);
}

struct response_case {
    const char *name;
    struct slice bytes;
    bool to_head, is_good;
    unsigned status;
    enum http_body body;
};
#define BAD(name, bytes)                                                                           \
    {                                                                                              \
        name, SLICE_INIT(bytes), false, false, 0, HTTP_BODY_NONE                                   \
    }
#define GOOD(name, bytes, status, body)                                                            \
    {                                                                                              \
        name, SLICE_INIT(bytes), false, true, status, body                                         \
    }

static const struct response_case response_cases[] = {
    GOOD("9112/6.3 length", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", 200, HTTP_BODY_LENGTH),
    GOOD("9112/6.3 chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 200,
         HTTP_BODY_CHUNKED),
    GOOD("9112/6.3 until close", "HTTP/1.1 200 OK\r\n\r\n", 200, HTTP_BODY_UNTIL_CLOSE),
    GOOD("9112/6.3 empty", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, HTTP_BODY_NONE),
    GOOD("9112/6.3 204", "HTTP/1.1 204 No Content\r\n\r\n", 204, HTTP_BODY_NONE),
    GOOD("9112/6.3 204 with length", "HTTP/1.1 204 x\r\nContent-Length: 3\r\n\r\n", 204,
         HTTP_BODY_NONE),
    GOOD("9112/6.3 304 with length", "HTTP/1.1 304 x\r\nContent-Length: 3\r\n\r\n", 304,
         HTTP_BODY_NONE),
    {"9112/6.3 to HEAD", SLICE_INIT("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"), true, true,
     200, HTTP_BODY_NONE},
    GOOD("9110/15.2 100", "HTTP/1.1 100 Continue\r\n\r\n", 100, HTTP_BODY_NONE),
    GOOD("8297 103", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", 103, HTTP_BODY_NONE),
    GOOD("9112/4 empty reason", "HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", 200, HTTP_BODY_NONE),
    GOOD("9112/4 no reason", "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", 200, HTTP_BODY_NONE),
    GOOD("9112/2.3 HTTP/1.0", "HTTP/1.0 200 OK\r\n\r\n", 200, HTTP_BODY_UNTIL_CLOSE),
    GOOD("9110/7.6.1 nominated end-to-end field stays",
         "HTTP/1.1 200 OK\r\nConnection: date\r\nDate: x\r\n\r\n", 200, HTTP_BODY_UNTIL_CLOSE),
    BAD("9112/4 two digits", "HTTP/1.1 20 OK\r\n\r\n"),
    BAD("9112/4 four digits", "HTTP/1.1 2000 OK\r\n\r\n"),
    BAD("9110/15 099", "HTTP/1.1 099 OK\r\n\r\n"),
    BAD("9110/15 600", "HTTP/1.1 600 OK\r\n\r\n"),
    BAD("9112/4 no status", "HTTP/1.1\r\n\r\n"),
    BAD("9112/2.3 HTTP/2", "HTTP/2.0 200 OK\r\n\r\n"),
    BAD("9112/2.3 HTTP/1.2", "HTTP/1.2 200 OK\r\n\r\n"),
    BAD("9112/2.3 ICY", "ICY 200 OK\r\n\r\n"),
    BAD("9112/2.2 bare LF", "HTTP/1.1 200 OK\nContent-Length: 0\n\n"),
    BAD("9112/2.2 bare CR in the reason", "HTTP/1.1 200 O\rK\r\n\r\n"),
    BAD("9112/2.2 empty line first", "\r\nHTTP/1.1 200 OK\r\n\r\n"),
    BAD("9112/5.2 folded", "HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n"),
    BAD("9112/5.1 space before the colon", "HTTP/1.1 200 OK\r\nX : a\r\n\r\n"),
    BAD("9110/5.5 NUL", "HTTP/1.1 200 OK\r\nX: a\0\r\n\r\n"),
    BAD("9112/6.1 length and coding",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"),
    BAD("9112/6.3 two lengths",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n"),
    BAD("9110/8.6 signed length", "HTTP/1.1 200 OK\r\nContent-Length: +3\r\n\r\n"),
    BAD("9112/6.1 gzip", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n"),
    BAD("9112/6.1 coding in HTTP/1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
};

static void responses_fare_as_the_rules_say(void **state)
{
    size_t wrong = 0;

    UNUSED(state);
    for (size_t i = 0; i < COUNT_OF(response_cases); i++) {
        const struct response_case *c = &response_cases[i];
        struct arena arena;
        struct head_result r;

        arena_init(&arena, NULL);
        r = parse(&arena, HTTP_KIND_RESPONSE, c->bytes, c->to_head);
        if ((r.fault == HTTP_FAULT_NONE) != c->is_good ||
            (c->is_good && (r.response.status != c->status || r.response.body != c->body))) {
            print_error("%s: fault \"%s\", status %u, body %d\n", c->name, http_fault_text(r.fault),
                        r.response.status, (int)r.response.body);
            wrong++;
        }
        arena_clear(&arena);
    }
    assert_int_equal(wrong, 0);
}

/* Nothing but the head itself is taken. */
static void what_follows_a_head_is_left(void **state)
{
    struct arena arena;
    struct slice bytes = SLICE("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody");
    struct head_result result;

    UNUSED(state);
    arena_init(&arena, NULL);
    result = parse(&arena, HTTP_KIND_REQUEST, bytes, false);
    assert_int_equal(result.fault, HTTP_FAULT_NONE);
    assert_int_equal(result.head_bytes, bytes.len - 4);
    arena_clear(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_fare_as_the_rules_say),
        cmocka_unit_test(limits_are_exact),
        cmocka_unit_test(parts_of_a_request),
        cmocka_unit_test(responses_fare_as_the_rules_say),
        cmocka_unit_test(what_follows_a_head_is_left),
    };

    return cmocka_run_group_tests_name("http_parse", tests, NULL, NULL);
}
