#include "net/proxy_protocol.h"

#include <arpa/inet.h>

#define V1_MAX_BYTES 107u /* with its CRLF */
#define V2_FIXED_BYTES 16u
#define V2_VERSION 2
#define TLV_HEADER_BYTES 3u
#define TLV_CRC32C 0x03
#define CRC_BYTES 4u

enum { COMMAND_LOCAL, COMMAND_PROXY };
enum { FAMILY_UNSPECIFIED, FAMILY_INET, FAMILY_INET6, FAMILY_UNIX, FAMILY_COUNT };
enum { TRANSPORT_UNSPECIFIED, TRANSPORT_STREAM, TRANSPORT_DATAGRAM, TRANSPORT_COUNT };

static const struct slice v1_start = SLICE_INIT("PROXY ");
static const struct slice v2_start = SLICE_INIT("\r\n\r\n\0\r\nQUIT\n");

static const char malformed[] = "proxy-header-malformed";

static enum proxy_protocol_status fail(const char **ret_reason, const char *reason)
{
    *ret_reason = reason;
    return PROXY_PROTOCOL_BAD;
}

/* Version 1: a line of text. */

static bool take_word(struct slice *rest, struct slice *ret_word)
{
    return slice_split(rest, ' ', ret_word) && ret_word->len > 0;
}

static bool read_ip(struct slice text, int family, void *ret_address)
{
    char terminated[INET6_ADDRSTRLEN];

    /* A NUL inside would end the text early for inet_pton. */
    if (text.len >= sizeof(terminated) || slice_find(text, '\0') < text.len)
        return false;
    memcpy(terminated, text.at, text.len);
    terminated[text.len] = '\0';
    return inet_pton(family, terminated, ret_address) == 1;
}

static bool read_port(struct slice text, uint16_t *ret_port)
{
    uint64_t port;

    if (text.len == 0 || text.len > 5 || (text.len > 1 && text.at[0] == '0') ||
        !slice_to_uint64(text, &port) || port > UINT16_MAX)
        return false;
    *ret_port = htons((uint16_t)port);
    return true;
}

static bool read_v1_addresses(struct slice rest, int family, union socket_address *ret_source)
{
    struct slice source, destination, source_port;
    union socket_address other;
    uint16_t port, other_port;
    bool is_v4 = family == AF_INET;

    if (!take_word(&rest, &source) || !take_word(&rest, &destination) ||
        !take_word(&rest, &source_port) || rest.at == NULL)
        return false;
    *ret_source = (union socket_address){.any = {.sa_family = (sa_family_t)family}};
    if (!read_ip(source, family,
                 is_v4 ? (void *)&ret_source->in4.sin_addr : (void *)&ret_source->in6.sin6_addr) ||
        !read_ip(destination, family,
                 is_v4 ? (void *)&other.in4.sin_addr : (void *)&other.in6.sin6_addr) ||
        !read_port(source_port, &port) || !read_port(rest, &other_port))
        return false;
    if (is_v4)
        ret_source->in4.sin_port = port;
    else
        ret_source->in6.sin6_port = port;
    return true;
}

static enum proxy_protocol_status parse_v1(struct slice bytes, struct proxy_protocol_header *ret,
                                           const char **ret_reason)
{
    struct slice line = slice_head(bytes, bytes.len < V1_MAX_BYTES ? bytes.len : V1_MAX_BYTES);
    size_t end = slice_find(line, '\n');
    struct slice rest, protocol;

    if (end == line.len)
        return line.len < V1_MAX_BYTES ? PROXY_PROTOCOL_MORE
                                       : fail(ret_reason, "proxy-header-too-long");
    ret->len = end + 1;
    if (line.at[end - 1] != '\r')
        return fail(ret_reason, malformed);
    rest = slice_skip(slice_head(line, end - 1), v1_start.len);
    protocol = slice_head(rest, slice_find(rest, ' '));
    ret->kind = PROXY_PROTOCOL_SOURCE;
    if (slice_equal(protocol, SLICE("UNKNOWN"))) {
        ret->kind = PROXY_PROTOCOL_HIDDEN; /* whatever follows in the line is to be ignored */
        return PROXY_PROTOCOL_DONE;
    }
    rest = slice_skip(rest, protocol.len < rest.len ? protocol.len + 1 : rest.len);
    if ((slice_equal(protocol, SLICE("TCP4")) && read_v1_addresses(rest, AF_INET, &ret->source)) ||
        (slice_equal(protocol, SLICE("TCP6")) && read_v1_addresses(rest, AF_INET6, &ret->source)))
        return PROXY_PROTOCOL_DONE;
    return fail(ret_reason, malformed);
}

/* Version 2: binary, in network byte order. */

static unsigned byte_at(struct slice bytes, size_t at)
{
    return (unsigned char)bytes.at[at];
}

static unsigned word_at(struct slice bytes, size_t at)
{
    return byte_at(bytes, at) << 8 | byte_at(bytes, at + 1);
}

/* CRC-32C (Castagnoli) of bytes with the four at hole taken as 0. */
static uint32_t crc32c(struct slice bytes, size_t hole)
{
    uint32_t crc = UINT32_MAX;

    for (size_t i = 0; i < bytes.len; i++) {
        crc ^= i >= hole && i < hole + CRC_BYTES ? 0 : byte_at(bytes, i);
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (UINT32_C(0x82f63b78) & -(crc & 1));
    }
    return ~crc;
}

/* The TLVs from at on, which must end with the header. */
static const char *check_tlvs(struct slice header, size_t at)
{
    while (at < header.len) {
        size_t value = at + TLV_HEADER_BYTES, len;

        if (header.len - at < TLV_HEADER_BYTES)
            return malformed;
        len = word_at(header, at + 1);
        if (header.len - value < len)
            return malformed;
        if (byte_at(header, at) == TLV_CRC32C) {
            if (len != CRC_BYTES)
                return malformed;
            if (crc32c(header, value) !=
                ((uint32_t)word_at(header, value) << 16 | word_at(header, value + 2)))
                return "proxy-header-checksum";
        }
        at = value + len;
    }
    return NULL;
}

static void read_v2_source(struct slice header, unsigned family, union socket_address *ret_source)
{
    const char *addresses = header.at + V2_FIXED_BYTES;

    *ret_source = (union socket_address){.any = {.sa_family = AF_UNSPEC}};
    if (family == FAMILY_INET) {
        ret_source->in4.sin_family = AF_INET;
        memcpy(&ret_source->in4.sin_addr, addresses, 4);
        memcpy(&ret_source->in4.sin_port, addresses + 8, 2);
    } else {
        ret_source->in6.sin6_family = AF_INET6;
        memcpy(&ret_source->in6.sin6_addr, addresses, 16);
        memcpy(&ret_source->in6.sin6_port, addresses + 32, 2);
    }
}

/* A whole header with the command PROXY. */
static const char *read_v2_proxied(struct slice header, struct proxy_protocol_header *ret)
{
    static const size_t address_bytes[FAMILY_COUNT] = {
        [FAMILY_INET] = 12, [FAMILY_INET6] = 36, [FAMILY_UNIX] = 216};
    unsigned family = byte_at(header, 13) >> 4, transport = byte_at(header, 13) & 15;

    if (family >= FAMILY_COUNT || transport >= TRANSPORT_COUNT)
        return malformed;
    ret->kind = PROXY_PROTOCOL_HIDDEN;
    /* Where addresses of no family end, and TLVs would begin, is not said. */
    if (family == FAMILY_UNSPECIFIED)
        return NULL;
    if (header.len - V2_FIXED_BYTES < address_bytes[family])
        return malformed;
    if (family != FAMILY_UNIX && transport == TRANSPORT_STREAM) {
        ret->kind = PROXY_PROTOCOL_SOURCE;
        read_v2_source(header, family, &ret->source);
    }
    return check_tlvs(header, V2_FIXED_BYTES + address_bytes[family]);
}

static enum proxy_protocol_status parse_v2(struct slice bytes, struct proxy_protocol_header *ret,
                                           const char **ret_reason)
{
    unsigned command;
    const char *reason = NULL;

    if (bytes.len > v2_start.len &&
        (byte_at(bytes, 12) >> 4 != V2_VERSION || (byte_at(bytes, 12) & 15) > COMMAND_PROXY))
        return fail(ret_reason, malformed);
    if (bytes.len < V2_FIXED_BYTES)
        return PROXY_PROTOCOL_MORE;
    ret->len = V2_FIXED_BYTES + word_at(bytes, 14);
    if (ret->len > PROXY_PROTOCOL_MAX_BYTES)
        return fail(ret_reason, "proxy-header-too-long");
    if (bytes.len < ret->len)
        return PROXY_PROTOCOL_MORE;
    command = byte_at(bytes, 12) & 15;
    ret->kind = PROXY_PROTOCOL_LOCAL; /* whatever the header says of addresses is to be ignored */
    if (command == COMMAND_PROXY)
        reason = read_v2_proxied(slice_head(bytes, ret->len), ret);
    return reason == NULL ? PROXY_PROTOCOL_DONE : fail(ret_reason, reason);
}

/* As far as both go, they are the same. */
static bool begins(struct slice bytes, struct slice start)
{
    size_t len = bytes.len < start.len ? bytes.len : start.len;

    return slice_equal(slice_head(bytes, len), slice_head(start, len));
}

enum proxy_protocol_status proxy_protocol_parse(struct slice bytes,
                                                struct proxy_protocol_header *ret_header,
                                                const char **ret_reason)
{
    *ret_header = (struct proxy_protocol_header){.kind = PROXY_PROTOCOL_LOCAL};
    if (begins(bytes, v1_start))
        return bytes.len < v1_start.len ? PROXY_PROTOCOL_MORE
                                        : parse_v1(bytes, ret_header, ret_reason);
    if (begins(bytes, v2_start))
        return bytes.len < v2_start.len ? PROXY_PROTOCOL_MORE
                                        : parse_v2(bytes, ret_header, ret_reason);
    return fail(ret_reason, "proxy-header-missing");
}
