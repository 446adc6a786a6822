/* Who the client is: addresses as text, trusted proxies, and the walk back through the hops that
 * X-Forwarded-For or Forwarded names.  Declared in policy.h. */
#include <arpa/inet.h>
#include <stdio.h>

#include "policy/forwarded.h"
#include "policy/policy.h"

/* Hops looked at, from the right; a request with more has its client at the last one. */
#define MAX_HOPS 32

static bool parse_plain(struct slice text, struct in6_addr *ret_address)
{
    char terminated[INET6_ADDRSTRLEN];
    struct in_addr v4;
    struct in6_addr v6;

    /* A NUL inside would end the text early for inet_pton. */
    if (text.len == 0 || text.len >= sizeof(terminated) || slice_find(text, '\0') < text.len)
        return false;
    memcpy(terminated, text.at, text.len);
    terminated[text.len] = '\0';
    if (inet_pton(AF_INET, terminated, &v4) == 1) {
        *ret_address = (struct in6_addr){.s6_addr = {[10] = 0xff, [11] = 0xff}};
        memcpy(&ret_address->s6_addr[12], &v4, sizeof(v4));
        return true;
    }
    if (inet_pton(AF_INET6, terminated, &v6) != 1)
        return false;
    *ret_address = v6;
    return true;
}

static bool is_port(struct slice text)
{
    uint64_t port;

    return text.len <= 5 && slice_to_uint64(text, &port) && port <= 65535;
}

bool policy_parse_ip(struct slice text, struct in6_addr *ret_address)
{
    size_t end, colon;

    if (text.len > 0 && text.at[0] == '[') {
        struct slice rest;

        end = slice_find(text, ']');
        if (end == text.len)
            return false;
        rest = slice_skip(text, end + 1);
        if (rest.len > 0 && (rest.at[0] != ':' || !is_port(slice_skip(rest, 1))))
            return false;
        text = slice_from(text.at + 1, end - 1);
        /* Brackets are for IPv6 alone. */
        return slice_find(text, ':') < text.len && parse_plain(text, ret_address);
    }
    colon = slice_find(text, ':');
    if (colon < text.len && slice_find(text, '.') < colon)
        return is_port(slice_skip(text, colon + 1)) &&
               parse_plain(slice_head(text, colon), ret_address);
    return parse_plain(text, ret_address);
}

/* Clear all bits behind the first prefix_bits. */
static struct in6_addr cut_to(const struct in6_addr *address, unsigned prefix_bits)
{
    struct in6_addr cut = *address;

    for (unsigned i = 0; i < sizeof(cut.s6_addr); i++) {
        unsigned kept = prefix_bits > i * 8 ? prefix_bits - i * 8 : 0;

        if (kept < 8)
            cut.s6_addr[i] &= (uint8_t)(0xff00u >> kept);
    }
    return cut;
}

static bool same_address(const struct in6_addr *a, const struct in6_addr *b)
{
    return memcmp(a, b, sizeof(*a)) == 0;
}

bool policy_is_trusted(const struct policy_settings *settings, const struct in6_addr *address)
{
    for (size_t i = 0; i < settings->trusted_proxy_count; i++) {
        const struct policy_cidr *cidr = &settings->trusted_proxies[i];
        struct in6_addr network = cut_to(&cidr->network, cidr->prefix_bits);
        struct in6_addr cut = cut_to(address, cidr->prefix_bits);

        if (same_address(&cut, &network))
            return true;
    }
    return false;
}

void policy_client_ip_text(const struct policy_settings *settings, const struct in6_addr *address,
                           char *ret_text, size_t text_size)
{
    bool is_v4 = IN6_IS_ADDR_V4MAPPED(address);
    uint64_t bits = is_v4 ? settings->ipv4_prefix : settings->ipv6_prefix;
    uint64_t whole = is_v4 ? 32 : 128;
    struct in6_addr cut;
    size_t len;

    CHECK(text_size >= INET6_ADDRSTRLEN + 4);
    if (bits > whole)
        bits = whole;
    cut = cut_to(address, (unsigned)bits + (is_v4 ? 96 : 0));
    if (is_v4)
        CHECK(inet_ntop(AF_INET, &cut.s6_addr[12], ret_text, (socklen_t)text_size) != NULL);
    else
        CHECK(inet_ntop(AF_INET6, &cut, ret_text, (socklen_t)text_size) != NULL);
    if (bits == whole)
        return;
    len = strlen(ret_text);
    snprintf(ret_text + len, text_size - len, "/%u", (unsigned)bits);
}

/* Cut the part behind the last comma off *rest.  False when nothing is left. */
static bool take_last(struct slice *rest, struct slice *ret_part)
{
    size_t at = rest->len;

    if (rest->at == NULL)
        return false;
    while (at > 0 && rest->at[at - 1] != ',')
        at--;
    *ret_part = slice_trim(slice_from(rest->at + at, rest->len - at));
    *rest = at > 0 ? slice_head(*rest, at - 1) : SLICE_NONE;
    return true;
}

static void walk_x_forwarded_for(const struct policy_settings *settings, const struct slice *values,
                                 size_t value_count, struct in6_addr *client)
{
    size_t hop_count = 0;

    for (size_t i = value_count; i > 0; i--) {
        struct slice rest = values[i - 1], hop;

        while (take_last(&rest, &hop)) {
            struct in6_addr address;

            /* Empty list members are to be ignored (RFC 9110, section 5.6.1.2). */
            if (hop.len == 0)
                continue;
            /* A hop counts only as the word of the one to its right. */
            if (!policy_is_trusted(settings, client) || hop_count++ == MAX_HOPS)
                return;
            if (!policy_parse_ip(hop, &address))
                return;
            *client = address;
        }
    }
}

/* The last elements of a value, in a ring; how many there are, or SIZE_MAX when it is malformed. */
static size_t read_forwarded(struct slice value, struct forwarded_element ring[MAX_HOPS])
{
    struct forwarded_element element;
    enum forwarded_status status;
    size_t count = 0;

    while ((status = forwarded_next(&value, &element)) == FORWARDED_ELEMENT)
        ring[count++ % MAX_HOPS] = element;
    return status == FORWARDED_MALFORMED ? SIZE_MAX : count;
}

static void walk_forwarded(const struct policy_settings *settings, const struct slice *values,
                           size_t value_count, struct in6_addr *client)
{
    struct forwarded_element ring[MAX_HOPS];
    size_t hop_count = 0;

    for (size_t i = value_count; i > 0 && policy_is_trusted(settings, client); i--) {
        size_t count = read_forwarded(values[i - 1], ring);

        if (count == SIZE_MAX)
            return;
        while (count > 0) {
            const struct forwarded_element *hop = &ring[--count % MAX_HOPS];

            /* Nobody vouches for what stands left of a hop that is not told. */
            if (!policy_is_trusted(settings, client) || hop_count++ == MAX_HOPS ||
                hop->kind != FORWARDED_FOR_ADDRESS)
                return;
            *client = hop->address;
        }
    }
}

void policy_find_client(const struct policy_settings *settings, const struct in6_addr *peer,
                        const struct slice *values, size_t value_count, struct in6_addr *ret_client)
{
    *ret_client = *peer;
    if (settings->forwarding == POLICY_FORWARDING_FORWARDED)
        walk_forwarded(settings, values, value_count, ret_client);
    else
        walk_x_forwarded_for(settings, values, value_count, ret_client);
}
