#include "serve/peer.h"

#include <netinet/in.h>

#define MAX_VALUES 16

/* The last values: what stands further left is further from what we trust. */
static size_t collect_values(const struct http_fields *fields, enum http_field_id id,
                             struct slice *ret_values)
{
    size_t count = 0;

    if (fields->first[id] == 0)
        return 0;
    for (size_t i = fields->first[id] - 1u; i < fields->count; i++) {
        if (fields->items[i].id != id)
            continue;
        if (count == MAX_VALUES)
            memmove(ret_values, ret_values + 1, --count * sizeof(*ret_values));
        ret_values[count++] = fields->items[i].value;
    }
    return count;
}

/* A unix socket's peer is on this machine. */
static void parse_peer(const struct peer *peer, struct in6_addr *ret_address)
{
    if (peer->address.at == NULL || !policy_parse_ip(peer->address, ret_address))
        CHECK(policy_parse_ip(SLICE("127.0.0.1"), ret_address));
}

static struct slice address_text(const struct policy_settings *settings,
                                 const struct in6_addr *address, struct arena *arena)
{
    size_t room = INET6_ADDRSTRLEN + 4;
    char *text = arena_alloc(arena, room);

    policy_client_ip_text(settings, address, text, room);
    return slice_of(text);
}

void peer_find(const struct policy_settings *settings, const char *address, bool is_hidden,
               struct peer *ret)
{
    struct in6_addr parsed;

    *ret = (struct peer){.address = slice_of(address)};
    if (slice_equal(ret->address, SLICE("unix")))
        ret->address = SLICE_NONE;
    if (settings->trusted_proxy_count == 0 || is_hidden)
        return;
    parse_peer(ret, &parsed);
    ret->is_trusted = policy_is_trusted(settings, &parsed);
}

void peer_find_client(struct peer *peer, const struct policy_settings *settings,
                      const struct http_fields *fields, struct arena *arena)
{
    static const struct policy_settings unmasked = {.ipv4_prefix = 32, .ipv6_prefix = 128};
    enum http_field_id id = settings->forwarding == POLICY_FORWARDING_FORWARDED
                                ? HTTP_FIELD_FORWARDED
                                : HTTP_FIELD_X_FORWARDED_FOR;
    struct slice values[MAX_VALUES];
    struct in6_addr address, client;
    bool is_ipv4 = peer->address.at != NULL && slice_find(peer->address, ':') == peer->address.len;

    if (peer->has_client)
        return;
    peer->has_client = true;
    /* The stream's text of an address is canonical. */
    peer->client_key = peer->client_address = peer->address;
    if (!peer->is_trusted && is_ipv4 && settings->ipv4_prefix == 32)
        return;
    parse_peer(peer, &address);
    policy_find_client(settings, &address, values,
                       peer->is_trusted ? collect_values(fields, id, values) : 0, &client);
    peer->client_key = address_text(settings, &client, arena);
    if (peer->is_trusted || peer->address.at == NULL)
        peer->client_address = address_text(&unmasked, &client, arena);
}
