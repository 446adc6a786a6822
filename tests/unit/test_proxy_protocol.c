/* PROXY headers: what they say, what is refused, and that it does not matter in which pieces they
 * come. */
#include <stdio.h>

#include "unit/unit.h"

#include "net/proxy_protocol.h"

#define TAIL "GET / HTTP/1.1\r\n"

struct text_case {
    const char *header; /* without what follows it */
    const char *source; /* NULL: hidden */
    uint16_t port;
};

static const struct text_case text_cases[] = {
    {"PROXY TCP4 203.0.113.9 10.0.0.1 56324 443\r\n", "203.0.113.9", 56324},
    {"PROXY TCP4 0.0.0.0 255.255.255.255 0 65535\r\n", "0.0.0.0", 0},
    {"PROXY TCP6 2001:db8::9 ::1 1 2\r\n", "2001:db8::9", 1},
    {"PROXY TCP6 ::ffff:203.0.113.9 ::1 1 2\r\n", "203.0.113.9", 1},
    {"PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
     "65535 65535\r\n",
     "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 65535},
    {"PROXY UNKNOWN\r\n", NULL, 0},
    {"PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
     "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
     NULL, 0},
    {"PROXY UNKNOWN what ever\ris there\r\n", NULL, 0},
};

static void assert_source(const struct proxy_protocol_header *header, const char *source,
                          uint16_t port)
{
    char text[INET6_ADDRSTRLEN];

    assert_int_equal(header->kind, source != NULL ? PROXY_PROTOCOL_SOURCE : PROXY_PROTOCOL_HIDDEN);
    if (source == NULL)
        return;
    socket_address_text(&header->source.any, text, sizeof(text));
    assert_string_equal(text, source);
    assert_int_equal(socket_address_port(&header->source.any), port);
}

/* MORE up to the last byte, and then nothing that follows matters. */
static struct proxy_protocol_header assert_header(struct slice bytes, size_t header_len)
{
    struct proxy_protocol_header header;
    const char *reason = NULL;

    for (size_t len = 0; len < header_len; len++)
        assert_int_equal(proxy_protocol_parse(slice_head(bytes, len), &header, &reason),
                         PROXY_PROTOCOL_MORE);
    for (size_t len = header_len; len <= bytes.len; len++) {
        assert_int_equal(proxy_protocol_parse(slice_head(bytes, len), &header, &reason),
                         PROXY_PROTOCOL_DONE);
        assert_int_equal(header.len, header_len);
    }
    assert_null(reason);
    return header;
}

static void test_text_headers(void **state)
{
    UNUSED(state);
    for (size_t i = 0; i < COUNT_OF(text_cases); i++) {
        struct proxy_protocol_header header;
        char bytes[200];

        snprintf(bytes, sizeof(bytes), "%s" TAIL, text_cases[i].header);
        header = assert_header(slice_of(bytes), strlen(text_cases[i].header));
        assert_source(&header, text_cases[i].source, text_cases[i].port);
    }
}

#define MALFORMED "proxy-header-malformed"
#define MISSING "proxy-header-missing"
#define TEXT(literal) SLICE_INIT(literal)

static const struct {
    struct slice bytes;
    const char *reason;
} bad_cases[] = {
    {TEXT("GET / HTTP/1.1\r\n"), MISSING},
    {TEXT("P\r"), MISSING},
    {TEXT("PROXY\r\n"), MISSING},
    {TEXT("proxy TCP4 1.1.1.1 2.2.2.2 1 2\r\n"), MISSING},
    {TEXT("\x16\x03\x01"), MISSING},
    {TEXT("\r\n\r\n\0\r\nQUIT\r"), MISSING},
    {TEXT("PROXY TCP4 1.1.1.1 2.2.2.2 1 2\n"), MALFORMED},
    {TEXT("PROXY \n"), MALFORMED},
    {TEXT("PROXY \r\n"), MALFORMED},
    {TEXT("PROXY  TCP4 1.1.1.1 2.2.2.2 1 2\r\n"), MALFORMED},
    {TEXT("PROXY TCP4\r\n"), MALFORMED},
    {TEXT("PROXY TCP4 1.1.1.1 2.2.2.2 1\r\n"), MALFORMED},
    {TEXT("PROXY TCP4 1.1.1.1 2.2.2.2 1 2 \r\n"), MALFORMED},
    {TEXT("PROXY TCP4 1.1.1.1 2.2.2.2 1 2 3\r\n"), MALFORMED},
    {TEXT("PROXY TCP4 1.1.1.1  2.2.2.2 1 2\r\n"), MALFORMED},
    {TEXT("PROXY TCP4 1.1.1.1\t2.2.2.2 1 2\r\n"), MALFORMED},
    {TEXT("PROXY TCP4 1.1.1.1\0 2.2.2.2 1 2\r\n"), MALFORMED},
    {TEXT("PROXY TCP4 1.1.1.01 2.2.2.2 1 2\r\n"), MALFORMED},
    {TEXT("PROXY TCP4 1.1.1 2.2.2.2 1 2\r\n"), MALFORMED},
    {TEXT("PROXY TCP4 1.1.1.1 2.2.2.256 1 2\r\n"), MALFORMED},
    {TEXT("PROXY TCP4 ::1 ::1 1 2\r\n"), MALFORMED},
    {TEXT("PROXY TCP4 1.1.1.1 2.2.2.2 01 2\r\n"), MALFORMED},
    {TEXT("PROXY TCP4 1.1.1.1 2.2.2.2 -1 2\r\n"), MALFORMED},
    {TEXT("PROXY TCP4 1.1.1.1 2.2.2.2 1 65536\r\n"), MALFORMED},
    {TEXT("PROXY TCP4 1.1.1.1 2.2.2.2 1 000002\r\n"), MALFORMED},
    {TEXT("PROXY TCP6 1.1.1.1 2.2.2.2 1 2\r\n"), MALFORMED},
    {TEXT("PROXY TCP6 [::1] ::1 1 2\r\n"), MALFORMED},
    {TEXT("PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n"), MALFORMED},
    {TEXT("PROXY TCP6 1:2:3:4:5:6:7:8:9:a:b:c:d:e:f:1:2:3:4:5:6:7:8 ::1 1 2\r\n"), MALFORMED},
    {TEXT("PROXY TCP5 1.1.1.1 2.2.2.2 1 2\r\n"), MALFORMED},
    {TEXT("PROXY tcp4 1.1.1.1 2.2.2.2 1 2\r\n"), MALFORMED},
    {TEXT("PROXY UNKNOWNS\r\n"), MALFORMED},
    /* 107 bytes without an end. */
    {TEXT("PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
          "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 6553555"),
     "proxy-header-too-long"},
    {TEXT("\r\n\r\n\0\r\nQUIT\n\x11"), MALFORMED}, /* version 1 in binary */
    {TEXT("\r\n\r\n\0\r\nQUIT\n\x31"), MALFORMED},
    {TEXT("\r\n\r\n\0\r\nQUIT\n\x22"), MALFORMED}, /* command 2 */
    {TEXT("\r\n\r\n\0\r\nQUIT\n\x21\x41\0\0"), MALFORMED},
    {TEXT("\r\n\r\n\0\r\nQUIT\n\x21\x13\0\0"), MALFORMED},
    {TEXT("\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0b"
          "0123456789a"),
     MALFORMED},
    {TEXT("\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x0c"
          "0123456789ab"),
     MALFORMED},
    {TEXT("\r\n\r\n\0\r\nQUIT\n\x21\x31\0\x0c"
          "0123456789ab"),
     MALFORMED},
    {TEXT("\r\n\r\n\0\r\nQUIT\n\x21\x11\x0f\xf1"), "proxy-header-too-long"},
    {TEXT("\r\n\r\n\0\r\nQUIT\n\x20\0\xff\xff"), "proxy-header-too-long"},
    /* TLVs that end too early, or go beyond the header. */
    {TEXT("\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0e"
          "0123456789ab\x04\0"),
     MALFORMED},
    {TEXT("\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0f"
          "0123456789ab\x04\0\x01"),
     MALFORMED},
    {TEXT("\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x11"
          "0123456789ab\x03\0\x02xy"),
     MALFORMED},
    {TEXT("\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x13"
          "0123456789ab\x03\0\x04wxyz"),
     "proxy-header-checksum"},
};

static void test_bad_headers(void **state)
{
    UNUSED(state);
    for (size_t i = 0; i < COUNT_OF(bad_cases); i++) {
        struct proxy_protocol_header header;
        const char *reason = NULL;

        if (proxy_protocol_parse(bad_cases[i].bytes, &header, &reason) != PROXY_PROTOCOL_BAD)
            fail_msg("case %zu was taken", i);
        if (strcmp(reason, bad_cases[i].reason) != 0)
            fail_msg("case %zu: %s", i, reason);
    }
}

/* With the payload and, behind it, another protocol's bytes. */
static struct proxy_protocol_header binary_header(unsigned command, unsigned family,
                                                  struct slice payload)
{
    char bytes[1000] = "\r\n\r\n\0\r\nQUIT\n";

    bytes[12] = (char)(0x20 | command);
    bytes[13] = (char)family;
    bytes[14] = (char)(payload.len >> 8);
    bytes[15] = (char)payload.len;
    memcpy(bytes + 16, payload.at, payload.len);
    memcpy(bytes + 16 + payload.len, TAIL, sizeof(TAIL));
    return assert_header(slice_from(bytes, 16 + payload.len + sizeof(TAIL)), 16 + payload.len);
}

#define V4 "\xcb\x00\x71\x09\x0a\x00\x00\x01\xdc\x04\x01\xbb"
#define V6                                                                                         \
    "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x09\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x00\x01\x00\x02"
/* By the document's own description, with a CRC from another implementation. */
#define V4_AND_CRC V4 "\x04\0\0\x03\0\x04\xb2\xe1\x99\xbd"

static void test_binary_headers(void **state)
{
    static const char unix_paths[216] = "/run/a.sock";
    struct proxy_protocol_header header;

    UNUSED(state);
    header = binary_header(1, 0x11, SLICE(V4));
    assert_source(&header, "203.0.113.9", 56324);
    header = binary_header(1, 0x21, SLICE(V6));
    assert_source(&header, "2001:db8::9", 1);
    /* TLVs: one of no type we know, one empty. */
    header = binary_header(1, 0x11, SLICE(V4 "\x02\0\x05host.\x04\0\0"));
    assert_source(&header, "203.0.113.9", 56324);
    header = binary_header(1, 0x11, SLICE(V4_AND_CRC));
    assert_source(&header, "203.0.113.9", 56324);
    /* Datagrams, unix sockets and what is not specified are relayed, and not told. */
    header = binary_header(1, 0x12, SLICE(V4));
    assert_source(&header, NULL, 0);
    header = binary_header(1, 0x31, slice_from(unix_paths, sizeof(unix_paths)));
    assert_source(&header, NULL, 0);
    header = binary_header(1, 0x00, SLICE(""));
    assert_source(&header, NULL, 0);
    header = binary_header(1, 0x00, SLICE("what ever"));
    assert_source(&header, NULL, 0);
    /* LOCAL: the rest says nothing, whatever it is. */
    header = binary_header(0, 0x00, SLICE(""));
    assert_int_equal(header.kind, PROXY_PROTOCOL_LOCAL);
    header = binary_header(0, 0xff, SLICE(V4 "x"));
    assert_int_equal(header.kind, PROXY_PROTOCOL_LOCAL);
}

static void test_longest_header(void **state)
{
    static char bytes[PROXY_PROTOCOL_MAX_BYTES + 1] = "\r\n\r\n\0\r\nQUIT\n\x21\x11";
    size_t tlv_len = PROXY_PROTOCOL_MAX_BYTES - 16 - 12 - 3;
    struct proxy_protocol_header header;
    const char *reason;

    UNUSED(state);
    bytes[14] = (char)((PROXY_PROTOCOL_MAX_BYTES - 16) >> 8);
    bytes[15] = (char)(PROXY_PROTOCOL_MAX_BYTES - 16);
    bytes[28] = 0x04;
    bytes[29] = (char)(tlv_len >> 8);
    bytes[30] = (char)tlv_len;
    assert_int_equal(
        proxy_protocol_parse(slice_from(bytes, PROXY_PROTOCOL_MAX_BYTES - 1), &header, &reason),
        PROXY_PROTOCOL_MORE);
    assert_int_equal(proxy_protocol_parse(slice_from(bytes, sizeof(bytes)), &header, &reason),
                     PROXY_PROTOCOL_DONE);
    assert_int_equal(header.len, PROXY_PROTOCOL_MAX_BYTES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text_headers),
        cmocka_unit_test(test_bad_headers),
        cmocka_unit_test(test_binary_headers),
        cmocka_unit_test(test_longest_header),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
