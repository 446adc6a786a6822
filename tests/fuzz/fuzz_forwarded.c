/* Lines: a Host, then values of Forwarded (or, after a line "x", of X-Forwarded-For) that came from
 * a trusted peer.  Whatever they are, what we send on is well-formed, names the peer last, and
 * whoever trusts us and the peer finds the client that we find. */
#include <stdint.h>

#include "policy/forwarded.h"
#include "serve/forward.h"
#include "serve/forwarded_field.h"

#define MAX_VALUES 16
#define PEER "10.0.0.1"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t count_elements(struct slice value, struct forwarded_element *ret_last)
{
    struct forwarded_element element;
    size_t count = 0;

    while (forwarded_next(&value, &element) == FORWARDED_ELEMENT) {
        *ret_last = element;
        count++;
    }
    return count;
}

/* Two good values are good as one, with the elements of both. */
static void check_join(struct slice a, struct slice b, struct arena *arena)
{
    struct forwarded_element last;
    struct slice joined = arena_printf(arena, "%.*s, %.*s", SLICE_ARGS(a), SLICE_ARGS(b));

    if (!forwarded_is_fine(a) || !forwarded_is_fine(b))
        return;
    CHECK(forwarded_is_fine(joined));
    CHECK(count_elements(joined, &last) == count_elements(a, &last) + count_elements(b, &last));
}

/* Bytes that a field of a request can have. */
static bool is_field_value(struct slice value)
{
    for (size_t i = 0; i < value.len; i++) {
        unsigned char byte = (unsigned char)value.at[i];

        if ((byte < ' ' && byte != '\t') || byte == 0x7f)
            return false;
    }
    return slice_trim(value).len == value.len;
}

static void check_sent(const struct http_request *head, enum policy_forwarding forwarding,
                       const struct slice *values, size_t count, struct arena *arena)
{
    struct policy_cidr trusted = {.prefix_bits = 104};
    struct policy_settings settings = {
        .trusted_proxies = &trusted, .trusted_proxy_count = 1, .forwarding = forwarding};
    struct forward_hop hop = {.peer_address = SLICE(PEER),
                              .local_address = SLICE("10.0.0.2"),
                              .forwarding = forwarding,
                              .is_peer_trusted = true};
    struct slice sent = forwarded_field_make(head, &hop, arena);
    struct forwarded_element last = {.kind = FORWARDED_FOR_NOBODY};
    struct in6_addr peer, us, client, theirs;

    CHECK(policy_parse_ip(SLICE("10.0.0.0"), &trusted.network));
    CHECK(policy_parse_ip(SLICE(PEER), &peer) && policy_parse_ip(SLICE("10.0.0.2"), &us));
    CHECK(is_field_value(sent) && forwarded_is_fine(sent));
    CHECK(count_elements(sent, &last) > 0 && last.kind == FORWARDED_FOR_ADDRESS);
    CHECK(memcmp(&last.address, &peer, sizeof(peer)) == 0);
    policy_find_client(&settings, &peer, values, count, &client);
    settings.forwarding = POLICY_FORWARDING_FORWARDED;
    policy_find_client(&settings, &us, &sent, 1, &theirs);
    /* Both look at 32 hops, of which they have one more. */
    if (count_elements(sent, &last) < 30)
        CHECK(memcmp(&client, &theirs, sizeof(client)) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice rest = slice_from((const char *)data, size), line, values[MAX_VALUES];
    enum policy_forwarding forwarding = POLICY_FORWARDING_FORWARDED;
    struct http_field fields[MAX_VALUES];
    struct http_request head = {.fields = {.items = fields}};
    size_t count = 0;
    struct arena arena;

    if (size > 4000 || !slice_split(&rest, '\n', &head.authority) ||
        !is_field_value(head.authority))
        return 0;
    if (slice_starts_with(rest, SLICE("x\n"))) {
        forwarding = POLICY_FORWARDING_BOTH;
        rest = slice_skip(rest, 2);
    }
    while (count < MAX_VALUES && slice_split(&rest, '\n', &line)) {
        if (!is_field_value(line))
            continue;
        values[count] = line;
        fields[count] = (struct http_field){.name = forwarding == POLICY_FORWARDING_BOTH
                                                        ? SLICE("x-forwarded-for")
                                                        : SLICE("forwarded"),
                                            .value = line};
        count++;
    }
    head.fields.count = count;
    http_fields_index(&head.fields);
    arena_init(&arena, NULL);
    for (size_t i = 1; i < count; i++)
        check_join(values[i - 1], values[i], &arena);
    check_sent(&head, forwarding, values, count, &arena);
    arena_clear(&arena);
    return 0;
}
