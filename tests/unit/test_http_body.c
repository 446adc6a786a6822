/* Bodies: data and end must not depend on how the bytes are split. */
#include "unit.h"

#include "base/buf.h"
#include "http/http_body.h"

struct body_case {
    const char *name;
    enum http_body body;
    uint64_t length;
    struct slice bytes;
    enum http_decoded result;
    struct slice data;
    size_t left; /* bytes after the body */
};

#define CHUNKED(name, bytes, result, data, left)                                                   \
    {                                                                                              \
        name, HTTP_BODY_CHUNKED, 0, SLICE_INIT(bytes), result, SLICE_INIT(data), left              \
    }
#define END(name, bytes, data, left) CHUNKED(name, bytes, HTTP_DECODED_END, data, left)
#define BAD(name, bytes, data) CHUNKED(name, bytes, HTTP_DECODED_BAD, data, 0)
#define MORE(name, bytes, data) CHUNKED(name, bytes, HTTP_DECODED_MORE, data, 0)

static const struct body_case cases[] = {
    {"none", HTTP_BODY_NONE, 0, SLICE_INIT("GET"), HTTP_DECODED_END, SLICE_INIT(""), 3},
    {"length", HTTP_BODY_LENGTH, 3, SLICE_INIT("abcGET"), HTTP_DECODED_END, SLICE_INIT("abc"), 3},
    {"length, short", HTTP_BODY_LENGTH, 9, SLICE_INIT("abc"), HTTP_DECODED_MORE, SLICE_INIT("abc"),
     0},
    {"length 0", HTTP_BODY_LENGTH, 0, SLICE_INIT("x"), HTTP_DECODED_END, SLICE_INIT(""), 1},
    {"until close", HTTP_BODY_UNTIL_CLOSE, 0, SLICE_INIT("abc"), HTTP_DECODED_MORE,
     SLICE_INIT("abc"), 0},
    END("9112/7.1 one chunk", "3\r\nabc\r\n0\r\n\r\nGET", "abc", 3),
    END("9112/7.1 two chunks", "3\r\nabc\r\n00A\r\n0123456789\r\n0\r\n\r\n", "abc0123456789", 0),
    END("9112/7.1 only the last chunk", "0\r\n\r\n", "", 0),
    END("9112/7.1 several zeros", "000\r\n\r\n", "", 0),
    END("9112/7.1.1 extensions", "3;a=b;c=\"d;e\"\r\nabc\r\n0;x\r\n\r\n", "abc", 0),
    END("9112/7.1.2 trailers", "1\r\na\r\n0\r\nX-Sum: 1\r\nY:\r\n\r\n", "a", 0),
    MORE("9112/8 incomplete size", "3", ""),
    MORE("9112/8 incomplete data", "3\r\nab", "ab"),
    MORE("9112/8 no last chunk", "3\r\nabc\r\n", "abc"),
    MORE("9112/8 no last line end", "0\r\n\r", ""),
    BAD("9112/7.1 no size", "\r\nabc\r\n0\r\n\r\n", ""),
    BAD("9112/7.1 no digit", "g\r\n", ""),
    BAD("9112/7.1 0x", "0x3\r\nabc\r\n", ""),
    BAD("9112/7.1 minus", "-3\r\nabc\r\n", ""),
    BAD("9112/7.1 plus", "+3\r\nabc\r\n", ""),
    BAD("9112/7.1 space before the size", " 3\r\nabc\r\n", ""),
    BAD("9112/7.1 space after the size", "3 \r\nabc\r\n", ""),
    BAD("9112/7.1 space before an extension", "3 ;a\r\nabc\r\n", ""),
    BAD("9112/7.1 underscore", "1_0\r\n", ""),
    BAD("9112/7.1 overflow", "10000000000000000\r\n", ""),
    BAD("9112/7.1 sign bit", "8000000000000000\r\n", ""),
    BAD("9112/7.1 too many digits", "00000000000000001\r\na\r\n", ""),
    BAD("9112/7.1 bare LF after the size", "3\nabc\r\n0\r\n\r\n", ""),
    BAD("9112/7.1 bare CR after the size", "3\rabc\r\n0\r\n\r\n", ""),
    BAD("9112/7.1 bare LF after the data", "3\r\nabc\n0\r\n\r\n", "abc"),
    BAD("9112/7.1 data longer than its size", "3\r\nabcd\r\n0\r\n\r\n", "abc"),
    BAD("9112/7.1 no line end after the data", "3\r\nabc0\r\n\r\n", "abc"),
    BAD("9112/7.1 bare LF at the end", "0\r\n\n", ""),
    BAD("9112/7.1 LF after CR missing at the end", "0\r\n\rG", ""),
    BAD("9112/7.1.1 bare LF in an extension", "3;a\nabc\r\n0\r\n\r\n", ""),
    BAD("9112/7.1.1 bare CR in an extension", "3;a\rb\r\nabc\r\n", ""),
    BAD("9112/7.1.1 control byte in an extension", "3;a\x01\r\nabc\r\n", ""),
    BAD("9112/7.1.2 trailer without colon", "0\r\nGET / HTTP/1.1\r\n\r\n", ""),
    BAD("9112/7.1.2 folded trailer", "0\r\nX: a\r\n b\r\n\r\n", ""),
    BAD("9112/7.1.2 space before the colon", "0\r\nX : a\r\n\r\n", ""),
    BAD("9112/7.1.2 bare LF in a trailer", "0\r\nX: a\n\r\n", ""),
    BAD("9112/7.1.2 NUL in a trailer", "0\r\nX: \0\r\n\r\n", ""),
    BAD("9112/7.1.2 empty trailer name", "0\r\n: a\r\n\r\n", ""),
};

/* Feed pieces of at most piece bytes, the first of first bytes. */
static enum http_decoded decode(const struct body_case *c, size_t first, size_t piece,
                                struct buf *data, size_t *ret_left)
{
    struct http_body_decoder decoder;
    enum http_decoded result = HTTP_DECODED_MORE;
    size_t at = 0;

    http_body_begin(&decoder, c->body, c->length);
    do {
        size_t size = at == 0 ? first : piece;
        struct slice rest = slice_skip(c->bytes, at), input, out;
        char *exact;

        size = size < rest.len ? size : rest.len;
        exact = malloc(size + 1);
        memcpy(exact, rest.at, size);
        input = slice_from(exact, size);
        while ((result = http_body_decode(&decoder, &input, &out)) == HTTP_DECODED_DATA) {
            assert_true(out.len > 0);
            assert_true(buf_append(data, out));
        }
        at += size - input.len;
        free(exact);
    } while (result == HTTP_DECODED_MORE && at < c->bytes.len);
    *ret_left = c->bytes.len - at;
    return result;
}

static bool fares_well(const struct body_case *c, size_t first, size_t piece)
{
    struct buf data;
    size_t left;
    enum http_decoded result;
    bool is_good;

    buf_init(&data, 1024);
    result = decode(c, first, piece, &data, &left);
    is_good = result == c->result && slice_equal(buf_slice(&data), c->data) &&
              (result == HTTP_DECODED_BAD || left == c->left);
    if (!is_good)
        print_error("%s (first %zu, then %zu): result %d, data \"%.*s\", left %zu\n", c->name,
                    first, piece, (int)result, SLICE_ARGS(buf_slice(&data)), left);
    buf_clear(&data);
    return is_good;
}

static void bodies_fare_as_the_rules_say(void **state)
{
    size_t wrong = 0;

    UNUSED(state);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        wrong += !fares_well(&cases[i], 1, 1);
        for (size_t first = 1; first <= cases[i].bytes.len; first++)
            wrong += !fares_well(&cases[i], first, cases[i].bytes.len);
    }
    assert_int_equal(wrong, 0);
}

/* What is handed out of the trailer section, however it is split. */
static void trailers_are_handed_out(void **state)
{
    static const struct slice whole = SLICE_INIT("1\r\na\r\n0\r\nA: 1\r\nB:\r\n\r\nrest");
    static const struct slice trailers = SLICE_INIT("A: 1\r\nB:\r\n");

    UNUSED(state);
    for (size_t piece = 1; piece <= whole.len; piece++) {
        struct http_body_decoder decoder;
        enum http_decoded result = HTTP_DECODED_MORE;
        struct buf got;
        size_t at = 0;

        buf_init(&got, 1024);
        http_body_begin(&decoder, HTTP_BODY_CHUNKED, 0);
        decoder.keeps_trailers = true;
        while (result != HTTP_DECODED_END) {
            size_t size = piece < whole.len - at ? piece : whole.len - at;
            struct slice input = slice_from(whole.at + at, size), out;

            while ((result = http_body_decode(&decoder, &input, &out)) == HTTP_DECODED_DATA ||
                   result == HTTP_DECODED_TRAILER)
                if (result == HTTP_DECODED_TRAILER)
                    assert_true(buf_append(&got, out));
            assert_int_not_equal(result, HTTP_DECODED_BAD);
            at += size - input.len;
        }
        assert_slice_equal(buf_slice(&got), trailers);
        assert_slice_equal(slice_skip(whole, at), SLICE("rest"));
        buf_clear(&got);
    }
}

/* Extensions and trailers together may have HTTP_MAX_CHUNK_OVERHEAD_BYTES, and not one more. */
static void overhead_is_bounded(void **state)
{
    UNUSED(state);
    for (size_t extra = 0; extra < 2; extra++) {
        struct http_body_decoder decoder;
        enum http_decoded result = HTTP_DECODED_MORE;
        struct slice out, start = SLICE("1;"), input = start;

        http_body_begin(&decoder, HTTP_BODY_CHUNKED, 0);
        assert_int_equal(http_body_decode(&decoder, &input, &out), HTTP_DECODED_MORE);
        /* The semicolon counts. */
        for (size_t i = 1; i < HTTP_MAX_CHUNK_OVERHEAD_BYTES + extra; i++) {
            input = SLICE("x");
            result = http_body_decode(&decoder, &input, &out);
        }
        assert_int_equal(result, extra == 0 ? HTTP_DECODED_MORE : HTTP_DECODED_BAD);
    }
}

static void only_a_body_until_close_ends_with_the_stream(void **state)
{
    struct http_body_decoder decoder;

    UNUSED(state);
    http_body_begin(&decoder, HTTP_BODY_UNTIL_CLOSE, 0);
    assert_true(http_body_ends_at_eof(&decoder));
    http_body_begin(&decoder, HTTP_BODY_LENGTH, 1);
    assert_false(http_body_ends_at_eof(&decoder));
    http_body_begin(&decoder, HTTP_BODY_CHUNKED, 0);
    assert_false(http_body_ends_at_eof(&decoder));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bodies_fare_as_the_rules_say),
        cmocka_unit_test(trailers_are_handed_out),
        cmocka_unit_test(overhead_is_bounded),
        cmocka_unit_test(only_a_body_until_close_ends_with_the_stream),
    };

    return cmocka_run_group_tests_name("http_body", tests, NULL, NULL);
}
