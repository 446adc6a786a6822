/* The client side of a connection, http_conn, on a network in memory.
 *
 * Input: what the client sends, then, read from the end, a script: in which pieces it comes, what
 * the client takes and when it leaves, what the handler does, how time passes.  At any moment what
 * the handler was given must be what a strict reader (strict_http.h) finds in the client's bytes;
 * in the end what the client got must be, request by request, what the handler or the connection
 * decided, whole or visibly cut; every exchange has ended exactly once, and nothing is left. */
#include "fake_net.h"
#include "fuzz_script.h"
#include "strict_http.h"

#include "http/http_conn.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MAX_EXCHANGES 64
#define MAX_BODY_BYTES 600

enum ending { RUNNING, ENDED, CUT, GONE };

struct exchange {
    struct world *world;
    struct http_conn *conn;
    size_t number;
    bool is_head, is_http10, needs_body_end;
    struct strict_body expected; /* of the request */
    size_t body_bytes, interim_count;
    bool body_ended, head_sent;
    unsigned status;
    enum http_body answer_body;
    uint64_t answer_length; /* declared */
    struct buf answer;      /* body bytes sent */
    enum ending ending;
    enum http_gone gone;
};

struct world {
    struct loop *loop;
    struct http_server server;
    struct fake_peer peer;
    struct fuzz_script script;
    struct slice input;
    size_t sent, parsed_at; /* where the next request begins; SIZE_MAX: none may follow */
    struct strict_message expected;
    struct exchange exchanges[MAX_EXCHANGES];
    size_t exchange_count;
    struct exchange *running;
    unsigned refused_status; /* by the connection, before any handler */
    bool answers_at_once, starts_body_at_once, is_disturbed, is_draining;
};

static struct world world; /* of one input */

static const struct strict_limits limits = {
    .max_head_bytes = 1024, .max_fields = 16, .max_target_bytes = 256};

/* --- the handler --- */

static void send_head(struct exchange *x, unsigned choice)
{
    static const unsigned statuses[] = {200, 404, 204, 304, 500, 200, 200, 200};
    char id[24];
    struct http_field field = {.name = SLICE("X-Id")};
    struct http_response head = {.status = statuses[choice % 8], .reason = SLICE("Some reason")};

    snprintf(id, sizeof(id), "%zu", x->number);
    field.value = slice_of(id);
    head.fields = (struct http_fields){.items = &field, .count = 1};
    head.body = (enum http_body)(choice / 8 % 4);
    if (head.body == HTTP_BODY_LENGTH)
        head.content_length = x->answer_length = choice / 32 * 97;
    x->status = head.status;
    x->answer_body = head.body;
    x->head_sent = true;
    (void)http_conn_send_head(x->conn, &head);
}

static void send_body(struct exchange *x, size_t len)
{
    char piece[512];
    size_t room = x->answer_body == HTTP_BODY_NONE     ? 0
                  : x->answer_body == HTTP_BODY_LENGTH ? x->answer_length - buf_len(&x->answer)
                                                       : sizeof(piece);

    len = len < room ? len : room;
    len = len < sizeof(piece) ? len : sizeof(piece);
    for (size_t i = 0; i < len; i++)
        piece[i] = (char)('a' + (x->number + buf_len(&x->answer) + i) % 26);
    if (len > 0)
        CHECK(buf_append(&x->answer, slice_from(piece, len)));
    (void)http_conn_send_body(x->conn, slice_from(piece, len));
}

static void end(struct exchange *x, enum ending ending)
{
    CHECK(x->ending == RUNNING && x->world->running == x);
    x->ending = ending;
    x->world->running = NULL;
    if (ending != ENDED)
        x->world->parsed_at = SIZE_MAX;
}

static void send_end(struct exchange *x)
{
    while (x->answer_body == HTTP_BODY_LENGTH && buf_len(&x->answer) < x->answer_length)
        send_body(x, SIZE_MAX);
    end(x, ENDED);
    http_conn_send_end(x->conn);
}

static void answer_now(struct exchange *x, unsigned choice)
{
    if (!x->head_sent)
        send_head(x, choice);
    send_body(x, choice);
    send_end(x);
}

static bool same(struct slice a, struct slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.at, b.at, a.len) == 0);
}

/* What the handler is given is what the strict reader finds. */
static void compare_request(struct world *w, const struct http_request *head)
{
    const struct strict_message *m = &w->expected;
    static const enum http_body bodies[] = {[STRICT_NO_BODY] = HTTP_BODY_NONE,
                                            [STRICT_LENGTH] = HTTP_BODY_LENGTH,
                                            [STRICT_CHUNKED] = HTTP_BODY_CHUNKED};

    CHECK(w->parsed_at != SIZE_MAX);
    CHECK(strict_request(slice_skip(w->input, w->parsed_at), &limits, &w->expected) == STRICT_OK);
    CHECK(w->parsed_at + m->head_end <= w->sent);
    CHECK(same(m->method, head->method) && same(m->target, head->target));
    CHECK(same(m->path, head->path) && same(m->query, head->query));
    CHECK((m->query.at == NULL) == (head->query.at == NULL));
    CHECK(same(m->host, head->authority) && m->minor == head->minor);
    CHECK(bodies[m->framing] == head->body && m->expects_continue == head->expects_continue);
    CHECK(m->framing != STRICT_LENGTH || m->length == head->content_length);
    CHECK(m->closes == head->wants_close);
    CHECK(m->field_count == head->fields.count);
    for (size_t i = 0; i < m->field_count; i++) {
        const struct http_field *field = &head->fields.items[i];

        CHECK(same(m->fields[i].name, field->name) && same(m->fields[i].value, field->value));
        CHECK(field->is_dropped == (strict_is_hop_by_hop(m, field->name) ||
                                    (m->minor == 0 && strict_same_name(field->name, "expect"))));
    }
    CHECK(head->content_length <= MAX_BODY_BYTES);
}

static void *on_request(void *env, struct http_conn *conn, const struct http_request *head)
{
    struct world *w = env;
    struct exchange *x = &w->exchanges[w->exchange_count];
    size_t body_at;

    CHECK(w->running == NULL && w->refused_status == 0 && w->exchange_count < MAX_EXCHANGES);
    compare_request(w, head);
    *x = (struct exchange){.world = w, .conn = conn, .number = w->exchange_count++};
    x->is_head = head->is_head;
    x->is_http10 = head->minor == 0;
    x->needs_body_end = head->body != HTTP_BODY_NONE;
    buf_init(&x->answer, SIZE_MAX);
    body_at = w->parsed_at + w->expected.head_end;
    strict_read_body(&w->expected, slice_skip(w->input, body_at), false, &x->expected);
    w->parsed_at =
        x->expected.is_whole && !w->expected.closes ? body_at + x->expected.end : SIZE_MAX;
    w->running = x;
    if (w->starts_body_at_once)
        http_conn_body_start(conn);
    if (w->answers_at_once || w->exchange_count == MAX_EXCHANGES)
        answer_now(x, fuzz_byte(&w->script));
    return x;
}

static void on_body(void *exchange, struct slice data)
{
    struct exchange *x = exchange;
    struct slice expected = slice_skip(buf_slice(&x->expected.data), x->body_bytes);

    CHECK(x->world->running == x && data.len > 0 && data.len <= expected.len && !x->body_ended);
    CHECK(same(data, slice_head(expected, data.len)));
    x->body_bytes += data.len;
}

static void on_body_end(void *exchange)
{
    struct exchange *x = exchange;

    CHECK(x->world->running == x && x->needs_body_end && !x->body_ended);
    CHECK(x->expected.is_whole && x->body_bytes == buf_len(&x->expected.data));
    x->body_ended = true;
}

static void on_drain(void *exchange)
{
    struct exchange *x = exchange;

    CHECK(x->world->running == x);
}

static void on_half_close(void *exchange)
{
    struct exchange *x = exchange;

    CHECK(x->world->running == x && x->world->peer.has_ended);
    if (fuzz_byte(&x->world->script) % 4 == 0) {
        end(x, CUT);
        http_conn_cut(x->conn);
    }
}

static void on_gone(void *exchange, enum http_gone why)
{
    struct exchange *x = exchange;
    bool is_too_large = buf_len(&x->expected.data) > MAX_BODY_BYTES;

    CHECK(why != HTTP_GONE_MALFORMED || x->expected.is_bad || x->expected.may_be_bad);
    CHECK(why != HTTP_GONE_TOO_LARGE || is_too_large);
    x->gone = why;
    end(x, GONE);
}

static void on_refused(void *env, struct http_conn *conn, unsigned status, const char *reason)
{
    struct world *w = env;

    UNUSED(conn);
    CHECK(w->running == NULL && w->refused_status == 0 && reason != NULL);
    if (status == 0)
        return;
    w->refused_status = status;
    /* What a strict reader takes is refused only for its size. */
    CHECK(w->parsed_at != SIZE_MAX);
    if (status != 408 &&
        strict_request(slice_skip(w->input, w->parsed_at), &limits, &w->expected) == STRICT_OK)
        CHECK(status == 413 && w->expected.length > MAX_BODY_BYTES);
    w->parsed_at = SIZE_MAX;
}

static const struct http_conn_events events = {
    .on_request = on_request,
    .on_body = on_body,
    .on_body_end = on_body_end,
    .on_drain = on_drain,
    .on_gone = on_gone,
    .on_refused = on_refused,
    .on_half_close = on_half_close,
};

/* --- what the client got --- */

/* The answer to x, or to a request that was refused: gives how many bytes it has, or 0 when the
 * rest of what came is the beginning of it. */
static size_t check_answer(struct world *w, struct exchange *x, struct slice got)
{
    static const struct strict_limits wide = {SIZE_MAX, STRICT_MAX_FIELDS, SIZE_MAX};
    bool is_end = w->peer.is_ended && !w->peer.is_reset && !w->peer.has_reset &&
                  buf_len(&w->peer.pending) == 0;
    bool is_refusal = x == NULL || !x->head_sent;
    struct strict_message m;
    struct strict_body body;
    char id[24] = "";
    size_t at = 0, interims = 0, length;

    for (;; at += m.head_end, interims++) {
        enum strict_verdict verdict =
            strict_response(slice_skip(got, at), &wide, x != NULL && x->is_head, &m);

        if (verdict == STRICT_MORE)
            return 0;
        CHECK(verdict == STRICT_OK);
        if (m.status >= 200)
            break;
        CHECK(x != NULL && !x->is_http10 && (m.status == 100 || m.status == 103));
    }
    CHECK(interims <= (x != NULL ? x->interim_count + 1 : 0));
    strict_read_body(&m, slice_skip(got, at + m.head_end), is_end, &body);
    CHECK(!body.is_bad);
    length = buf_len(&body.data);
    if (is_refusal) {
        CHECK(m.closes && (x == NULL ? m.status == w->refused_status : x->ending == GONE));
        CHECK(same(strict_get(&m, "content-type"), SLICE("application/problem+json")));
        CHECK(x == NULL || m.status == (x->gone == HTTP_GONE_TIMEOUT     ? 408
                                        : x->gone == HTTP_GONE_MALFORMED ? 400
                                                                         : 413));
    } else {
        snprintf(id, sizeof(id), "%zu", x->number);
        CHECK(m.status == x->status && same(strict_get(&m, "x-id"), slice_of(id)));
        CHECK(m.framing == STRICT_NO_BODY || length <= buf_len(&x->answer));
        CHECK(length == 0 ||
              same(buf_slice(&body.data), slice_head(buf_slice(&x->answer), length)));
        CHECK(!body.is_whole || m.framing == STRICT_NO_BODY || length == buf_len(&x->answer));
        /* What was not ended does not look whole, but where nothing was missing. */
        CHECK(!body.is_whole || x->ending == ENDED || m.framing == STRICT_NO_BODY ||
              (m.framing == STRICT_LENGTH && length == x->answer_length));
    }
    if (m.closes)
        w->is_draining = true;
    buf_clear(&body.data);
    return body.is_whole ? at + m.head_end + body.end : 0;
}

/* Answer by answer, in order; nothing else. */
static void check_got(struct world *w)
{
    struct slice got = buf_slice(&w->peer.got);
    bool has_closed = false;
    size_t i;

    w->is_draining = false;
    for (i = 0; i < w->exchange_count && got.len > 0; i++) {
        struct exchange *x = &w->exchanges[i];
        size_t bytes = check_answer(w, x, got);

        CHECK(!has_closed);
        has_closed = w->is_draining;
        if (bytes == 0) { /* the last, and cut */
            CHECK(x->ending != ENDED || w->is_disturbed);
            return;
        }
        got = slice_skip(got, bytes);
    }
    if (got.len > 0) {
        CHECK(w->refused_status > 0 && !has_closed);
        got = slice_skip(got, check_answer(w, NULL, got));
        CHECK(got.len == 0 || w->is_disturbed);
        return;
    }
    if (w->is_disturbed)
        return;
    for (; i < w->exchange_count; i++)
        CHECK(w->exchanges[i].ending != ENDED);
    CHECK(w->refused_status == 0);
    /* Every whole request that may follow has been seen. */
    if (!has_closed && w->parsed_at != SIZE_MAX)
        CHECK(strict_request(slice_skip(w->input, w->parsed_at), &limits, &w->expected) ==
              STRICT_MORE);
}

/* --- the script --- */

static void handler_step(struct world *w, unsigned op, unsigned choice)
{
    static const struct http_response early = {.status = 103, .reason = SLICE_INIT("Early Hints")};
    static const struct http_response go_on = {.status = 100, .reason = SLICE_INIT("Continue")};
    struct exchange *x = w->running;

    if (x == NULL)
        return;
    if (op == 0) {
        http_conn_body_start(x->conn);
    } else if (op == 1) {
        http_conn_body_stop(x->conn);
    } else if (op == 2) {
        x->interim_count++;
        http_conn_send_interim(x->conn, choice % 2 ? &early : &go_on);
    } else if (op == 3 && !x->head_sent) {
        send_head(x, choice);
    } else if (op == 4 && x->head_sent) {
        send_body(x, choice * 2);
    } else if (op == 5) {
        answer_now(x, choice);
    } else if (op == 6 && x->head_sent) {
        send_end(x);
    } else if (op == 7 && choice % 4 == 0) {
        end(x, CUT);
        http_conn_cut(x->conn);
    }
}

static void client_sends(struct world *w, size_t count)
{
    size_t left = w->input.len - w->sent;

    count = count < left ? count : left;
    if (w->peer.has_ended || w->peer.has_reset)
        return;
    fake_send(&w->peer, slice_from(w->input.at + w->sent, count));
    w->sent += count;
}

static void step(struct world *w)
{
    unsigned op = fuzz_byte(&w->script), choice = fuzz_byte(&w->script);

    switch (op % 16) {
    case 0:
    case 1:
    case 2:
        client_sends(w, choice + 1u);
        (void)fake_deliver(&w->peer, op / 16 + 1u);
        break;
    case 3:
    case 4:
        client_sends(w, choice * 8u);
        (void)fake_deliver(&w->peer, SIZE_MAX);
        break;
    case 5:
        (void)fake_take(w->loop, &w->peer, choice * 4u + 1);
        break;
    case 6:
        w->is_disturbed |= choice > 100;
        fake_wait(w->loop, choice > 100 ? (choice - 100u) * 300u : choice);
        break;
    case 7:
        if (choice % 8 == 0)
            w->peer.has_ended = w->is_disturbed = true;
        else if (choice % 8 == 1)
            w->peer.has_reset = w->is_disturbed = true;
        else if (choice % 8 == 2)
            http_server_drain(&w->server);
        w->is_disturbed |= choice % 8 == 2;
        (void)fake_deliver(&w->peer, SIZE_MAX);
        break;
    default:
        handler_step(w, op % 16 - 8u, choice);
        break;
    }
    if (op < 224) /* else what was put off waits for the next step too */
        fake_turn(w->loop);
}

/* The client sends the rest, takes everything (or, when lazy, nothing) and is silent. */
static void settle(struct world *w, bool is_lazy)
{
    bool goes_on = true;

    client_sends(w, SIZE_MAX);
    while (goes_on) {
        goes_on = fake_deliver(&w->peer, SIZE_MAX);
        fake_turn(w->loop);
        if (!is_lazy)
            goes_on |= fake_take(w->loop, &w->peer, SIZE_MAX);
        fake_turn(w->loop);
        if (!goes_on && w->running != NULL && w->running->needs_body_end &&
            !w->running->body_ended && !w->running->head_sent && !w->answers_at_once) {
            w->answers_at_once = goes_on = true;
            http_conn_body_start(w->running->conn);
        } else if (!goes_on && w->running != NULL) {
            answer_now(w->running, 40);
            goes_on = true;
        }
        fake_turn(w->loop);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct world *w = &world;
    struct stream *accepted;
    unsigned flags;

    memset(w, 0, sizeof(*w));
    if (!fuzz_split(data, size, &w->input, &w->script))
        return 0;
    CHECK(loop_open(&w->loop) == 0);
    http_server_init(&w->server, w->loop, &events, w);
    w->server.settings = (struct http_conn_settings){
        .header_timeout_ms = 10000,
        .body_timeout_ms = 11000,
        .idle_timeout_ms = 12000,
        .write_timeout_ms = 13000,
        .max_header_bytes = (uint32_t)limits.max_head_bytes,
        .max_header_count = (uint32_t)limits.max_fields,
        .max_target_bytes = (uint32_t)limits.max_target_bytes,
        .max_body_bytes = MAX_BODY_BYTES,
    };
    accepted = fake_open(w->loop, &w->peer);
    http_server_accept(&w->server, accepted);
    flags = fuzz_byte(&w->script);
    w->starts_body_at_once = flags & 1;
    w->answers_at_once = flags & 2;
    while (w->script.len > 0)
        step(w);
    w->is_disturbed |= (flags & 4) != 0;
    settle(w, flags & 4);
    check_got(w);
    /* Whoever is silent, or takes nothing, does not keep his connection. */
    fake_wait(w->loop, 120000);
    CHECK(w->running == NULL && w->server.connection_count == 0);
    http_server_close(&w->server);
    CHECK(w->peer.stream == NULL);
    for (size_t i = 0; i < w->exchange_count; i++) {
        CHECK(w->exchanges[i].ending != RUNNING);
        buf_clear(&w->exchanges[i].answer);
        buf_clear(&w->exchanges[i].expected.data);
    }
    fake_turn(w->loop);
    fake_peer_clear(&w->peer);
    loop_close(&w->loop);
    return 0;
}
