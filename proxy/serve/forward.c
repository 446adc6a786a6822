#include "serve/forward.h"

#include <inttypes.h>

#include "http/upgrade.h"
#include "serve/forwarded_field.h"

/* Fields added to a head at most: Host, X-Forwarded-For, -Proto, -Host, Forwarded, traceparent,
 * Max-Forwards, X-Request-Id, Via and those of a verdict; or those of a verdict, X-Request-Id and
 * Via. */
#define MAX_ADDED (9 + VERDICT_MAX_UPSTREAM_FIELDS)
_Static_assert(VERDICT_MAX_FIELDS + 2 <= MAX_ADDED, "both directions fit");

_Static_assert(HTTP_FIELD_COUNT <= 64, "field ids fit a word");
#define BIT(id) (UINT64_C(1) << HTTP_FIELD_##id)

#define FENCE_FIELDS (BIT(FENCING_TOKEN) | BIT(LOCK_KEY) | BIT(LOCK_MODE))
#define X_FORWARDED_FIELDS (BIT(X_FORWARDED_FOR) | BIT(X_FORWARDED_PROTO) | BIT(X_FORWARDED_HOST))
#define TRACE_FIELDS (BIT(TRACEPARENT) | BIT(TRACESTATE))

/* A copy with room for more, in which the fields of dropped (a set of ids) are not forwarded. */
static void copy_fields(const struct http_fields *from, uint64_t dropped, struct arena *arena,
                        struct http_fields *ret)
{
    *ret = *from;
    ret->items = arena_alloc(arena, (from->count + MAX_ADDED) * sizeof(*ret->items));
    if (from->count > 0)
        memcpy(ret->items, from->items, from->count * sizeof(*ret->items));
    for (size_t i = 0; i < ret->count; i++)
        if ((UINT64_C(1) << ret->items[i].id & dropped) != 0)
            ret->items[i].is_dropped = true;
}

static void add_field(struct http_fields *fields, enum http_field_id id, struct slice name,
                      struct slice value)
{
    fields->items[fields->count++] = (struct http_field){.name = name, .value = value, .id = id};
}

/* The hops known so far, then the peer. */
static struct slice join_forwarded_for(const struct http_fields *fields, struct slice peer,
                                       struct arena *arena)
{
    size_t room = peer.len + 1;
    char *start, *out;

    for (size_t i = 0; i < fields->count; i++)
        if (fields->items[i].id == HTTP_FIELD_X_FORWARDED_FOR)
            room += fields->items[i].value.len + 2;
    start = out = arena_reserve(arena, room);
    for (size_t i = 0; i < fields->count; i++) {
        struct slice value = fields->items[i].value;

        if (fields->items[i].id != HTTP_FIELD_X_FORWARDED_FOR || value.len == 0)
            continue;
        memcpy(out, value.at, value.len);
        out += value.len;
        *out++ = ',';
        *out++ = ' ';
    }
    memcpy(out, peer.at, peer.len);
    out += peer.len;
    arena_commit(arena, (size_t)(out - start));
    return slice_from(start, (size_t)(out - start));
}

static void add_x_forwarded(const struct http_request *head, const struct forward_hop *hop,
                            struct arena *arena, struct http_fields *fields)
{
    const struct http_fields *sent = &head->fields;

    if (hop->peer_address.at != NULL) {
        struct slice hops = hop->peer_address;

        if (hop->is_peer_trusted && sent->first[HTTP_FIELD_X_FORWARDED_FOR] > 0)
            hops = join_forwarded_for(sent, hop->peer_address, arena);
        add_field(fields, HTTP_FIELD_X_FORWARDED_FOR, SLICE("X-Forwarded-For"), hops);
    }
    if (!hop->is_peer_trusted || sent->first[HTTP_FIELD_X_FORWARDED_PROTO] == 0)
        add_field(fields, HTTP_FIELD_X_FORWARDED_PROTO, SLICE("X-Forwarded-Proto"),
                  hop->is_tls ? SLICE("https") : SLICE("http"));
    if ((!hop->is_peer_trusted || sent->first[HTTP_FIELD_X_FORWARDED_HOST] == 0) &&
        head->authority.len > 0)
        add_field(fields, HTTP_FIELD_X_FORWARDED_HOST, SLICE("X-Forwarded-Host"), head->authority);
}

/* What of the request does not go on as it is. */
static uint64_t dropped_from_request(const struct http_request *head, const struct forward_hop *hop)
{
    uint64_t dropped = BIT(LOCK_CONTEXT);

    if (!hop->is_fenced)
        dropped |= FENCE_FIELDS;
    if (!hop->is_peer_trusted || hop->forwarding == POLICY_FORWARDING_FORWARDED)
        dropped |= X_FORWARDED_FIELDS;
    else if (hop->peer_address.at != NULL)
        dropped |= BIT(X_FORWARDED_FOR);
    dropped |= BIT(FORWARDED) | BIT(X_REQUEST_ID);
    if (!hop->trace.is_sent)
        dropped |= TRACE_FIELDS;
    if (!head->expects_continue || head->body == HTTP_BODY_NONE)
        dropped |= BIT(EXPECT);
    return dropped;
}

static struct slice via(uint8_t minor)
{
    return minor == 0 ? SLICE("1.0 lockkeeper") : SLICE("1.1 lockkeeper");
}

static void drop_disguised(struct http_fields *fields)
{
    for (size_t i = 0; i < fields->count; i++)
        if (fields->items[i].id == HTTP_FIELD_OTHER &&
            http_field_is_disguised(fields->items[i].name))
            fields->items[i].is_dropped = true;
}

/* It is forwarded once more. */
static void count_down(const struct http_request *head, struct arena *arena,
                       struct http_fields *fields)
{
    uint64_t left;

    if (!http_max_forwards(head, &left) || left == UINT64_MAX)
        return;
    for (size_t i = 0; i < fields->count; i++)
        if (slice_equal_nocase(fields->items[i].name, SLICE("max-forwards")))
            fields->items[i].is_dropped = true;
    add_field(fields, HTTP_FIELD_OTHER, SLICE("Max-Forwards"),
              arena_printf(arena, "%" PRIu64, left - 1));
}

void forward_request(const struct http_request *head, const struct forward_hop *hop,
                     struct arena *arena, struct http_request *ret)
{
    *ret = *head;
    if (head->wants_upgrade && hop->passes_upgrade)
        ret->upgrade = upgrade_offer(head, arena);
    copy_fields(&head->fields, dropped_from_request(head, hop), arena, &ret->fields);
    drop_disguised(&ret->fields);
    /* The target's authority outranks Host (RFC 9112, section 3.2.2); the connection has seen to it
     * that they agree when both are there. */
    if (head->fields.first[HTTP_FIELD_HOST] == 0)
        add_field(&ret->fields, HTTP_FIELD_HOST, SLICE("Host"),
                  head->authority.len > 0 ? head->authority : hop->upstream_host);
    if (hop->forwarding != POLICY_FORWARDING_FORWARDED)
        add_x_forwarded(head, hop, arena, &ret->fields);
    if (hop->forwarding != POLICY_FORWARDING_X_FORWARDED)
        add_field(&ret->fields, HTTP_FIELD_FORWARDED, SLICE("Forwarded"),
                  forwarded_field_make(head, hop, arena));
    if (hop->trace.made.at != NULL)
        add_field(&ret->fields, HTTP_FIELD_TRACEPARENT, SLICE("traceparent"), hop->trace.made);
    count_down(head, arena, &ret->fields);
    add_field(&ret->fields, HTTP_FIELD_X_REQUEST_ID, SLICE("X-Request-Id"), hop->request_id);
    add_field(&ret->fields, HTTP_FIELD_VIA, SLICE("Via"), via(head->minor));
    for (size_t i = 0; hop->verdict != NULL && i < hop->verdict->upstream_field_count; i++)
        add_field(&ret->fields, HTTP_FIELD_OTHER, hop->verdict->upstream_fields[i].name,
                  hop->verdict->upstream_fields[i].value);
}

void forward_response(const struct http_response *head, const struct verdict *verdict,
                      struct slice request_id, struct arena *arena, struct http_response *ret)
{
    *ret = *head;
    copy_fields(&head->fields, BIT(X_REQUEST_ID), arena, &ret->fields);
    for (size_t i = 0; i < verdict->field_count; i++)
        add_field(&ret->fields, HTTP_FIELD_OTHER, verdict->fields[i].name,
                  verdict->fields[i].value);
    add_field(&ret->fields, HTTP_FIELD_X_REQUEST_ID, SLICE("X-Request-Id"), request_id);
    add_field(&ret->fields, HTTP_FIELD_VIA, SLICE("Via"), via(head->minor));
}
