#include "http/upgrade.h"

/* Of "websocket", or of "name/version". */
static struct slice name_of(struct slice protocol)
{
    return slice_head(protocol, slice_find(protocol, '/'));
}

static bool is_protocol(struct slice protocol)
{
    struct slice name = name_of(protocol);

    return http_is_token(name) &&
           (name.len == protocol.len || http_is_token(slice_skip(protocol, name.len + 1)));
}

static bool carries_http(struct slice protocol)
{
    static const struct slice names[] = {SLICE_INIT("h2c"), SLICE_INIT("h2"), SLICE_INIT("h3"),
                                         SLICE_INIT("http"), SLICE_INIT("tls")};

    for (size_t i = 0; i < COUNT_OF(names); i++)
        if (slice_equal_nocase(name_of(protocol), names[i]))
            return true;
    return false;
}

static bool has_protocol(struct slice list, struct slice wanted)
{
    struct slice protocol;

    while (slice_split(&list, ',', &protocol))
        if (slice_equal_nocase(slice_trim(protocol), wanted))
            return true;
    return false;
}

static bool is_in_offer(struct slice protocol, const struct slice *offer)
{
    return offer == NULL ? !carries_http(protocol) : has_protocol(*offer, protocol);
}

/* The protocols of all Upgrade fields that are in the offer, or without one those that may be
 * offered.  *ret_left_out counts the others.  False: the list is malformed. */
static bool collect(const struct http_fields *fields, const struct slice *offer,
                    struct arena *arena, struct slice *ret_list, size_t *ret_left_out)
{
    struct slice protocol, rest;
    size_t room = 0;
    char *start, *out;

    for (size_t i = 0; i < fields->count; i++)
        if (fields->items[i].id == HTTP_FIELD_UPGRADE)
            room += fields->items[i].value.len * 2 + 2;
    start = out = arena_alloc(arena, room + 1);
    for (size_t i = 0; i < fields->count; i++) {
        if (fields->items[i].id != HTTP_FIELD_UPGRADE)
            continue;
        rest = fields->items[i].value;
        while (slice_split(&rest, ',', &protocol)) {
            protocol = slice_trim(protocol);
            if (protocol.len == 0) /* RFC 9110 section 5.6.1 lets lists have empty elements */
                continue;
            if (!is_protocol(protocol))
                return false;
            if (!is_in_offer(protocol, offer)) {
                ++*ret_left_out;
                continue;
            }
            if (out > start) {
                *out++ = ',';
                *out++ = ' ';
            }
            memcpy(out, protocol.at, protocol.len);
            out += protocol.len;
        }
    }
    *ret_list = out > start ? slice_from(start, (size_t)(out - start)) : SLICE_NONE;
    return true;
}

struct slice upgrade_offer(const struct http_request *request, struct arena *arena)
{
    struct slice list = SLICE_NONE;
    size_t left_out = 0;

    if (!request->wants_upgrade || request->minor == 0 || request->body != HTTP_BODY_NONE)
        return SLICE_NONE;
    return collect(&request->fields, NULL, arena, &list, &left_out) ? list : SLICE_NONE;
}

struct slice upgrade_taken(const struct http_response *head, struct slice offer,
                           struct arena *arena)
{
    struct slice list = SLICE_NONE;
    size_t left_out = 0;

    if (offer.at == NULL || head->minor == 0 ||
        !http_fields_has_connection_option(&head->fields, SLICE("upgrade")))
        return SLICE_NONE;
    if (!collect(&head->fields, &offer, arena, &list, &left_out) || left_out > 0)
        return SLICE_NONE;
    return list;
}

struct slice upgrade_required(const struct http_response *head, struct arena *arena)
{
    struct slice list = SLICE_NONE;
    size_t left_out = 0;

    return collect(&head->fields, NULL, arena, &list, &left_out) ? list : SLICE_NONE;
}
