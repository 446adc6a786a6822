/* The store as guard/ sees it: engines, results, metrics, the breaker, the count of sidecars. */
#include "unit/redis_fixture.h"

#include "net/tls.h"
#include "store/store.h"

#define TIMEOUT_MS 50u
#define BREAKER_OPEN_MS 300u
#define BREAKER_FAILURES 4u

struct fixture {
    struct redis_server server;
    struct loop *loop;
    struct metrics *metrics;
    struct embedded *embedded;
    struct store *store;
    struct store_call calls[64];
    size_t call_count, pending_count;
    size_t result_counts[STORE_RESULT_COUNT];
    struct slice key, args[2];
    bool wants_more; /* each end of a call starts the next */
};

static struct fixture *owner_of(struct store_call *call)
{
    /* The calls of a fixture share its key, which is not const there. */
    struct slice *key = (struct slice *)(uintptr_t)call->keys;

    return CONTAINER_OF(key, struct fixture, key);
}

static enum store_result start_call(struct fixture *f);

static void on_reply(struct store_call *call, enum store_result result, const struct reply *reply)
{
    struct fixture *f = owner_of(call);

    assert_int_equal(reply != NULL, result == STORE_OK);
    if (result == STORE_OK)
        assert_int_equal(reply->type, REPLY_INTEGER);
    f->result_counts[result]++;
    f->pending_count--;
    if (f->wants_more)
        start_call(f);
}

/* The script that counts sidecars serves as any other; its key is not the store's own. */
static enum store_result start_call(struct fixture *f)
{
    struct store_call *call = &f->calls[f->call_count++ % COUNT_OF(f->calls)];
    struct reply reply;
    enum store_result result;

    assert_false(call->is_pending);
    f->key = SLICE("test");
    f->args[0] = SLICE("me");
    f->args[1] = SLICE("1000000");
    *call = (struct store_call){.script = SCRIPT_PRESENCE,
                                .keys = &f->key,
                                .key_count = 1,
                                .args = f->args,
                                .arg_count = 2,
                                .on_reply = on_reply};
    result = store_eval(f->store, call, &reply);
    if (result == STORE_PENDING)
        f->pending_count++;
    else
        f->result_counts[result]++;
    if (result == STORE_OK)
        assert_int_equal(reply.integer, 1);
    return result;
}

static struct store *open_store_with(struct fixture *f, const char *url, const char *ca_file,
                                     struct tls_context *tls)
{
    const struct store_settings settings = {.url = url,
                                            .ca_file = ca_file,
                                            .tls = tls,
                                            .timeout_ms = TIMEOUT_MS,
                                            .connect_timeout_ms = 500,
                                            .max_pending = 32,
                                            .breaker_failures = BREAKER_FAILURES,
                                            .breaker_open_ms = BREAKER_OPEN_MS};

    return store_open(f->loop, &settings, f->embedded, f->metrics, metrics_shard(f->metrics, 1),
                      NULL);
}

static struct store *open_store(struct fixture *f, const char *url)
{
    return open_store_with(f, url, NULL, NULL);
}

static void fixture_open(struct fixture *f, bool with_redis)
{
    *f = (struct fixture){0};
    if (with_redis)
        redis_open(&f->server, false, NULL, NULL);
    assert_int_equal(loop_open(&f->loop), 0);
    f->metrics = metrics_open(1);
    f->embedded = embedded_open((size_t)1024 * 1024);
    f->store = open_store(f, with_redis ? f->server.url : "embedded");
}

static void fixture_close(struct fixture *f)
{
    store_close(&f->store);
    assert_null(f->store);
    loop_close(&f->loop);
    embedded_unref(&f->embedded);
    metrics_close(&f->metrics);
    if (f->server.dir[0] != '\0')
        redis_close(&f->server);
}

static int64_t gauge(struct fixture *f, enum metric family)
{
    return metrics_read(f->metrics, metrics_series0(f->metrics, family));
}

static int64_t counted(struct fixture *f, enum store_result result)
{
    return metrics_read(f->metrics, metrics_series2(f->metrics, METRIC_STORE_CALLS, "presence",
                                                    store_result_name(result)));
}

static bool is_ready(void *context)
{
    return store_is_ready(((struct fixture *)context)->store);
}

static bool none_pending(void *context)
{
    return ((struct fixture *)context)->pending_count == 0;
}

static bool knows_two(void *context)
{
    return store_known_sidecars(((struct fixture *)context)->store) == 2;
}

/* No call of ours and no beat of the presence is on its way. */
static bool is_quiet(void *context)
{
    struct fixture *f = context;

    return is_ready(f) && f->pending_count == 0 && gauge(f, METRIC_STORE_PENDING) == 0;
}

static void the_embedded_engine_answers_at_once(void **state)
{
    struct fixture f;

    UNUSED(state);
    fixture_open(&f, false);
    assert_true(store_is_embedded(f.store));
    assert_true(store_is_ready(f.store));
    assert_int_equal(store_known_sidecars(f.store), 1);
    assert_int_equal(start_call(&f), STORE_OK);
    assert_int_equal(counted(&f, STORE_OK), 1);
    assert_int_equal(gauge(&f, METRIC_STORE_DURATION), 1);
    store_cancel(&f.calls[0]); /* legal, and without effect */
    fixture_close(&f);
}

static void calls_and_metrics_agree(void **state)
{
    struct fixture f;
    int64_t beats;

    UNUSED(state);
    fixture_open(&f, true);
    assert_false(store_is_embedded(f.store));
    assert_false(store_is_ready(f.store));
    assert_int_equal(start_call(&f), STORE_NOT_SENT);
    assert_int_equal(counted(&f, STORE_NOT_SENT), 1);
    assert_true(wait_until(f.loop, is_quiet, &f, 5000));
    assert_int_equal(gauge(&f, METRIC_STORE_CONNECTIONS), 1);
    beats = counted(&f, STORE_OK);
    assert_int_equal(beats, 1);
    for (unsigned i = 0; i < 20; i++)
        assert_int_equal(start_call(&f), STORE_PENDING);
    assert_int_equal(gauge(&f, METRIC_STORE_PENDING), 20);
    store_cancel(&f.calls[5]);
    f.pending_count--;
    assert_int_equal(gauge(&f, METRIC_STORE_PENDING), 19);
    assert_true(wait_until(f.loop, none_pending, &f, 5000));
    assert_int_equal(f.result_counts[STORE_OK], 19);
    assert_int_equal(counted(&f, STORE_OK) - beats, 19);
    assert_int_equal(gauge(&f, METRIC_STORE_PENDING), 0);
    start_call(&f); /* pending at the end */
    store_close(&f.store);
    assert_int_equal(gauge(&f, METRIC_STORE_PENDING), 0);
    assert_int_equal(gauge(&f, METRIC_STORE_CONNECTIONS), 0);
    f.store = open_store(&f, "embedded");
    fixture_close(&f);
}

static void local_calls_need_no_redis(void **state)
{
    struct fixture f;
    struct store_call call = {.script = SCRIPT_PRESENCE};
    struct slice key = SLICE("test"), args[2] = {SLICE("me"), SLICE("1000000")};
    struct reply reply;

    UNUSED(state);
    fixture_open(&f, true);
    call.keys = &key;
    call.key_count = 1;
    call.args = args;
    call.arg_count = 2;
    assert_int_equal(store_eval_local(f.store, &call, &reply), STORE_OK);
    assert_int_equal(reply.integer, 1);
    assert_int_equal(gauge(&f, METRIC_STORE_LOCAL_CALLS), 1);
    fixture_close(&f);
}

static bool breaker_is_open(void *context)
{
    return gauge(context, METRIC_STORE_BREAKER_OPEN) == 1;
}

static bool breaker_is_closed(void *context)
{
    return gauge(context, METRIC_STORE_BREAKER_OPEN) == 0;
}

static bool probe_may_go(void *context)
{
    return start_call(context) == STORE_PENDING;
}

/* Redis stops: the breaker opens after the deadlines of a few calls, turns the rest away, and lets
 * one probe through at a time.  Redis goes on: it closes. */
static void the_breaker_opens_probes_and_closes(void **state)
{
    struct fixture f;
    uint64_t back_at_us;

    UNUSED(state);
    fixture_open(&f, true);
    assert_true(wait_until(f.loop, is_quiet, &f, 5000));
    kill(f.server.pid, SIGSTOP);
    for (unsigned i = 0; i < BREAKER_FAILURES; i++)
        assert_int_equal(start_call(&f), STORE_PENDING);
    assert_true(wait_until(f.loop, breaker_is_open, &f, 1000));
    assert_int_equal(f.result_counts[STORE_UNKNOWN], BREAKER_FAILURES);
    assert_false(store_is_ready(f.store));
    assert_int_equal(start_call(&f), STORE_NOT_SENT);
    assert_true(wait_until(f.loop, probe_may_go, &f, BREAKER_OPEN_MS + 500));
    assert_int_equal(f.pending_count > 0, true);
    assert_int_equal(start_call(&f), STORE_NOT_SENT); /* only one at a time */
    kill(f.server.pid, SIGCONT);
    back_at_us = loop_clock_us();
    assert_true(wait_until(f.loop, breaker_is_closed, &f, 2000));
    assert_true(loop_clock_us() - back_at_us < 2000000);
    assert_true(wait_until(f.loop, is_quiet, &f, 2000));
    assert_int_equal(start_call(&f), STORE_PENDING);
    assert_true(wait_until(f.loop, none_pending, &f, 2000));
    fixture_close(&f);
}

/* Ends of calls that start new calls must not keep the store from doing anything else. */
static void a_restart_under_load_is_survived(void **state)
{
    struct fixture f;

    UNUSED(state);
    fixture_open(&f, true);
    assert_true(wait_until(f.loop, is_quiet, &f, 5000));
    f.wants_more = true;
    for (unsigned i = 0; i < 16; i++)
        assert_int_equal(start_call(&f), STORE_PENDING);
    redis_kill(&f.server);
    assert_true(wait_until(f.loop, none_pending, &f, 2000));
    for (unsigned i = 0; i < BREAKER_FAILURES; i++)
        assert_int_equal(start_call(&f), STORE_NOT_SENT);
    assert_true(breaker_is_open(&f));
    assert_int_equal(gauge(&f, METRIC_STORE_CONNECTIONS), 0);
    redis_start(&f.server);
    assert_true(wait_until(f.loop, is_ready, &f, 2000)); /* the breaker, too */
    assert_int_equal(gauge(&f, METRIC_STORE_RECONNECTS), 1);
    assert_int_equal(gauge(&f, METRIC_STORE_CONNECTIONS), 1);
    f.wants_more = false;
    assert_int_equal(start_call(&f), STORE_PENDING);
    assert_true(wait_until(f.loop, none_pending, &f, 2000));
    fixture_close(&f);
}

static long long sidecars_listed(struct fixture *f)
{
    char reply[64];

    assert_true(redis_try(&f->server, "ZCARD lk:sidecars\r\n", 1, reply, sizeof(reply)));
    return atoll(reply + 1);
}

static bool none_listed(void *context)
{
    return sidecars_listed(context) == 0;
}

static void sidecars_are_counted(void **state)
{
    struct fixture f;
    struct store *second;
    char reply[64];

    UNUSED(state);
    fixture_open(&f, true);
    /* Another process, one that died long ago, and one from a clock that went back. */
    assert_true(redis_try(&f.server, "TIME\r\n", 3, reply, sizeof(reply)));
    {
        unsigned long long now_s = strtoull(strchr(strchr(reply, '$') + 1, '\n') + 1, NULL, 10);
        char command[200];

        snprintf(command, sizeof(command),
                 "ZADD lk:sidecars %llu000000 other %llu000000 dead %llu000000 future\r\n", now_s,
                 now_s - 100, now_s + 1000);
        redis_do(&f.server, command);
    }
    assert_true(wait_until(f.loop, knows_two, &f, 5000));
    /* A second worker of this process does not count twice. */
    second = open_store(&f, f.server.url);
    while (!store_is_ready(second))
        assert_true(wait_until(f.loop, is_quiet, &f, 5000));
    assert_true(wait_until(f.loop, is_quiet, &f, 5000));
    assert_int_equal(store_known_sidecars(second), 2);
    assert_int_equal(sidecars_listed(&f), 2);
    store_close(&second);
    /* What was known stays known while Redis is away. */
    redis_do(&f.server, "ZREM lk:sidecars other\r\n");
    redis_kill(&f.server);
    assert_int_equal(store_known_sidecars(f.store), 2);
    fixture_close(&f);
}

static void a_sidecar_that_leaves_says_so(void **state)
{
    struct fixture f;

    UNUSED(state);
    fixture_open(&f, true);
    assert_true(wait_until(f.loop, is_quiet, &f, 5000));
    assert_int_equal(sidecars_listed(&f), 1);
    store_close(&f.store);
    assert_true(wait_until(f.loop, none_listed, &f, 2000));
    f.store = open_store(&f, "embedded");
    fixture_close(&f);
}

static void make_certificate(const struct redis_server *server)
{
    char command[512];

    snprintf(
        command, sizeof(command),
        "cd %s && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 "
        "-subj /CN=store -addext subjectAltName=DNS:localhost -keyout server.key "
        "-out server.pem 2>/dev/null",
        server->dir);
    assert_int_equal(system(command), 0);
}

static bool was_refused_for_a_while(void *context)
{
    return loop_clock_us() > *(const uint64_t *)context;
}

static void on_message(void *owner, struct slice message)
{
    UNUSED(owner);
    UNUSED(message);
}

static void on_gap(void *owner)
{
    UNUSED(owner);
}

static bool is_listening(void *context)
{
    return store_is_listening(((struct fixture *)context)->store);
}

enum trust { TRUST_NONE, TRUST_SYSTEM, TRUST_FILE, TRUST_SHARED };

static struct store *open_trusting(struct fixture *f, const char *url, enum trust trust,
                                   const char *certificate)
{
    const struct tls_options options = {.ca_file = certificate};
    struct tls_context *tls = NULL;
    struct store *store;
    char error[256];

    setenv("SSL_CERT_FILE", trust == TRUST_SYSTEM ? certificate : "/dev/null", 1);
    if (trust == TRUST_SHARED) {
        tls = tls_context_open(&options, error, sizeof(error));
        assert_non_null(tls);
    }
    store = open_store_with(f, url, trust == TRUST_FILE ? certificate : NULL, tls);
    if (tls != NULL)
        tls_context_unref(&tls); /* the store has its own reference */
    return store;
}

/* With the right authority, and never without; for calls and for messages. */
static void tls_is_verified(void **state)
{
    static const struct {
        const char *host;
        enum trust trust;
        bool is_good;
    } cases[] = {{"localhost", TRUST_SYSTEM, true},  {"localhost", TRUST_FILE, true},
                 {"localhost", TRUST_SHARED, true},  {"localhost", TRUST_NONE, false},
                 {"127.0.0.1", TRUST_SYSTEM, false}, {"127.0.0.1", TRUST_SHARED, false}};

    UNUSED(state);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct fixture f;
        char url[64], path[96];
        uint64_t until_us;

        fixture_open(&f, true);
        redis_kill(&f.server);
        make_certificate(&f.server);
        f.server.has_tls = true;
        f.server.port = redis_free_port();
        redis_start(&f.server);
        snprintf(path, sizeof(path), "%s/server.pem", f.server.dir);
        snprintf(url, sizeof(url), "rediss://%s:%u", cases[i].host, f.server.port);
        store_close(&f.store);
        f.store = open_trusting(&f, url, cases[i].trust, path);
        store_listen(f.store, on_message, on_gap, NULL);
        until_us = loop_clock_us() + 500000;
        if (cases[i].is_good)
            assert_true(wait_until(f.loop, is_quiet, &f, 5000) &&
                        wait_until(f.loop, is_listening, &f, 5000));
        else
            assert_true(wait_until(f.loop, was_refused_for_a_while, &until_us, 5000));
        assert_int_equal(store_is_listening(f.store), cases[i].is_good);
        assert_int_equal(start_call(&f), cases[i].is_good ? STORE_PENDING : STORE_NOT_SENT);
        assert_true(wait_until(f.loop, none_pending, &f, 2000));
        assert_int_equal(f.result_counts[STORE_OK], cases[i].is_good);
        unlink(path);
        snprintf(path, sizeof(path), "%s/server.key", f.server.dir);
        unlink(path);
        fixture_close(&f);
    }
    unsetenv("SSL_CERT_FILE");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_embedded_engine_answers_at_once),
        cmocka_unit_test(calls_and_metrics_agree),
        cmocka_unit_test(local_calls_need_no_redis),
        cmocka_unit_test(the_breaker_opens_probes_and_closes),
        cmocka_unit_test(a_restart_under_load_is_survived),
        cmocka_unit_test(sidecars_are_counted),
        cmocka_unit_test(a_sidecar_that_leaves_says_so),
        cmocka_unit_test(tls_is_verified),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
