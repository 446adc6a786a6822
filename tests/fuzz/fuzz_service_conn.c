/* The service's side of exchanges, upstream_pool and upstream_conn, on a network in memory.
 *
 * Input: what services send, and a script: which exchanges begin, which connections come about, how
 * much of the input comes on which of them or an answer that is well-formed, in which pieces, how
 * the owners of the exchanges behave, how time passes.  What an owner is told of an answer must be
 * what a strict reader (strict_http.h) finds in the bytes that came on its connection since its
 * request went out; what went out is, read strictly, the requests in order and nothing else, and
 * behind an answer that leaves room for doubt nothing goes out at all.  Every exchange ends exactly
 * once, and in the end nothing is left. */
#include "fake_net.h"
#include "fuzz_script.h"
#include "strict_http.h"

#include "base/log.h"
#include "http/upstream_conn.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MAX_EXCHANGES 24
#define MAX_SERVICES 64

struct service {
    struct fake_peer *peer;
    bool is_connected;
    size_t order[MAX_EXCHANGES * 2], order_count; /* exchanges that went out on it */
};

enum outcome { RUNNING, ENDED, FAILED, CANCELLED };

struct exchange {
    size_t number;
    char path[8];
    struct arena arena;
    struct http_request request;
    struct http_field fields[3];
    struct upstream_exchange *handle;
    enum outcome outcome;
    bool is_connected, has_head, upload_ended, is_stopped, closes;
    struct service *service; /* that it went out to last */
    size_t sent_count;       /* how often it went out */
    size_t answer_at, at;    /* in what the connection has read: the answer, and what follows the
                                heads that were told */
    struct strict_message head;
    size_t body_bytes, interim_count;
    struct buf upload;
};

struct world {
    struct loop *loop;
    struct upstream_pool *pool;
    struct fuzz_script script;
    struct slice input;
    struct service services[MAX_SERVICES];
    size_t service_count;
    struct exchange exchanges[MAX_EXCHANGES];
    size_t exchange_count;
    const char *host_field;
};

static struct world world; /* of one input */

static const struct strict_limits limits = {
    .max_head_bytes = 512, .max_fields = 12, .max_target_bytes = SIZE_MAX};
static const struct strict_limits wide = {
    .max_head_bytes = SIZE_MAX, .max_fields = STRICT_MAX_FIELDS, .max_target_bytes = SIZE_MAX};

static bool same(struct slice a, struct slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.at, b.at, a.len) == 0);
}

/* --- what an exchange is told --- */

/* All of the answer that has come. */
static struct slice answer_bytes(const struct exchange *x, size_t from)
{
    return slice_skip(buf_slice(&x->service->peer->delivered), from);
}

static bool has_ended(const struct exchange *x)
{
    return x->service->peer->is_end_told;
}

static void compare_head(struct exchange *x, const struct http_response *head)
{
    struct strict_message *m = &x->head;

    CHECK(x->outcome == RUNNING && !x->has_head && x->service != NULL);
    CHECK(strict_response(answer_bytes(x, x->at), &limits, x->request.is_head, m) == STRICT_OK);
    CHECK(m->status == head->status && m->minor == head->minor && same(m->reason, head->reason));
    CHECK(m->field_count == head->fields.count);
    for (size_t i = 0; i < m->field_count; i++) {
        const struct http_field *field = &head->fields.items[i];

        CHECK(same(m->fields[i].name, field->name) && same(m->fields[i].value, field->value));
        CHECK(field->is_dropped == strict_is_hop_by_hop(m, field->name));
    }
    x->at += m->head_end;
}

static void on_connected(void *owner)
{
    struct exchange *x = owner;

    CHECK(x->outcome == RUNNING && !x->is_connected && x->service != NULL);
    x->is_connected = true;
}

static void on_interim(void *owner, const struct http_response *head)
{
    struct exchange *x = owner;

    compare_head(x, head);
    x->interim_count++;
    CHECK(head->status < 200 && head->status != 101);
}

static void on_head(void *owner, const struct http_response *head)
{
    static const enum http_body bodies[] = {[STRICT_NO_BODY] = HTTP_BODY_NONE,
                                            [STRICT_LENGTH] = HTTP_BODY_LENGTH,
                                            [STRICT_CHUNKED] = HTTP_BODY_CHUNKED,
                                            [STRICT_TO_END] = HTTP_BODY_UNTIL_CLOSE};
    struct exchange *x = owner;

    compare_head(x, head);
    x->has_head = true;
    CHECK(head->status >= 200 && head->body == bodies[x->head.framing]);
    CHECK(head->body != HTTP_BODY_LENGTH || head->content_length == x->head.length);
}

static void on_body(void *owner, struct slice data)
{
    struct exchange *x = owner;
    struct strict_body body;

    CHECK(x->outcome == RUNNING && x->has_head && data.len > 0);
    strict_read_body(&x->head, answer_bytes(x, x->at), false, &body);
    CHECK(x->body_bytes + data.len <= buf_len(&body.data));
    CHECK(same(data, slice_from(buf_slice(&body.data).at + x->body_bytes, data.len)));
    x->body_bytes += data.len;
    buf_clear(&body.data);
}

static void on_drain(void *owner)
{
    struct exchange *x = owner;

    CHECK(x->outcome == RUNNING && x->is_connected);
}

static void finish(struct exchange *x, enum outcome outcome)
{
    CHECK(x->outcome == RUNNING);
    x->outcome = outcome;
    x->handle = NULL;
    arena_clear(&x->arena);
}

static void on_end(void *owner)
{
    struct exchange *x = owner;
    struct strict_body body;

    CHECK(x->has_head);
    strict_read_body(&x->head, answer_bytes(x, x->at), has_ended(x), &body);
    CHECK(body.is_whole && x->body_bytes == buf_len(&body.data));
    buf_clear(&body.data);
    finish(x, ENDED);
}

/* What has come is no answer, or may be none. */
static void check_is_bad(struct exchange *x)
{
    struct strict_body body;
    enum strict_verdict verdict;

    if (!x->has_head) {
        verdict = strict_response(answer_bytes(x, x->at), &limits, x->request.is_head, &x->head);
        CHECK(verdict != STRICT_OK || x->head.status == 101 || x->interim_count == 32);
        return;
    }
    strict_read_body(&x->head, answer_bytes(x, x->at), false, &body);
    CHECK(body.is_bad || body.may_be_bad);
    buf_clear(&body.data);
}

static void on_fail(void *owner, enum upstream_failure failure)
{
    struct exchange *x = owner;
    size_t came = x->service != NULL ? answer_bytes(x, x->answer_at).len : 0;

    CHECK(upstream_failure_was_sent(failure) == (x->sent_count > 0));
    CHECK((failure == UPSTREAM_CLOSED && came == 0) || failure != UPSTREAM_CLOSED);
    CHECK(failure != UPSTREAM_CUT || came > 0);
    if (failure == UPSTREAM_BAD_ANSWER)
        check_is_bad(x);
    finish(x, FAILED);
}

static const struct upstream_events events = {
    .on_connected = on_connected,
    .on_interim = on_interim,
    .on_head = on_head,
    .on_body = on_body,
    .on_drain = on_drain,
    .on_end = on_end,
    .on_fail = on_fail,
};

/* --- what the services see --- */

static void on_connecting(void *script, struct stream *stream)
{
    struct world *w = script;

    CHECK(w->service_count < MAX_SERVICES);
    w->services[w->service_count++].peer = stream->peer;
}

/* The connection may be used again: x has been answered as a whole, with nothing behind it, and has
 * been sent as a whole, and neither side wants to close. */
static void check_may_follow(struct exchange *x)
{
    struct strict_body body;

    CHECK(x->has_head && !x->head.closes && x->head.framing != STRICT_TO_END && !has_ended(x));
    CHECK(x->request.body == HTTP_BODY_NONE || x->upload_ended);
    strict_read_body(&x->head, answer_bytes(x, x->at), false, &body);
    CHECK(body.is_whole && body.end == answer_bytes(x, x->at).len);
    buf_clear(&body.data);
}

/* A head goes out: its exchange waits for what comes from now on. */
static void on_writing(void *script, struct stream *stream, struct slice first_part)
{
    struct world *w = script;
    struct service *service = NULL;
    struct strict_message m;
    struct exchange *x;
    uint64_t number = 0;

    if (first_part.len < 16 || strict_request(first_part, &wide, &m) != STRICT_OK)
        return; /* a body: none of ours looks like a head */
    for (size_t i = 0; i < w->service_count; i++)
        if (w->services[i].peer == stream->peer)
            service = &w->services[i];
    CHECK(service != NULL && strict_number(slice_skip(m.path, 1), &number));
    CHECK(number < w->exchange_count);
    x = &w->exchanges[number];
    CHECK(x->outcome == RUNNING && x->sent_count < 2);
    if (x->sent_count == 1) /* only what is known not to have been answered goes out again */
        CHECK(x->request.is_idempotent && !x->has_head && x->interim_count == 0 &&
              answer_bytes(x, x->answer_at).len == 0 && buf_len(&x->upload) == 0);
    if (service->order_count > 0)
        check_may_follow(&w->exchanges[service->order[service->order_count - 1]]);
    service->order[service->order_count++] = x->number;
    x->service = service;
    x->sent_count++;
    x->answer_at = x->at = buf_len(&stream->peer->delivered);
}

static void check_request(struct world *w, struct exchange *x, const struct strict_message *m)
{
    CHECK(same(m->method, x->request.method) && same(m->target, slice_of(x->path)));
    CHECK(m->minor == 1 && strict_count(m, "host") == 1 && strict_count(m, "x-one") == 1);
    CHECK(same(strict_get(m, "host"), slice_of(w->host_field != NULL ? w->host_field : "a")));
    CHECK(same(strict_get(m, "x-one"), SLICE("1")) && strict_count(m, "te") == 0);
    CHECK(m->field_count <= 3);
    CHECK((m->framing == STRICT_CHUNKED) == (x->request.body == HTTP_BODY_CHUNKED));
    CHECK((m->framing == STRICT_LENGTH) == (x->request.body == HTTP_BODY_LENGTH));
    CHECK(m->framing != STRICT_LENGTH || m->length == x->request.content_length);
}

/* All that was written to a service is the requests that went out to it. */
static void check_written(struct world *w, struct service *service)
{
    struct slice rest = buf_slice(&service->peer->written);
    struct strict_message m;
    struct strict_body body;

    for (size_t i = 0; i < service->order_count; i++) {
        struct exchange *x = &w->exchanges[service->order[i]];
        bool is_last = i + 1 == service->order_count;

        CHECK(strict_request(rest, &wide, &m) == STRICT_OK);
        check_request(w, x, &m);
        rest = slice_skip(rest, m.head_end);
        strict_read_body(&m, rest, false, &body);
        CHECK(!body.is_bad && (body.is_whole || is_last));
        if (x->service == service) { /* else it went out once more, before any of its body */
            CHECK(same(buf_slice(&body.data), buf_slice(&x->upload)) ||
                  (is_last && service->peer->stream == NULL));
            CHECK(!body.is_whole || m.framing == STRICT_NO_BODY || x->upload_ended ||
                  (m.framing == STRICT_LENGTH && buf_len(&body.data) == m.length));
        } else {
            CHECK(buf_len(&body.data) == 0);
        }
        rest = slice_skip(rest, body.is_whole ? body.end : rest.len);
        buf_clear(&body.data);
    }
    CHECK(rest.len == 0);
}

/* --- the script --- */

static void begin(struct world *w, unsigned choice)
{
    static const char *const methods[] = {"GET", "HEAD", "POST", "PUT", "GET", "DELETE"};
    struct exchange *x = &w->exchanges[w->exchange_count];
    struct slice method = slice_of(methods[choice % COUNT_OF(methods)]);

    if (w->exchange_count == MAX_EXCHANGES || w->pool == NULL)
        return;
    *x = (struct exchange){.number = w->exchange_count++};
    arena_init(&x->arena, loop_arena_pool(w->loop));
    buf_init(&x->upload, SIZE_MAX);
    snprintf(x->path, sizeof(x->path), "/%zu", x->number);
    x->fields[0] = (struct http_field){SLICE("Host"), SLICE("a"), HTTP_FIELD_HOST, false};
    x->fields[1] = (struct http_field){SLICE("TE"), SLICE("gone"), HTTP_FIELD_TE, true};
    x->fields[2] = (struct http_field){SLICE("X-One"), SLICE("1"), HTTP_FIELD_OTHER, false};
    x->request = (struct http_request){
        .method = method,
        .path = slice_of(x->path),
        .fields = {.items = x->fields, .count = 3},
        .body = HTTP_BODY_NONE,
        .minor = 1,
        .is_idempotent = http_method_is_idempotent(method),
        .is_head = choice % COUNT_OF(methods) == 1,
    };
    if (choice / 8 % 3 > 0 && !x->request.is_head) {
        x->request.body = choice / 8 % 3 == 1 ? HTTP_BODY_LENGTH : HTTP_BODY_CHUNKED;
        x->request.content_length = x->request.body == HTTP_BODY_LENGTH ? 1 + choice : 0;
    }
    x->handle = upstream_begin(w->pool, &x->request, &x->arena, &events, x);
}

static void upload(struct exchange *x, size_t len)
{
    char piece[512];
    size_t room = x->request.body == HTTP_BODY_LENGTH
                      ? x->request.content_length - buf_len(&x->upload)
                      : sizeof(piece);

    if (x->outcome != RUNNING || !x->is_connected || x->upload_ended ||
        x->request.body == HTTP_BODY_NONE)
        return;
    len = len < room ? len : room;
    for (size_t i = 0; i < len; i++)
        piece[i] = (char)('a' + (x->number + buf_len(&x->upload) + i) % 26);
    CHECK(len == 0 || buf_append(&x->upload, slice_from(piece, len)));
    (void)upstream_send_body(x->handle, slice_from(piece, len));
}

static void end_upload(struct exchange *x)
{
    if (x->outcome != RUNNING || !x->is_connected || x->upload_ended ||
        x->request.body == HTTP_BODY_NONE)
        return;
    while (x->request.body == HTTP_BODY_LENGTH && buf_len(&x->upload) < x->request.content_length)
        upload(x, 512);
    x->upload_ended = true;
    upstream_send_end(x->handle);
}

static void owner_step(struct world *w, unsigned op, unsigned choice)
{
    struct exchange *x = &w->exchanges[choice % (w->exchange_count + (w->exchange_count == 0))];

    if (w->exchange_count == 0 || x->outcome != RUNNING)
        return;
    if (op == 0) {
        upload(x, choice);
    } else if (op == 1) {
        end_upload(x);
    } else if (op == 2) {
        x->is_stopped = true;
        upstream_read_stop(x->handle);
    } else if (op == 3) {
        x->is_stopped = false;
        upstream_read_start(x->handle);
    } else if (op == 4 && choice >= 128) {
        upstream_cancel(&x->handle);
        finish(x, CANCELLED);
    }
}

/* Answers that are in order, for the script to get somewhere. */
static void send_answer(struct service *service, unsigned choice)
{
    static const char *const answers[] = {
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "HTTP/1.1 204 No Content\r\nConnection: x\r\nX: y\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.0 200 OK\r\n\r\nuntil the end",
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\n1",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok",
    };

    fake_send(service->peer, slice_of(answers[choice % COUNT_OF(answers)]));
}

static void service_step(struct world *w, unsigned op, unsigned which)
{
    struct service *s = &w->services[which % (w->service_count + (w->service_count == 0))];
    unsigned choice = fuzz_byte(&w->script);

    if (w->service_count == 0)
        return;
    if (!s->is_connected) {
        s->is_connected = true;
        if (s->peer->stream != NULL)
            fake_connected(s->peer, choice < 224 ? 0 : -ECONNREFUSED);
    } else if (op < 2) {
        struct slice piece = slice_head(w->input, choice < w->input.len ? choice : w->input.len);

        fake_send(s->peer, piece);
        w->input = slice_skip(w->input, piece.len);
        (void)fake_deliver(s->peer, op == 0 ? SIZE_MAX : choice / 4 + 1);
    } else if (op < 4) {
        send_answer(s, choice);
        (void)fake_deliver(s->peer, op == 2 ? SIZE_MAX : choice / 8 + 1);
    } else if (op == 4) {
        (void)fake_take(w->loop, s->peer, choice * 4 + 1);
    } else if (op == 5) {
        s->peer->has_ended |= choice % 4 == 0;
        s->peer->has_reset |= choice % 4 == 1;
        (void)fake_deliver(s->peer, SIZE_MAX);
    } else {
        (void)fake_deliver(s->peer, choice + 1);
    }
}

static void step(struct world *w)
{
    unsigned op = fuzz_byte(&w->script), choice = fuzz_byte(&w->script);

    if (op % 16 < 7)
        service_step(w, op % 16, choice);
    else if (op % 16 < 9)
        begin(w, choice);
    else if (op % 16 == 9)
        fake_wait(w->loop, choice > 100 ? (choice - 100u) * 300u : choice);
    else if (op % 16 == 10 && choice == 255 && w->pool != NULL)
        upstream_pool_close(&w->pool);
    else if (op % 16 >= 11)
        owner_step(w, op % 16 - 11, choice);
    if (op < 224) /* else what was put off waits for the next step too */
        fake_turn(w->loop);
}

/* Bytes that have come are read, and requests are sent to the end. */
static void settle(struct world *w)
{
    bool goes_on = true;

    while (goes_on) {
        goes_on = false;
        for (size_t i = 0; i < w->service_count; i++) {
            goes_on |= fake_deliver(w->services[i].peer, SIZE_MAX);
            fake_turn(w->loop);
            goes_on |= fake_take(w->loop, w->services[i].peer, SIZE_MAX);
            fake_turn(w->loop);
        }
        for (size_t i = 0; i < w->exchange_count; i++) {
            struct exchange *x = &w->exchanges[i];

            end_upload(x);
            if (x->outcome == RUNNING && x->is_stopped) {
                x->is_stopped = false;
                goes_on = true;
                upstream_read_start(x->handle);
            }
            fake_turn(w->loop);
        }
    }
}

/* Nobody waits who has been answered. */
static void check_running(struct exchange *x)
{
    struct strict_body body;

    if (x->outcome != RUNNING || x->service == NULL)
        return;
    if (!x->has_head) {
        CHECK(strict_response(answer_bytes(x, x->at), &limits, x->request.is_head, &x->head) ==
              STRICT_MORE);
        return;
    }
    strict_read_body(&x->head, answer_bytes(x, x->at), false, &body);
    CHECK(!body.is_whole && !body.is_bad && x->body_bytes == buf_len(&body.data));
    buf_clear(&body.data);
}

static void open_world(struct world *w)
{
    unsigned flags = fuzz_byte(&w->script);
    struct upstream_settings settings = {
        .name = "default",
        .host = "192.0.2.1",
        .port = 80,
        .host_field = flags & 1 ? "svc" : NULL,
        .connect_timeout_ms = 3000,
        .response_timeout_ms = 10000,
        .body_timeout_ms = 11000,
        .idle_timeout_ms = 12000,
        .max_age_ms = flags & 2 ? 1000 : 0,
        .max_connections = 1 + flags / 4 % 3,
        .max_waiting = 4,
        .max_header_bytes = (uint32_t)limits.max_head_bytes,
        .max_header_count = (uint32_t)limits.max_fields,
    };

    log_set_level(LOG_ERROR);
    CHECK(loop_open(&w->loop) == 0);
    w->loop->on_connecting = on_connecting;
    w->loop->on_writing = on_writing;
    w->loop->script = w;
    w->host_field = settings.host_field;
    w->pool = upstream_pool_open(w->loop, &settings, NULL, NULL, NULL);
}

static void close_world(struct world *w)
{
    if (w->pool != NULL) {
        for (size_t i = 0; i < UPSTREAM_CONN_STATE_COUNT; i++)
            CHECK(w->pool->counts[i] == 0);
        CHECK(w->pool->waiting_count == 0 && w->pool->exchange_count == 0);
        upstream_pool_close(&w->pool);
    }
    for (size_t i = 0; i < w->exchange_count; i++)
        buf_clear(&w->exchanges[i].upload);
    fake_turn(w->loop);
    for (size_t i = 0; i < w->service_count; i++) {
        fake_peer_clear(w->services[i].peer);
        free(w->services[i].peer);
    }
    loop_close(&w->loop);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct world *w = &world;

    memset(w, 0, sizeof(*w));
    if (!fuzz_split(data, size, &w->input, &w->script))
        return 0;
    open_world(w);
    while (w->script.len > 0)
        step(w);
    settle(w);
    for (size_t i = 0; i < w->exchange_count; i++)
        check_running(&w->exchanges[i]);
    /* Services that are silent keep nobody, and no connection. */
    fake_wait(w->loop, 300000);
    for (size_t i = 0; i < w->exchange_count; i++)
        CHECK(w->exchanges[i].outcome != RUNNING);
    for (size_t i = 0; i < w->service_count; i++)
        check_written(w, &w->services[i]);
    close_world(w);
    return 0;
}
