/* A client, Lockkeeper's whole way of a request (http/, serve/, guard/) and a service, on a network
 * in memory.
 *
 * Input: what the client sends, a line with "==", what services send, and a script of pieces,
 * pauses and ends on both sides.  What the service sees is, read strictly (strict_http.h), the
 * client's requests in order, with what must go taken out and what must be added put in, and never
 * more or fewer of them; what the client sees are the service's answers to those very requests, or
 * refusals of ours, in order, whole or visibly cut. */
#include "fake_net.h"
#include "fuzz_script.h"
#include "strict_http.h"

#include "guard/guard.h"
#include "http/http_conn_private.h"
#include "http/upstream_conn.h"
#include "serve/request.h"
#include "store/embedded.h"
#include "store/store.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MAX_REQUESTS 24
#define MAX_SERVICES 48

static const char policy_text[] =
    "upstream: http://192.0.2.1:80\n"
    "upstream_options: { max_connections: 2, max_waiting: 4 }\n"
    "timeouts: { header: 10s, body: 11s, idle: 12s, write: 13s, connect: 3s, response: 10s,\n"
    "            response_body: 11s, upstream_idle: 12s, tunnel: 14s }\n"
    "sizes: { max_header_bytes: 1KiB, max_header_count: 16, max_target_bytes: 256, max_body_bytes: "
    "600 }\n"
    "access_log: off\n"
    "routes:\n"
    "  - name: limited\n"
    "    match: { path: /limited }\n"
    "    limits: [ { name: rate, key: '{header.x-key}', on_missing_key: deny, rate: 1/hour, burst: "
    "1 "
    "} ]\n"
    "  - name: everything\n";

struct service {
    struct fake_peer *peer;
    bool is_connected;
    size_t order[MAX_REQUESTS * 2], order_count; /* requests that went out on it */
};

/* A request of the client, as a strict reader finds it. */
struct exchange {
    struct strict_message head;
    struct strict_body body;
    size_t
        behind; /* where the input goes on behind the head: a tunnel's bytes, if it becomes one */
    struct service *service; /* that it went out to last; NULL: to none */
    size_t sent_count, answer_at;
};

struct world {
    struct loop *loop;
    struct metrics *metrics;
    struct policy *policy;
    struct embedded *embedded;
    struct log_context log;
    struct store *store;
    struct serve_env env;
    struct http_server server;
    struct fake_peer client;
    struct slice input, service_input;
    size_t sent;
    struct fuzz_script script;
    struct service services[MAX_SERVICES];
    size_t service_count;
    struct exchange exchanges[MAX_REQUESTS];
    size_t exchange_count;
    bool is_disturbed;
};

static struct world world; /* of one input, but for what is opened once */

static const struct strict_limits limits = {
    .max_head_bytes = 1024, .max_fields = 16, .max_target_bytes = 256};
static const struct strict_limits wide = {
    .max_head_bytes = SIZE_MAX, .max_fields = STRICT_MAX_FIELDS, .max_target_bytes = SIZE_MAX};

static bool same(struct slice a, struct slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.at, b.at, a.len) == 0);
}

/* --- what the client asks for --- */

/* All requests that may be seen. */
static void read_requests(struct world *w)
{
    struct slice rest = w->input;

    while (w->exchange_count < MAX_REQUESTS) {
        struct exchange *x = &w->exchanges[w->exchange_count];

        if (strict_request(rest, &limits, &x->head) != STRICT_OK)
            return;
        rest = slice_skip(rest, x->head.head_end);
        x->behind = w->input.len - rest.len;
        strict_read_body(&x->head, rest, false, &x->body);
        w->exchange_count++;
        if (!x->body.is_whole || x->head.closes)
            return;
        rest = slice_skip(rest, x->body.end);
    }
}

/* What came behind the head of a 101 in answer to x; false: it is no tunnel. */
static bool find_tunnel(const struct exchange *x, struct slice *ret_bytes)
{
    struct strict_message m;
    struct slice bytes;

    if (x->service == NULL || !strict_each_option(&x->head, strict_is_option, "upgrade"))
        return false;
    bytes = slice_skip(buf_slice(&x->service->peer->delivered), x->answer_at);
    do {
        if (strict_response(bytes, &limits, false, &m) != STRICT_OK)
            return false;
        bytes = slice_skip(bytes, m.head_end);
    } while (m.status < 200 && m.status != 101);
    *ret_bytes = bytes;
    return m.status == 101;
}

/* --- what the services see --- */

static void on_connecting(void *script, struct stream *stream)
{
    struct world *w = script;

    CHECK(w->service_count < MAX_SERVICES);
    w->services[w->service_count++].peer = stream->peer;
}

static bool are_hex(const char *at, size_t count, bool *ret_only_zero)
{
    *ret_only_zero = true;
    for (size_t i = 0; i < count; i++) {
        if (at[i] == '\0' || strchr("0123456789abcdef", at[i]) == NULL)
            return false;
        *ret_only_zero &= at[i] == '0';
    }
    return true;
}

/* One traceparent, and good: W3C Trace Context, section 3.2.2.  Else neither it nor a tracestate
 * goes on. */
static bool is_traced(const struct strict_message *m)
{
    struct slice value = strict_get(m, "traceparent");
    bool zero_version, zero_trace, zero_parent, zero_flags;

    return strict_count(m, "traceparent") == 1 && value.len >= 55 &&
           are_hex(value.at, 2, &zero_version) && memcmp(value.at, "ff", 2) != 0 &&
           value.at[2] == '-' && are_hex(value.at + 3, 32, &zero_trace) && !zero_trace &&
           value.at[35] == '-' && are_hex(value.at + 36, 16, &zero_parent) && !zero_parent &&
           value.at[52] == '-' && are_hex(value.at + 53, 2, &zero_flags) &&
           (value.len == 55 || (!zero_version && value.at[55] == '-'));
}

/* With underscores for hyphens: Lockkeeper knows it, and services may take it for the real one. */
static bool is_disguised(struct slice name)
{
    static const char *const names[] = {
        "keep-alive",      "proxy-connection", "transfer-encoding",   "http2-settings",
        "content-length",  "x-forwarded-for",  "x-forwarded-proto",   "x-forwarded-host",
        "x-request-id",    "retry-after",      "ratelimit-policy",    "fencing-token",
        "lock-key",        "lock-mode",        "lock-status",         "lock-context",
        "idempotency-key", "user-agent",       "proxy-authorization", "proxy-authenticate",
    };
    char straight[32];
    bool has_underscore = false;

    if (name.len >= sizeof(straight))
        return false;
    for (size_t i = 0; i < name.len; i++) {
        has_underscore |= name.at[i] == '_';
        straight[i] = name.at[i] == '_' ? '-' : name.at[i];
    }
    for (size_t i = 0; i < COUNT_OF(names) && has_underscore; i++)
        if (strict_same_name(slice_from(straight, name.len), names[i]))
            return true;
    return false;
}

/* Fields that Lockkeeper takes out or writes itself. */
static bool is_rewritten(const struct strict_message *m, struct slice name)
{
    static const char *const names[] = {
        "content-length",    "expect",       "forwarded",        "x-forwarded-for",
        "x-forwarded-proto", "x-request-id", "x-forwarded-host", "fencing-token",
        "lock-key",          "lock-mode",    "lock-context",
    };

    for (size_t i = 0; i < COUNT_OF(names); i++)
        if (strict_same_name(name, names[i]))
            return true;
    if (strict_same_name(name, "traceparent") || strict_same_name(name, "tracestate"))
        return !is_traced(m);
    if (strict_same_name(name, "max-forwards"))
        return same(m->method, SLICE("OPTIONS")) || same(m->method, SLICE("TRACE"));
    if (is_disguised(name))
        return true;
    return strict_is_hop_by_hop(m, name);
}

static bool is_added(struct slice name)
{
    static const char *const names[] = {
        "host",
        "content-length",
        "transfer-encoding",
        "expect",
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-forwarded-host",
        "x-request-id",
        "via",
        "connection",
        "upgrade",
        "max-forwards",
    };

    for (size_t i = 0; i < COUNT_OF(names); i++)
        if (strict_same_name(name, names[i]))
            return true;
    return false;
}

/* The request that went out is the client's. */
static void compare_request(const struct exchange *x, const struct strict_message *m)
{
    const struct strict_message *head = &x->head;
    size_t at = 0;

    if (strict_count(m, "upgrade") >
        0) /* only what the client has offered, and a service may take */
        CHECK(strict_count(head, "upgrade") > 0 && head->minor == 1 &&
              head->framing == STRICT_NO_BODY &&
              strict_each_option(head, strict_is_option, "upgrade"));
    CHECK(same(m->method, head->method) && same(m->path, head->path));
    CHECK(same(m->query, head->query) && (m->query.at == NULL) == (head->query.at == NULL));
    CHECK(m->minor == 1 && m->framing == head->framing && m->length == head->length);
    CHECK(head->host.at == NULL || same(m->host, strict_get(head, "host")) ||
          same(m->host, head->host));
    CHECK(strict_count(m, "x-request-id") == 1 && strict_count(m, "x-forwarded-for") == 1);
    for (size_t i = 0; i < head->field_count; i++) {
        if (is_rewritten(head, head->fields[i].name))
            continue;
        CHECK(at < m->field_count && same(m->fields[at].name, head->fields[i].name) &&
              same(m->fields[at].value, head->fields[i].value));
        /* Expect goes on only to be met. */
        do
            at++;
        while (at < m->field_count && strict_same_name(m->fields[at].name, "expect"));
    }
    for (; at < m->field_count; at++)
        CHECK(is_added(m->fields[at].name));
}

/* The exchange that runs on the client's connection. */
static size_t running_number(struct world *w)
{
    struct list_node *node = list_first(&w->server.active);

    CHECK(node != NULL);
    return CONTAINER_OF(node, struct http_conn, node)->request_number - 1;
}

static void on_writing(void *script, struct stream *stream, struct slice first_part)
{
    struct world *w = script;
    struct service *service = NULL;
    struct strict_message m;
    struct exchange *x;
    struct slice tunnel;
    size_t number;

    for (size_t i = 0; i < w->service_count; i++)
        if (w->services[i].peer == stream->peer)
            service = &w->services[i];
    if (service == NULL || strict_request(first_part, &wide, &m) != STRICT_OK ||
        strict_count(&m, "via") == 0)
        return; /* to the client, or a body: none but ours says Via with the rest in one piece */
    number = running_number(w);
    CHECK(number < w->exchange_count);
    x = &w->exchanges[number];
    if (x->service == service && find_tunnel(x, &tunnel))
        return;
    compare_request(x, &m);
    CHECK(x->sent_count++ < 2);
    service->order[service->order_count++] = number;
    x->service = service;
    x->answer_at = buf_len(&stream->peer->delivered);
}

/* All that was written to a service is what went out, with the clients' bodies. */
static void check_written(struct world *w, const struct service *service)
{
    struct slice rest = buf_slice(&service->peer->written), tunnel;

    for (size_t i = 0; i < service->order_count; i++) {
        struct exchange *x = &w->exchanges[service->order[i]];
        struct strict_message m;
        struct strict_body body;

        CHECK(strict_request(rest, &wide, &m) == STRICT_OK);
        compare_request(x, &m);
        rest = slice_skip(rest, m.head_end);
        strict_read_body(&m, rest, false, &body);
        CHECK(!body.is_bad && (body.is_whole || i + 1 == service->order_count));
        CHECK(buf_len(&body.data) <= buf_len(&x->body.data));
        CHECK(
            same(buf_slice(&body.data), slice_head(buf_slice(&x->body.data), buf_len(&body.data))));
        CHECK(!body.is_whole || x->body.is_whole);
        rest = slice_skip(rest, body.is_whole ? body.end : rest.len);
        buf_clear(&body.data);
        if (i + 1 == service->order_count && rest.len > 0 && find_tunnel(x, &tunnel)) {
            struct slice sent = slice_skip(w->input, x->behind);

            CHECK(rest.len <= sent.len && same(rest, slice_head(sent, rest.len)));
            return;
        }
    }
    CHECK(rest.len == 0);
}

/* --- what the client gets --- */

/* The service's final answer to x; false when there is none, or none that is valid. */
static bool find_answer(const struct exchange *x, struct strict_message *m,
                        struct strict_body *body)
{
    struct slice bytes;
    bool to_head = same(x->head.method, SLICE("HEAD"));

    if (x->service == NULL)
        return false;
    bytes = slice_skip(buf_slice(&x->service->peer->delivered), x->answer_at);
    do {
        if (strict_response(bytes, &limits, to_head, m) != STRICT_OK || m->status == 101)
            return false;
        bytes = slice_skip(bytes, m->head_end);
    } while (m->status < 200);
    strict_read_body(m, bytes, x->service->peer->is_end_told, body);
    return true;
}

/* The answer the client got to x is the service's: the same status, and what it got of the body. */
static bool is_services(const struct exchange *x, const struct strict_message *got,
                        const struct strict_body *got_body)
{
    struct strict_message m;
    struct strict_body body;
    size_t len = buf_len(&got_body->data);
    bool is_it;

    if (!find_answer(x, &m, &body))
        return false;
    is_it = m.status == got->status && same(m.reason, got->reason) && len <= buf_len(&body.data) &&
            same(buf_slice(&got_body->data), slice_head(buf_slice(&body.data), len)) &&
            strict_count(got, "via") > 0;
    if (is_it && got_body->is_whole && got->framing != STRICT_NO_BODY)
        CHECK(body.is_whole && len == buf_len(&body.data)); /* what was cut does not look whole */
    buf_clear(&body.data);
    return is_it;
}

/* One answer off the front of *got; false: the rest is the beginning of one. */
static bool check_answer(struct world *w, const struct exchange *x, struct slice *got,
                         bool *ret_closes)
{
    bool is_end = w->client.is_ended && !w->client.is_reset && !w->client.has_reset &&
                  buf_len(&w->client.pending) == 0;
    struct strict_message m;
    struct strict_body body;
    struct slice tunnel;
    enum strict_verdict verdict;

    do {
        verdict =
            strict_response(*got, &wide, x != NULL && same(x->head.method, SLICE("HEAD")), &m);
        CHECK(verdict != STRICT_BAD);
        if (verdict == STRICT_MORE)
            return false;
        *got = slice_skip(*got, m.head_end);
        if (m.status == 101) { /* from here on the service's bytes as they are */
            CHECK(x != NULL && find_tunnel(x, &tunnel) && got->len <= tunnel.len);
            CHECK(same(*got, slice_head(tunnel, got->len)));
            return false;
        }
    } while (m.status < 200);
    strict_read_body(&m, *got, is_end, &body);
    CHECK(!body.is_bad);
    if (x != NULL && same(x->head.method, SLICE("OPTIONS")) && m.status == 200 && m.length == 0 &&
        strict_count(&m, "via") == 0)
        CHECK(strict_count(&x->head, "max-forwards") == 1);
    else if (x == NULL || !is_services(x, &m, &body))
        CHECK(m.status >= 400 &&
              same(strict_get(&m, "content-type"), SLICE("application/problem+json")) &&
              m.framing != STRICT_TO_END);
    *ret_closes = m.closes;
    if (body.is_whole)
        *got = slice_skip(*got, body.end);
    buf_clear(&body.data);
    return body.is_whole;
}

static void check_got(struct world *w)
{
    struct slice got = buf_slice(&w->client.got);
    bool closes = false;

    for (size_t i = 0; got.len > 0; i++) {
        const struct exchange *x = i < w->exchange_count ? &w->exchanges[i] : NULL;

        CHECK(!closes && i <= w->exchange_count);
        if (!check_answer(w, x, &got, &closes))
            return;
        CHECK(x != NULL || closes);
    }
}

/* --- the script --- */

static void client_step(struct world *w, unsigned op, unsigned choice)
{
    size_t left = w->input.len - w->sent, count = op == 0 ? choice + 1u : choice * 16u;

    if (op < 2) {
        count = count < left ? count : left;
        if (!w->client.has_ended && !w->client.has_reset) {
            fake_send(&w->client, slice_from(w->input.at + w->sent, count));
            w->sent += count;
        }
        (void)fake_deliver(&w->client, op == 0 ? choice / 4 + 1 : SIZE_MAX);
    } else if (op == 2) {
        (void)fake_take(w->loop, &w->client, choice * 8u + 1);
    } else {
        w->client.has_ended |= choice % 8 == 0;
        w->client.has_reset |= choice % 8 == 1;
        (void)fake_deliver(&w->client, SIZE_MAX);
    }
}

static void send_answer(struct fake_peer *peer, unsigned choice)
{
    static const char *const answers[] = {
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "HTTP/1.1 204 No Content\r\nConnection: x\r\nX: y\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.0 200 OK\r\n\r\nuntil the end",
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\n1",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab",
        "HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    };

    fake_send(peer, slice_of(answers[choice % COUNT_OF(answers)]));
}

static void service_step(struct world *w, unsigned op, unsigned choice)
{
    struct service *s =
        &w->services[fuzz_byte(&w->script) % (w->service_count + (w->service_count == 0))];
    size_t count = choice < w->service_input.len ? choice : w->service_input.len;

    if (w->service_count == 0)
        return;
    if (!s->is_connected) {
        s->is_connected = true;
        if (s->peer->stream != NULL)
            fake_connected(s->peer, choice < 224 ? 0 : -ECONNREFUSED);
    } else if (op == 0) {
        fake_send(s->peer, slice_head(w->service_input, count));
        w->service_input = slice_skip(w->service_input, count);
        (void)fake_deliver(s->peer, SIZE_MAX);
    } else if (op == 1) {
        send_answer(s->peer, choice);
        (void)fake_deliver(s->peer, choice / 8 + 1);
    } else if (op == 2) {
        (void)fake_take(w->loop, s->peer, choice * 4u + 1);
    } else if (op == 3) {
        s->peer->has_ended |= choice % 4 == 0;
        s->peer->has_reset |= choice % 4 == 1;
        (void)fake_deliver(s->peer, SIZE_MAX);
    } else {
        (void)fake_deliver(s->peer, choice + 1u);
    }
}

static void step(struct world *w)
{
    unsigned op = fuzz_byte(&w->script), choice = fuzz_byte(&w->script);

    if (op % 16 < 6)
        client_step(w, op % 16 < 3 ? op % 16 : op % 16 == 5 ? 3 : 1, choice);
    else if (op % 16 < 15)
        service_step(w, op % 16 < 8 ? 1 : op % 16 - 8, choice);
    else
        fake_wait(w->loop, choice > 100 ? (choice - 100u) * 300u : choice);
    if (op < 224) /* else what was put off waits for the next step too */
        fake_turn(w->loop);
}

/* Everything is sent, connected to and taken; then both sides are silent. */
static void settle(struct world *w)
{
    bool goes_on = true;

    client_step(w, 1, 255);
    while (goes_on) {
        goes_on = fake_deliver(&w->client, SIZE_MAX);
        fake_turn(w->loop);
        goes_on |= fake_take(w->loop, &w->client, SIZE_MAX);
        for (size_t i = 0; i < w->service_count; i++) {
            struct service *s = &w->services[i];

            fake_turn(w->loop);
            if (!s->is_connected && s->peer->stream != NULL)
                fake_connected(s->peer, 0);
            s->is_connected = true;
            goes_on |= fake_deliver(s->peer, SIZE_MAX);
            fake_turn(w->loop);
            goes_on |= fake_take(w->loop, s->peer, SIZE_MAX);
        }
        fake_turn(w->loop);
    }
}

static uint64_t keyspace_clock(void *owner)
{
    struct world *w = owner;

    return w->loop->now_ms * 1000;
}

/* What all inputs share. */
static void open_once(struct world *w)
{
    struct policy_problems problems;

    log_set_level(LOG_ERROR);
    policy_problems_init(&problems);
    w->policy = policy_load_text("fuzz.yaml", slice_of(policy_text), &problems);
    if (w->policy == NULL)
        policy_problems_print(&problems, stderr, false);
    CHECK(w->policy != NULL);
    policy_problems_clear(&problems);
    w->metrics = metrics_open(1);
    policy_bind_metrics(w->policy, w->metrics);
    w->embedded = embedded_open(1 << 20);
    embedded_set_clock(w->embedded, keyspace_clock, w);
}

static void open_world(struct world *w)
{
    static const struct store_settings store = {.url = "embedded",
                                                .timeout_ms = 50,
                                                .connect_timeout_ms = 1000,
                                                .max_pending = 100,
                                                .breaker_failures = 5,
                                                .breaker_open_ms = 1000};
    struct tls_context *no_tls = NULL;

    CHECK(loop_open(&w->loop) == 0);
    w->loop->on_connecting = on_connecting;
    w->loop->on_writing = on_writing;
    w->loop->script = w;
    w->log.field = LOG_STR("test", "fuzz");
    w->env = (struct serve_env){.loop = w->loop,
                                .metrics = w->metrics,
                                .shard = metrics_shard(w->metrics, 1),
                                .log = &w->log};
    list_init(&w->env.detached);
    w->env.snapshot = serve_snapshot_open(w->loop, policy_ref(w->policy), &no_tls, w->metrics,
                                          w->env.shard, &w->log);
    w->env.policy = w->env.snapshot->policy;
    w->store = store_open(w->loop, &store, w->embedded, w->metrics, w->env.shard, &w->log);
    w->env.guards = guard_worker_open(w->loop, w->store, w->env.shard, &w->log);
    http_server_init(&w->server, w->loop, &request_events, &w->env);
    w->server.settings = request_conn_settings(w->policy);
    http_server_accept(&w->server, fake_open(w->loop, &w->client));
}

static void close_world(struct world *w)
{
    request_end_detached(&w->env);
    http_server_close(&w->server);
    guard_worker_close(&w->env.guards);
    store_close(&w->store);
    w->env.policy = NULL;
    serve_snapshot_unref(&w->env.snapshot);
    fake_turn(w->loop);
    for (size_t i = 0; i < w->service_count; i++) {
        fake_peer_clear(w->services[i].peer);
        free(w->services[i].peer);
    }
    for (size_t i = 0; i < w->exchange_count; i++)
        buf_clear(&w->exchanges[i].body.data);
    fake_peer_clear(&w->client);
    loop_close(&w->loop);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct world *w = &world;
    size_t cut = 0;

    if (w->policy == NULL)
        open_once(w);
    memset(&w->client, 0, sizeof(*w) - offsetof(struct world, client));
    if (!fuzz_split(data, size, &w->input, &w->script))
        return 0;
    w->service_input = SLICE("");
    while (cut + 4 <= w->input.len && memcmp(w->input.at + cut, "\n==\n", 4) != 0)
        cut++;
    if (cut + 4 <= w->input.len) {
        w->service_input = slice_skip(w->input, cut + 4);
        w->input = slice_head(w->input, cut);
    }
    read_requests(w);
    open_world(w);
    while (w->script.len > 0)
        step(w);
    settle(w);
    check_got(w);
    /* Who is silent keeps nobody, and no connection. */
    fake_wait(w->loop, 300000);
    CHECK(w->server.connection_count == 0 && w->env.active_requests == 0);
    CHECK(list_is_empty(&w->env.detached));
    for (size_t i = 0; i < w->service_count; i++) {
        CHECK(w->services[i].peer->stream == NULL);
        check_written(w, &w->services[i]);
    }
    close_world(w);
    return 0;
}
