#include "app/port.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/log.h"
#include "http/http_conn.h"
#include "net/listener.h"
#include "net/loop.h"
#include "net/stream.h"
#include "policy/policy.h"
#include "policy/value.h"

#define PORT_TAG 0x504f5254u          /* "PORT" */
#define PORT_EXCHANGE_TAG 0x50584348u /* "PXCH" */
#define MAX_CONNECTIONS 256
#define PROBLEM_BYTES 1200

struct port {
    uint32_t tag;
    struct loop *loop;
    struct port_settings settings;
    struct listener *listener;
    struct http_server server;
};

/* Held by its connection until that has its answer or is gone, and by whoever is to answer. */
struct port_exchange {
    uint32_t tag;
    unsigned holder_count;
    struct port *port;      /* valid while there is a connection */
    struct http_conn *conn; /* NULL: answered, or gone */
    const struct http_request *head;
    const struct port_endpoint *endpoint;
    bool is_asked; /* the endpoint holds it */
    struct arena arena;
    struct slice rest, query;
    struct buf body;
    struct timer timer;
};

static void unref(struct port_exchange *x)
{
    CHECK_TAG(x, PORT_EXCHANGE);
    if (--x->holder_count > 0)
        return;
    CHECK(x->conn == NULL);
    buf_clear(&x->body);
    arena_clear(&x->arena);
    x->tag = 0;
    free(x);
}

/* The connection lets go. */
static void leave_connection(struct port_exchange *x)
{
    timer_stop(x->port->loop, &x->timer);
    x->conn = NULL;
    x->head = NULL;
    x->port = NULL;
    unref(x);
}

static void set_field(struct http_response *answer, const char *name, const char *value)
{
    answer->fields.items[answer->fields.count++] =
        (struct http_field){.name = slice_of(name), .value = slice_of(value)};
}

static void send_answer(struct port_exchange *x, const struct port_content *content,
                        const char *allow)
{
    struct http_field fields[4];
    struct http_response answer = {.status = content->status,
                                   .reason = slice_of(http_status_phrase(content->status)),
                                   .fields = {.items = fields},
                                   .content_length = content->body.len,
                                   .body = HTTP_BODY_LENGTH,
                                   .minor = 1};
    struct http_conn *conn = x->conn;
    bool is_head = x->head->is_head;

    set_field(&answer, "Content-Type", content->type);
    set_field(&answer, "Cache-Control", "no-store");
    if (content->encoding != NULL)
        set_field(&answer, "Content-Encoding", content->encoding);
    if (allow != NULL)
        set_field(&answer, "Allow", allow);
    /* Who changed what belongs in the log; keys do not, so it is the endpoint that is named. */
    if (x->endpoint != NULL && x->port->settings.is_private &&
        strcmp(x->endpoint->method, "GET") != 0)
        log_info(NULL, "asked by an operator", LOG_STR("method", x->endpoint->method),
                 LOG_STR("endpoint", x->endpoint->path), LOG_UINT("status", content->status));
    if (http_conn_send_head(conn, &answer) != STREAM_DEAD && !is_head)
        (void)http_conn_send_body(conn, content->body);
    http_conn_send_end(conn);
    leave_connection(x);
}

static void send_problem(struct port_exchange *x, unsigned status, const char *reason,
                         const char *detail, const char *allow)
{
    char text[PROBLEM_BYTES], quoted[PROBLEM_BYTES / 2];
    int len;

    quoted[log_json_string(quoted, sizeof(quoted) - 1, slice_of(detail))] = '\0';
    len = snprintf(text, sizeof(text),
                   "{\"type\":\"about:blank\",\"title\":\"%s\",\"status\":%u,\"reason\":\"%s\","
                   "\"detail\":%s}\n",
                   http_status_phrase(status), status, reason, quoted);
    CHECK(len > 0 && (size_t)len < sizeof(text));
    send_answer(x,
                &(struct port_content){.status = status,
                                       .type = "application/problem+json",
                                       .body = slice_from(text, (size_t)len)},
                allow);
}

void port_answer(struct port_exchange **place, const struct port_content *content)
{
    struct port_exchange *x = TAKE(place);

    CHECK_TAG(x, PORT_EXCHANGE);
    if (x->conn != NULL)
        send_answer(x, content, NULL);
    unref(x);
}

void port_refuse(struct port_exchange **place, unsigned status, const char *reason,
                 const char *detail)
{
    struct port_exchange *x = TAKE(place);

    CHECK_TAG(x, PORT_EXCHANGE);
    if (x->conn != NULL)
        send_problem(x, status, reason, detail, NULL);
    unref(x);
}

struct arena *port_arena(struct port_exchange *x)
{
    CHECK_TAG(x, PORT_EXCHANGE);
    return &x->arena;
}

struct slice port_rest(const struct port_exchange *x)
{
    CHECK_TAG(x, PORT_EXCHANGE);
    return x->rest;
}

struct slice port_parameter(struct port_exchange *x, struct slice name)
{
    CHECK_TAG(x, PORT_EXCHANGE);
    return value_from_query(x->query, name, &x->arena);
}

struct slice port_body(const struct port_exchange *x)
{
    CHECK_TAG(x, PORT_EXCHANGE);
    return buf_slice(&x->body);
}

const struct http_request *port_head(const struct port_exchange *x)
{
    CHECK_TAG(x, PORT_EXCHANGE);
    CHECK(x->head != NULL);
    return x->head;
}

/* Which endpoint. */

static bool is_path_of(const struct port_endpoint *endpoint, struct slice path)
{
    struct slice own = slice_of(endpoint->path);

    if (own.len > 1 && own.at[own.len - 1] == '/')
        return path.len > own.len && slice_starts_with(path, own);
    return slice_equal(path, own);
}

static bool is_method_of(const struct port_endpoint *endpoint, const struct http_request *head)
{
    return slice_equal(head->method, slice_of(endpoint->method)) ||
           (head->is_head && strcmp(endpoint->method, "GET") == 0);
}

/* Answers itself, and gives NULL, when there is none. */
static const struct port_endpoint *find_endpoint(struct port_exchange *x)
{
    const struct port_settings *settings = &x->port->settings;
    char allow[64] = "";
    size_t len = 0;

    for (size_t i = 0; i < settings->endpoint_count; i++) {
        const struct port_endpoint *endpoint = &settings->endpoints[i];

        if (!is_path_of(endpoint, x->head->path))
            continue;
        if (is_method_of(endpoint, x->head))
            return endpoint;
        len += (size_t)snprintf(allow + len, sizeof(allow) - len, "%s%s%s", len > 0 ? ", " : "",
                                endpoint->method,
                                strcmp(endpoint->method, "GET") == 0 ? ", HEAD" : "");
        CHECK(len < sizeof(allow));
    }
    if (len > 0) {
        char detail[160];

        snprintf(detail, sizeof(detail), "this endpoint takes %s", allow);
        send_problem(x, 405, "method-not-allowed", detail, allow);
    } else {
        send_problem(x, 404, "not-found",
                     settings->is_private ? "there is no such endpoint; GET / lists them"
                                          : "here are /metrics, /live and /ready",
                     NULL);
    }
    return NULL;
}

/* Whether it is a loopback address: 127.0.0.0/8 or ::1 (without brackets), or localhost. */
static bool is_loopback_host(struct slice host)
{
    struct in6_addr address;

    if (slice_equal(host, SLICE("localhost")))
        return true;
    if (!policy_parse_ip(host, &address))
        return false;
    return IN6_IS_ADDR_LOOPBACK(&address) ||
           (IN6_IS_ADDR_V4MAPPED(&address) && address.s6_addr[12] == 127);
}

/* NULL, or why the request of a page of some site may not have this port. */
static const char *find_browser(const struct port *port, const struct http_request *head)
{
    struct slice fetch_site = http_fields_find(&head->fields, SLICE("sec-fetch-site"));

    if (!port->settings.is_private)
        return NULL;
    if (strncmp(port->settings.address, "unix:", 5) != 0 && !is_loopback_host(head->host))
        return "Host must be localhost or a loopback address";
    if (http_fields_find(&head->fields, SLICE("origin")).at != NULL ||
        (fetch_site.at != NULL && !slice_equal(fetch_site, SLICE("none"))))
        return "pages of a browser have no access here";
    return NULL;
}

/* Escapes in paths are sound: a head with others is refused before it comes here. */
static struct slice decode_rest(struct arena *arena, struct slice raw)
{
    char *text = arena_alloc(arena, raw.len + 1);
    size_t len = 0;

    for (size_t i = 0; i < raw.len; i++) {
        int high = raw.at[i] == '%' && raw.len - i > 2 ? value_hex_digit(raw.at[i + 1]) : -1;
        int low = high >= 0 ? value_hex_digit(raw.at[i + 2]) : -1;

        text[len++] = low >= 0 ? (char)(high * 16 + low) : raw.at[i];
        i += low >= 0 ? 2 : 0;
    }
    text[len] = '\0';
    return slice_from(text, len);
}

static void on_answer_timer(struct timer *timer)
{
    struct port_exchange *x = CONTAINER_OF(timer, struct port_exchange, timer);

    CHECK_TAG(x, PORT_EXCHANGE);
    send_problem(x, 504, "no-answer", "the workers did not answer in time", NULL);
}

static void ask_endpoint(struct port_exchange *x)
{
    x->is_asked = true;
    timer_start(x->port->loop, &x->timer, PORT_ANSWER_MS, on_answer_timer);
    x->endpoint->run(x->port->settings.owner, x);
}

/* Connections. */

/* True when the endpoint is to be asked; else the exchange is answered. */
static bool admit(struct port_exchange *x)
{
    const char *browser = find_browser(x->port, x->head);

    if (browser != NULL) {
        send_problem(x, 403, "forbidden", browser, NULL);
        return false;
    }
    x->endpoint = find_endpoint(x);
    if (x->endpoint == NULL)
        return false;
    x->query = x->head->query.at != NULL ? arena_copy(&x->arena, x->head->query) : SLICE_NONE;
    x->rest = x->head->path.len > strlen(x->endpoint->path)
                  ? decode_rest(&x->arena, slice_skip(x->head->path, strlen(x->endpoint->path)))
                  : SLICE("");
    return true;
}

static void *on_request(void *env, struct http_conn *conn, const struct http_request *head)
{
    struct port *port = env;
    struct port_exchange *x = mem_calloc(1, sizeof(*x));
    void *kept;

    CHECK_TAG(port, PORT);
    x->tag = PORT_EXCHANGE_TAG;
    x->holder_count = 3; /* the connection, the endpoint, and this function */
    x->port = port;
    x->conn = conn;
    x->head = head;
    arena_init(&x->arena, NULL);
    buf_init(&x->body, PORT_MAX_BODY_BYTES);
    if (!admit(x))
        unref(x);
    else if (head->body != HTTP_BODY_NONE)
        http_conn_body_start(conn);
    else
        ask_endpoint(x);
    kept = x->conn != NULL ? (void *)x : port;
    unref(x);
    return kept;
}

static void on_body(void *exchange, struct slice data)
{
    struct port_exchange *x = exchange;

    CHECK_TAG(x, PORT_EXCHANGE);
    /* The connection ends larger ones. */
    CHECK(buf_append(&x->body, data));
}

static void on_body_end(void *exchange)
{
    struct port_exchange *x = exchange;

    CHECK_TAG(x, PORT_EXCHANGE);
    ask_endpoint(x);
}

static void on_drain(void *exchange)
{
    UNUSED(exchange);
}

static void on_gone(void *exchange, enum http_gone why)
{
    struct port_exchange *x = exchange;
    bool is_asked;

    UNUSED(why);
    CHECK_TAG(x, PORT_EXCHANGE);
    is_asked = x->is_asked;
    if (!is_asked)
        x->holder_count--; /* no endpoint will answer */
    leave_connection(x);
}

static const struct http_conn_events events = {.on_request = on_request,
                                               .on_body = on_body,
                                               .on_body_end = on_body_end,
                                               .on_drain = on_drain,
                                               .on_gone = on_gone};

static void on_accept(void *owner, struct stream *stream)
{
    struct port *port = owner;

    CHECK_TAG(port, PORT);
    /* Whoever only holds connections open must not keep probes out. */
    if (port->server.connection_count >= MAX_CONNECTIONS && !http_server_shed(&port->server))
        stream_abort(&stream);
    else
        http_server_accept(&port->server, stream);
}

int port_open(struct loop *loop, const struct port_settings *settings, struct port **ret_port)
{
    struct port *port = mem_calloc(1, sizeof(*port));
    const struct listener_options options = {
        .address = settings->address, .fd = -1, .unix_mode = settings->is_private ? 0600 : 0};
    int error;

    port->tag = PORT_TAG;
    port->loop = loop;
    port->settings = *settings;
    port->settings.address = mem_strdup(settings->address);
    http_server_init(&port->server, loop, &events, port);
    port->server.settings = (struct http_conn_settings){.header_timeout_ms = 10000,
                                                        .body_timeout_ms = 10000,
                                                        .idle_timeout_ms = 120000,
                                                        .write_timeout_ms = 30000,
                                                        .max_header_bytes = 16384,
                                                        .max_header_count = 64,
                                                        .max_target_bytes = 8192,
                                                        .max_body_bytes = PORT_MAX_BODY_BYTES};
    error = listener_open(loop, &options, on_accept, port, &port->listener);
    if (error != 0) {
        free((char *)(uintptr_t)port->settings.address);
        free(port);
        return error;
    }
    *ret_port = port;
    return 0;
}

uint16_t port_number(const struct port *port)
{
    CHECK_TAG(port, PORT);
    return listener_port(port->listener);
}

void port_close(struct port **place)
{
    struct port *port = TAKE(place);

    CHECK_TAG(port, PORT);
    listener_close(&port->listener);
    http_server_close(&port->server);
    free((char *)(uintptr_t)port->settings.address);
    port->tag = 0;
    free(port);
}
