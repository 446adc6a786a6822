/* Names are looked up in libuv's threads, each name once at a time however many ask.  An answer is
 * kept for a while, and a failure shortly, so that a burst of connections costs one lookup.  When
 * the name servers fail, the last addresses are given out for OLD_FOR_MS, without waiting again.
 *
 *   resolve_start -> request --(waits for)--> entry: looking up <-> fresh -> forgotten
 *
 * An entry lives in its loop's cache; it is freed when it is forgotten and its lookup is over.  A
 * request answers from its task or its timer, never from resolve_start. */
#include "net/resolve.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>

#include "base/slice.h"
#include "net/loop_private.h"

#define RESOLVE_TAG 0x52534c56u /* "RSLV" */
#define GOOD_FOR_MS 30000u
#define BAD_FOR_MS 1000u
#define OLD_FOR_MS 300000u
#define MAX_ADDRESSES 16
#define MAX_ENTRIES 64

struct entry {
    struct list_node node; /* in the cache: newest first; linked to itself: forgotten */
    struct loop *loop;
    uv_getaddrinfo_t lookup;
    bool is_looking_up;
    bool is_failing;       /* the addresses are older than the last lookup */
    struct list waiting;   /* requests */
    uint64_t until_ms;     /* how long the answer is good */
    uint64_t looked_up_ms; /* when the last lookup ended */
    uint64_t addresses_ms; /* when the addresses came */
    int error;
    size_t address_count;
    union resolve_address addresses[MAX_ADDRESSES];
    char host[];
};

struct resolve_cache {
    struct list entries;
    size_t count;
};

struct resolve_request {
    uint32_t tag;
    uint16_t port;
    int error;
    struct loop *loop;
    resolve_cb *on_resolved;
    void *owner;
    struct entry *entry; /* while it waits for one */
    struct list_node waiting_node;
    struct loop_task answer_task;
    struct timer timer;
    size_t address_count;
    union resolve_address addresses[MAX_ADDRESSES];
};

/* Literals. */

static bool parse_in6(const char *host, uint16_t port, union resolve_address *ret)
{
    size_t len = strlen(host);
    char text[INET6_ADDRSTRLEN + IF_NAMESIZE + 3];
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    char *zone;

    if (len >= 2 && host[0] == '[' && host[len - 1] == ']') {
        host++;
        len -= 2;
    }
    if (len >= sizeof(text))
        return false;
    memcpy(text, host, len);
    text[len] = '\0';
    zone = strchr(text, '%');
    if (zone != NULL) {
        *zone = '\0';
        in6.sin6_scope_id = if_nametoindex(zone + 1);
        if (in6.sin6_scope_id == 0)
            return false;
    }
    if (inet_pton(AF_INET6, text, &in6.sin6_addr) != 1)
        return false;
    ret->in6 = in6;
    return true;
}

bool resolve_literal(const char *host, uint16_t port, union resolve_address *ret_address)
{
    union resolve_address made;

    memset(&made, 0, sizeof(made));
    if (strncmp(host, "unix:", 5) == 0) {
        size_t len = strlen(host + 5);

        if (len == 0 || len >= sizeof(made.local.sun_path))
            return false;
        made.local.sun_family = AF_UNIX;
        memcpy(made.local.sun_path, host + 5, len);
    } else if (inet_pton(AF_INET, host, &made.in4.sin_addr) == 1) {
        made.in4.sin_family = AF_INET;
        made.in4.sin_port = htons(port);
    } else if (!parse_in6(host, port, &made)) {
        return false;
    }
    *ret_address = made;
    return true;
}

/* Requests. */

static void free_request(struct resolve_request *r)
{
    list_remove(&r->waiting_node);
    loop_undefer(&r->answer_task);
    timer_stop(r->loop, &r->timer);
    r->loop->owned_count--;
    r->loop->open_count--;
    r->tag = 0;
    free(r);
}

static void answer(struct resolve_request *r)
{
    union resolve_address addresses[MAX_ADDRESSES];
    size_t count = r->address_count;
    int error = r->error;
    resolve_cb *on_resolved = r->on_resolved;
    void *owner = r->owner;

    memcpy(addresses, r->addresses, count * sizeof(addresses[0]));
    /* The request is gone before its owner hears the answer, so that there is nothing to cancel. */
    free_request(r);
    on_resolved(owner, error, addresses, count);
}

static void on_answer_due(struct loop_task *task)
{
    answer(CONTAINER_OF(task, struct resolve_request, answer_task));
}

static void set_port(union resolve_address *address, uint16_t port)
{
    if (address->any.sa_family == AF_INET)
        address->in4.sin_port = htons(port);
    else if (address->any.sa_family == AF_INET6)
        address->in6.sin6_port = htons(port);
}

static void take_answer(struct resolve_request *r, const struct entry *entry)
{
    timer_stop(r->loop, &r->timer);
    r->entry = NULL;
    r->error = entry->error;
    r->address_count = entry->address_count;
    for (size_t i = 0; i < entry->address_count; i++) {
        r->addresses[i] = entry->addresses[i];
        set_port(&r->addresses[i], r->port);
    }
    loop_defer(r->loop, &r->answer_task);
}

/* The addresses may be given out although a newer lookup has failed, or does not end. */
static bool has_old_addresses(const struct entry *entry)
{
    return entry->address_count > 0 && loop_now_ms(entry->loop) - entry->addresses_ms < OLD_FOR_MS;
}

static void on_timeout(struct timer *timer)
{
    struct resolve_request *r = CONTAINER_OF(timer, struct resolve_request, timer);

    if (r->entry != NULL && has_old_addresses(r->entry)) {
        r->entry->is_failing = true;
        list_remove(&r->waiting_node);
        take_answer(r, r->entry);
        return;
    }
    r->error = UV_ETIMEDOUT;
    r->address_count = 0;
    answer(r);
}

/* Entries. */

static void free_entry_if_done(struct entry *entry)
{
    if (entry->is_looking_up || list_is_linked(&entry->node))
        return;
    CHECK(list_is_empty(&entry->waiting));
    free(entry);
}

static void forget(struct entry *entry)
{
    entry->loop->resolve_cache->count--;
    list_remove(&entry->node);
    free_entry_if_done(entry);
}

static void keep_addresses(struct entry *entry, const struct addrinfo *found)
{
    entry->address_count = 0;
    for (; found != NULL && entry->address_count < MAX_ADDRESSES; found = found->ai_next) {
        union resolve_address *address = &entry->addresses[entry->address_count];

        if (found->ai_family != AF_INET && found->ai_family != AF_INET6)
            continue;
        if (found->ai_addrlen > sizeof(*address))
            continue;
        memset(address, 0, sizeof(*address));
        memcpy(address, found->ai_addr, found->ai_addrlen);
        entry->address_count++;
    }
}

/* The name servers have said that there is no address; else they may know one, and did not tell. */
static bool is_final(int error)
{
    return error == UV_EAI_NONAME || error == UV_EAI_NODATA || error == UV_EAI_ADDRFAMILY;
}

static void finish_lookup(struct entry *entry, int error)
{
    uint64_t now_ms = loop_now_ms(entry->loop);

    if (error == 0 && entry->address_count == 0)
        error = UV_EAI_NONAME;
    if (error == 0)
        entry->addresses_ms = now_ms;
    entry->is_failing = error != 0 && !is_final(error) && has_old_addresses(entry);
    entry->error = entry->is_failing ? 0 : error;
    if (entry->error != 0)
        entry->address_count = 0;
    entry->looked_up_ms = now_ms;
    entry->until_ms = now_ms + (error == 0 ? GOOD_FOR_MS : BAD_FOR_MS);
    LIST_EACH (&entry->waiting, node) {
        list_remove(node);
        take_answer(CONTAINER_OF(node, struct resolve_request, waiting_node), entry);
    }
}

static void on_looked_up(uv_getaddrinfo_t *lookup, int status, struct addrinfo *found)
{
    struct entry *entry = lookup->data;

    entry->loop->open_count--;
    entry->is_looking_up = false;
    if (status == 0)
        keep_addresses(entry, found);
    uv_freeaddrinfo(found);
    finish_lookup(entry, status);
    free_entry_if_done(entry);
}

static void start_lookup(struct entry *entry)
{
    static const struct addrinfo hints = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
    int error;

    entry->lookup.data = entry;
    error =
        uv_getaddrinfo(&entry->loop->uv, &entry->lookup, on_looked_up, entry->host, NULL, &hints);
    if (error == 0) {
        entry->is_looking_up = true;
        entry->loop->open_count++;
        return;
    }
    finish_lookup(entry, error);
}

static void close_cache(struct loop *loop)
{
    struct resolve_cache *cache = loop->resolve_cache;

    LIST_EACH (&cache->entries, node) {
        struct entry *entry = CONTAINER_OF(node, struct entry, node);

        if (entry->is_looking_up)
            (void)uv_cancel((uv_req_t *)&entry->lookup); /* or it ends when its thread is done */
        forget(entry);
    }
    loop->resolve_cache = NULL;
    loop->resolve_cache_close = NULL;
    free(cache);
}

static struct resolve_cache *get_cache(struct loop *loop)
{
    if (loop->resolve_cache == NULL) {
        loop->resolve_cache = mem_calloc(1, sizeof(*loop->resolve_cache));
        list_init(&loop->resolve_cache->entries);
        loop->resolve_cache_close = close_cache;
    }
    return loop->resolve_cache;
}

/* Make room by forgetting the oldest entry nobody waits for. */
static void make_room(struct resolve_cache *cache)
{
    for (struct list_node *node = cache->entries.head.prev; node != &cache->entries.head;
         node = node->prev) {
        struct entry *entry = CONTAINER_OF(node, struct entry, node);

        if (!entry->is_looking_up && list_is_empty(&entry->waiting)) {
            forget(entry);
            return;
        }
    }
}

static struct entry *find_entry(struct loop *loop, const char *host)
{
    LIST_EACH (&get_cache(loop)->entries, node) {
        struct entry *entry = CONTAINER_OF(node, struct entry, node);

        if (strcasecmp(entry->host, host) == 0)
            return entry;
    }
    return NULL;
}

static struct entry *make_entry(struct loop *loop, const char *host)
{
    struct resolve_cache *cache = get_cache(loop);
    size_t size = strlen(host) + 1;
    struct entry *entry;

    if (cache->count >= MAX_ENTRIES)
        make_room(cache);
    entry = mem_calloc(1, sizeof(*entry) + size);
    entry->loop = loop;
    memcpy(entry->host, host, size);
    list_node_init(&entry->node);
    list_init(&entry->waiting);
    list_prepend(&cache->entries, &entry->node);
    cache->count++;
    start_lookup(entry);
    return entry;
}

/* With an answer that is good, or a lookup under way. */
static struct entry *get_entry(struct loop *loop, const char *host)
{
    struct entry *entry = find_entry(loop, host);

    if (entry == NULL)
        return make_entry(loop, host);
    if (!entry->is_looking_up && loop_now_ms(loop) >= entry->until_ms)
        start_lookup(entry);
    return entry;
}

void resolve_expire(struct loop *loop, const char *host)
{
    struct entry *entry = find_entry(loop, host);

    if (entry != NULL && loop_now_ms(loop) - entry->looked_up_ms >= BAD_FOR_MS)
        entry->until_ms = 0;
}

struct resolve_request *resolve_start(struct loop *loop, const char *host, uint16_t port,
                                      uint64_t timeout_ms, resolve_cb *on_resolved, void *owner)
{
    struct resolve_request *r = mem_calloc(1, sizeof(*r));
    struct entry *entry;

    r->tag = RESOLVE_TAG;
    r->loop = loop;
    r->port = port;
    r->on_resolved = on_resolved;
    r->owner = owner;
    list_node_init(&r->waiting_node);
    loop_task_init(&r->answer_task, on_answer_due);
    loop->open_count++;
    loop->owned_count++;
    if (resolve_literal(host, port, &r->addresses[0])) {
        r->address_count = 1;
        loop_defer(loop, &r->answer_task);
        return r;
    }
    if (strncmp(host, "unix:", 5) == 0 || host[0] == '\0') {
        r->error = UV_EINVAL;
        loop_defer(loop, &r->answer_task);
        return r;
    }
    timer_start(loop, &r->timer, timeout_ms, on_timeout);
    entry = get_entry(loop, host);
    if (!entry->is_looking_up || (entry->is_failing && has_old_addresses(entry))) {
        take_answer(r, entry);
    } else {
        r->entry = entry;
        list_append(&entry->waiting, &r->waiting_node);
    }
    return r;
}

void resolve_cancel(struct resolve_request **place)
{
    struct resolve_request *r = TAKE(place);

    CHECK_TAG(r, RESOLVE);
    free_request(r);
}
