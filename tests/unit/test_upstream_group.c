/* A service at two addresses: which one a request goes to, and what becomes of one that fails. */
#include "raw_peer.h"

#include "http/upstream_group.h"

struct service {
    int listen_fd; /* -1: nobody listens there */
    uint16_t port;
    struct raw_peer peer; /* its newest connection */
    unsigned accept_count;
};

struct fixture {
    struct loop *loop;
    struct metrics *metrics;
    struct log_context log;
    struct upstream_group *group;
    struct service services[2];
};

struct client {
    struct upstream_exchange *exchange; /* NULL once it is gone */
    struct arena arena;
    struct http_request request;
    struct http_field host;
    unsigned status;
    bool has_failed;
    enum upstream_failure failure;
};

static void on_connected(void *owner)
{
    UNUSED(owner);
}

static void on_head(void *owner, const struct http_response *head)
{
    ((struct client *)owner)->status = head->status;
}

static void on_body(void *owner, struct slice data)
{
    UNUSED(owner);
    UNUSED(data);
}

static void on_end(void *owner)
{
    ((struct client *)owner)->exchange = NULL;
}

static void on_fail(void *owner, enum upstream_failure failure)
{
    struct client *c = owner;

    c->exchange = NULL;
    c->has_failed = true;
    c->failure = failure;
}

static const struct upstream_events events = {.on_connected = on_connected,
                                              .on_head = on_head,
                                              .on_body = on_body,
                                              .on_drain = on_connected,
                                              .on_end = on_end,
                                              .on_fail = on_fail};

static void poll_services(struct fixture *f)
{
    for (size_t i = 0; i < COUNT_OF(f->services); i++) {
        struct service *s = &f->services[i];
        int fd = s->listen_fd < 0 ? -1 : accept(s->listen_fd, NULL, NULL);

        if (fd >= 0) {
            if (s->accept_count++ > 0)
                raw_peer_close(&s->peer);
            raw_peer_take(&s->peer, fd);
        }
        if (s->accept_count > 0)
            raw_peer_poll(&s->peer);
    }
}

#define WAIT(f, condition) RAW_PEER_WAIT((f)->loop, poll_services(f), condition)

static void begin(struct client *c, struct fixture *f, const char *method)
{
    *c = (struct client){.status = 0};
    arena_init(&c->arena, loop_arena_pool(f->loop));
    c->host = (struct http_field){SLICE("Host"), SLICE("a"), HTTP_FIELD_HOST, false};
    c->request =
        (struct http_request){.method = slice_of(method),
                              .path = SLICE("/x"),
                              .fields = {.items = &c->host, .count = 1},
                              .minor = 1,
                              .is_idempotent = http_method_is_idempotent(slice_of(method))};
    c->exchange = upstream_group_begin(f->group, &c->request, &c->arena, &events, c);
}

static void client_end(struct client *c)
{
    if (c->exchange != NULL)
        upstream_cancel(&c->exchange);
    arena_clear(&c->arena);
}

static bool has_request(const struct service *s)
{
    return s->accept_count > 0 && raw_peer_has(&s->peer, "\r\n\r\n");
}

static void answer(struct service *s)
{
    raw_peer_forget_input(&s->peer);
    raw_peer_send(&s->peer, SLICE("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"));
}

/* One whole request; which service had it. */
static size_t ask(struct fixture *f)
{
    struct client c;
    size_t at;

    begin(&c, f, "POST");
    WAIT(f, has_request(&f->services[0]) || has_request(&f->services[1]));
    at = has_request(&f->services[0]) ? 0 : 1;
    answer(&f->services[at]);
    WAIT(f, c.exchange == NULL);
    assert_int_equal(c.status, 200);
    client_end(&c);
    return at;
}

struct group_case {
    enum upstream_balance balance;
    uint64_t eject_ms;
    uint32_t max_connections;
    const char *host_field;
};

static void open_group(struct fixture *f, const struct group_case *wanted)
{
    struct upstream_settings addresses[2];
    struct upstream_group_settings settings = {.addresses = addresses,
                                               .address_count = 2,
                                               .balance = wanted->balance,
                                               .eject_failures = 2,
                                               .eject_ms = wanted->eject_ms};

    for (size_t i = 0; i < 2; i++)
        addresses[i] = (struct upstream_settings){
            .name = "pair",
            .host = "127.0.0.1",
            .port = f->services[i].port,
            .host_field = wanted->host_field,
            .connect_timeout_ms = 60000,
            .response_timeout_ms = 60000,
            .body_timeout_ms = 60000,
            .idle_timeout_ms = 60000,
            .max_connections = wanted->max_connections > 0 ? wanted->max_connections : 4,
            .max_header_bytes = 1024,
            .max_header_count = 20};
    f->group =
        upstream_group_open(f->loop, &settings, f->metrics, metrics_shard(f->metrics, 1), &f->log);
}

/* A port that refuses connections stays bound to nobody for the length of a test. */
static void stop_listening(struct service *s)
{
    close(s->listen_fd);
    s->listen_fd = -1;
}

static int64_t count_of(struct fixture *f, enum metric metric)
{
    return metrics_read(f->metrics, metrics_series1(f->metrics, metric, "pair"));
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    log_set_level(LOG_ERROR); /* addresses that fail are announced below */
    f->log.field = LOG_STR("test", "upstream_group");
    assert_int_equal(loop_open(&f->loop), 0);
    f->metrics = metrics_open(1);
    for (size_t i = 0; i < COUNT_OF(f->services); i++)
        f->services[i].listen_fd = raw_peer_listen(&f->services[i].port);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    upstream_group_close(&f->group);
    assert_int_equal(count_of(f, METRIC_UPSTREAM_WAITING), 0);
    for (size_t i = 0; i < COUNT_OF(f->services); i++) {
        if (f->services[i].accept_count > 0)
            raw_peer_close(&f->services[i].peer);
        if (f->services[i].listen_fd >= 0)
            close(f->services[i].listen_fd);
    }
    loop_close(&f->loop);
    metrics_close(&f->metrics);
    free(f);
    return 0;
}

static void addresses_take_turns(void **state)
{
    struct fixture *f = *state;

    open_group(f, &(struct group_case){.balance = UPSTREAM_ROUND_ROBIN});
    for (size_t i = 0; i < 6; i++)
        assert_int_equal(ask(f), i % 2);
    assert_int_equal(f->services[0].accept_count, 1);
}

static void the_least_busy_is_chosen(void **state)
{
    struct fixture *f = *state;
    struct client slow;

    open_group(f, &(struct group_case){.balance = UPSTREAM_LEAST_CONNECTIONS});
    begin(&slow, f, "GET");
    WAIT(f, has_request(&f->services[0]));
    raw_peer_forget_input(&f->services[0].peer);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(ask(f), 1);
    client_end(&slow);
}

static void what_was_not_sent_goes_to_the_other(void **state)
{
    struct fixture *f = *state;

    open_group(f, &(struct group_case){.eject_ms = 3600000});
    stop_listening(&f->services[0]);
    for (size_t i = 0; i < 6; i++)
        assert_int_equal(ask(f), 1);
    /* Two failures, and the address is left alone. */
    assert_int_equal(count_of(f, METRIC_UPSTREAM_EJECTIONS), 1);
    assert_int_equal(count_of(f, METRIC_UPSTREAM_RETRIES), 2);
}

static void a_full_address_passes_on(void **state)
{
    struct fixture *f = *state;
    struct client clients[3];

    open_group(f, &(struct group_case){.max_connections = 1});
    begin(&clients[0], f, "POST");
    begin(&clients[1], f, "POST");
    WAIT(f, has_request(&f->services[0]) && has_request(&f->services[1]));
    begin(&clients[2], f, "POST");
    WAIT(f, clients[2].exchange == NULL);
    assert_true(clients[2].has_failed);
    assert_int_equal(clients[2].failure, UPSTREAM_BUSY);
    assert_int_equal(count_of(f, METRIC_UPSTREAM_RETRIES), 1);
    assert_int_equal(count_of(f, METRIC_UPSTREAM_EJECTIONS), 0);
    for (size_t i = 0; i < COUNT_OF(clients); i++)
        client_end(&clients[i]);
}

static void what_was_sent_is_not_sent_again(void **state)
{
    struct fixture *f = *state;
    struct client c;

    open_group(f, &(struct group_case){.eject_ms = 3600000});
    begin(&c, f, "GET");
    WAIT(f, has_request(&f->services[0]));
    raw_peer_end(&f->services[0].peer);
    WAIT(f, c.exchange == NULL);
    assert_true(c.has_failed);
    assert_int_equal(c.failure, UPSTREAM_CLOSED);
    assert_int_equal(f->services[1].accept_count, 0);
    client_end(&c);
}

static void with_all_left_out_all_are_tried(void **state)
{
    struct fixture *f = *state;
    struct client c;

    open_group(f, &(struct group_case){.eject_ms = 3600000});
    stop_listening(&f->services[0]);
    stop_listening(&f->services[1]);
    for (size_t i = 0; i < 4; i++) {
        begin(&c, f, "POST");
        WAIT(f, c.exchange == NULL);
        assert_true(c.has_failed);
        assert_int_equal(c.failure, UPSTREAM_UNREACHABLE);
        client_end(&c);
    }
    assert_int_equal(count_of(f, METRIC_UPSTREAM_EJECTIONS), 2);
    assert_int_equal(count_of(f, METRIC_UPSTREAM_RETRIES), 4);
}

static void the_host_is_the_groups_choice(void **state)
{
    struct fixture *f = *state;
    struct client c;

    open_group(f, &(struct group_case){.host_field = "api.example:81"});
    begin(&c, f, "GET");
    WAIT(f, has_request(&f->services[0]));
    assert_string_equal(f->services[0].peer.in, "GET /x HTTP/1.1\r\nHost: api.example:81\r\n\r\n");
    assert_slice_equal(c.host.value, SLICE("a")); /* the owner's head is as it was */
    client_end(&c);
}

/* The group goes with the last of its pools. */
static void a_closing_group_lets_exchanges_finish(void **state)
{
    struct fixture *f = *state;
    struct upstream_group *old;
    struct client c;

    open_group(f, &(struct group_case){.eject_ms = 1});
    begin(&c, f, "GET");
    WAIT(f, has_request(&f->services[0]));
    old = f->group;
    open_group(f, &(struct group_case){.eject_ms = 1});
    upstream_group_close(&old);
    answer(&f->services[0]);
    WAIT(f, c.exchange == NULL);
    assert_int_equal(c.status, 200);
    client_end(&c);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(addresses_take_turns),
        TEST(the_least_busy_is_chosen),
        TEST(what_was_not_sent_goes_to_the_other),
        TEST(a_full_address_passes_on),
        TEST(what_was_sent_is_not_sent_again),
        TEST(with_all_left_out_all_are_tried),
        TEST(the_host_is_the_groups_choice),
        TEST(a_closing_group_lets_exchanges_finish),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
