#include "serve/forwarded_field.h"

#include "policy/forwarded.h"
#include "serve/forward.h"

#define MAX_HOPS 32
/* for="[", an address, "]", and what names the other parameters and stands between them. */
#define ELEMENT_FIXED_BYTES 128u

struct out {
    char *at;
};

static void put(struct out *out, struct slice text)
{
    if (text.len > 0)
        memcpy(out->at, text.at, text.len);
    out->at += text.len;
}

/* A token as it is, anything else as a quoted string. */
static void put_value(struct out *out, struct slice value)
{
    if (http_is_token(value)) {
        put(out, value);
        return;
    }
    *out->at++ = '"';
    for (size_t i = 0; i < value.len; i++) {
        if (value.at[i] == '"' || value.at[i] == '\\')
            *out->at++ = '\\';
        *out->at++ = value.at[i];
    }
    *out->at++ = '"';
}

static size_t value_room(struct slice value)
{
    return 2 * value.len;
}

static void put_parameter(struct out *out, bool *is_first, struct slice name, struct slice value)
{
    if (value.len == 0)
        return;
    if (!*is_first)
        *out->at++ = ';';
    *is_first = false;
    put(out, name);
    put_value(out, value);
}

/* An address as a node: IPv6 in brackets. */
static void put_node(struct out *out, bool *is_first, struct slice name, struct slice address)
{
    char text[INET6_ADDRSTRLEN + 2];

    if (slice_find(address, ':') == address.len) {
        put_parameter(out, is_first, name, address);
        return;
    }
    CHECK(address.len + 2 <= sizeof(text));
    text[0] = '[';
    memcpy(text + 1, address.at, address.len);
    text[address.len + 1] = ']';
    put_parameter(out, is_first, name, slice_from(text, address.len + 2));
}

static void begin_element(struct out *out, const char *start)
{
    if (out->at > start)
        put(out, SLICE(", "));
}

/* How many items from the end on are well-formed Forwarded fields, and their bytes. */
static size_t find_good(const struct http_fields *fields, size_t *ret_room)
{
    size_t first = fields->count;

    *ret_room = 0;
    while (first > 0) {
        const struct http_field *field = &fields->items[first - 1];

        if (field->id == HTTP_FIELD_FORWARDED) {
            if (!forwarded_is_fine(field->value))
                break;
            *ret_room += field->value.len + 2;
        }
        first--;
    }
    return first;
}

static void put_forwarded(struct out *out, const char *start, const struct http_fields *fields,
                          size_t first)
{
    for (size_t i = first; i < fields->count; i++) {
        if (fields->items[i].id != HTTP_FIELD_FORWARDED || fields->items[i].value.len == 0)
            continue;
        begin_element(out, start);
        put(out, fields->items[i].value);
    }
}

/* The members of all X-Forwarded-For fields, at most the last MAX_HOPS; how many there were. */
static size_t collect_hops(const struct http_fields *fields, struct slice ring[MAX_HOPS])
{
    size_t count = 0;

    for (size_t i = 0; i < fields->count; i++) {
        struct slice rest = fields->items[i].value, member;

        if (fields->items[i].id != HTTP_FIELD_X_FORWARDED_FOR)
            continue;
        while (slice_split(&rest, ',', &member)) {
            member = slice_trim(member);
            if (member.len > 0)
                ring[count++ % MAX_HOPS] = member;
        }
    }
    return count;
}

/* What the first of several proxies said: the first member. */
static struct slice first_member(const struct http_fields *fields, enum http_field_id id)
{
    struct slice value = http_fields_get(fields, id);

    return value.at != NULL ? slice_trim(slice_head(value, slice_find(value, ','))) : SLICE("");
}

static void put_x_forwarded(struct out *out, const char *start, const struct http_fields *fields,
                            const struct slice *ring, size_t count)
{
    size_t first = count > MAX_HOPS ? count - MAX_HOPS : 0;

    for (size_t i = first; i < count; i++) {
        struct policy_settings whole = {.ipv4_prefix = 32, .ipv6_prefix = 128};
        char text[INET6_ADDRSTRLEN + 4] = "unknown";
        struct in6_addr address;
        bool is_first = true;

        begin_element(out, start);
        if (policy_parse_ip(ring[i % MAX_HOPS], &address))
            policy_client_ip_text(&whole, &address, text, sizeof(text));
        put_node(out, &is_first, SLICE("for="), slice_of(text));
        if (i > 0)
            continue;
        put_parameter(out, &is_first, SLICE("proto="),
                      first_member(fields, HTTP_FIELD_X_FORWARDED_PROTO));
        put_parameter(out, &is_first, SLICE("host="),
                      first_member(fields, HTTP_FIELD_X_FORWARDED_HOST));
    }
}

static void put_own(struct out *out, const char *start, const struct http_request *head,
                    const struct forward_hop *hop)
{
    bool is_first = true;

    begin_element(out, start);
    if (hop->peer_address.at != NULL)
        put_node(out, &is_first, SLICE("for="), hop->peer_address);
    put_parameter(out, &is_first, SLICE("proto="), hop->is_tls ? SLICE("https") : SLICE("http"));
    put_parameter(out, &is_first, SLICE("host="), head->authority);
    if (hop->local_address.at != NULL)
        put_node(out, &is_first, SLICE("by="), hop->local_address);
}

struct slice forwarded_field_make(const struct http_request *head, const struct forward_hop *hop,
                                  struct arena *arena)
{
    const struct http_fields *fields = &head->fields;
    bool is_both = hop->forwarding == POLICY_FORWARDING_BOTH;
    struct slice ring[MAX_HOPS];
    size_t first_good = fields->count, count = 0, room = 0;
    struct out out;
    char *start;

    if (hop->is_peer_trusted && is_both) {
        count = collect_hops(fields, ring);
        room = (count < MAX_HOPS ? count : MAX_HOPS) * ELEMENT_FIXED_BYTES +
               value_room(http_fields_get(fields, HTTP_FIELD_X_FORWARDED_PROTO)) +
               value_room(http_fields_get(fields, HTTP_FIELD_X_FORWARDED_HOST));
    } else if (hop->is_peer_trusted) {
        first_good = find_good(fields, &room);
    }
    start = out.at =
        arena_reserve(arena, room + value_room(head->authority) + 2 * ELEMENT_FIXED_BYTES);
    if (is_both)
        put_x_forwarded(&out, start, fields, ring, count);
    else
        put_forwarded(&out, start, fields, first_good);
    /* A trusted peer on this machine has no address: it and we are one hop. */
    if (out.at == start || hop->peer_address.at != NULL)
        put_own(&out, start, head, hop);
    arena_commit(arena, (size_t)(out.at - start));
    return slice_from(start, (size_t)(out.at - start));
}
