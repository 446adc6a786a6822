/* Against a real redis-server.  Every call carries a number that the script gives back, so a reply
 * that met the wrong call cannot go unseen. */
#include "unit/redis_fixture.h"

#include "base/digest.h"
#include "store/redis_conn.h"

#define TIMEOUT_MS 50u
/* What a call may take beyond its deadline on a machine that does other things, too. */
#define SLACK_MS 250u

struct test_call {
    struct store_call call;
    struct slice key, args[2];
    char number[16];
    enum store_result result; /* STORE_PENDING until it has ended */
    uint64_t started_at_us, took_us;
    unsigned ended_as; /* how many ended before it */
};

struct fixture {
    struct redis_server server;
    struct loop *loop;
    struct redis_conn *conn;
    struct test_call *calls;
    size_t call_count, call_cap, ended_count;
    size_t result_counts[STORE_RESULT_COUNT];
    unsigned ready_count, lost_count, caught_up_count;
    struct timer load_timer;
    const char *mode;
};

/* --- scripts of our own: the number comes back, or what the mode asks for --- */

static const char script_texts[SCRIPT_COUNT][256] = {
    [SCRIPT_LIMITS] = "if ARGV[2] == 'fail' then return redis.call('NOSUCHCOMMAND') end "
                      "if ARGV[2] == 'sleep' then local n = 0 for i = 1, 3e7 do n = n + i end end "
                      "return ARGV[1]",
    [SCRIPT_PRESENCE] = "redis.call('INCR', KEYS[1]) return {ARGV[1], 7, {false}}",
};

static const struct script *get_script(enum script_id id)
{
    static struct script scripts[SCRIPT_COUNT];
    static char sha1s[SCRIPT_COUNT][41];

    if (scripts[id].name == NULL) {
        struct slice text = slice_of(script_texts[id][0] != '\0' ? script_texts[id] : "return 1");

        digest_sha1_hex(text, sha1s[id]);
        scripts[id] = (struct script){"test", text, sha1s[id]};
    }
    return &scripts[id];
}

/* --- events --- */

static void on_ready(void *owner)
{
    ((struct fixture *)owner)->ready_count++;
}

static void on_lost(void *owner)
{
    ((struct fixture *)owner)->lost_count++;
}

static void on_caught_up(void *owner)
{
    ((struct fixture *)owner)->caught_up_count++;
}

static void on_done(void *owner, struct store_call *call, enum store_result result,
                    const struct reply *reply)
{
    struct fixture *f = owner;
    struct test_call *t = CONTAINER_OF(call, struct test_call, call);

    assert_int_equal(t->result, STORE_PENDING);
    assert_int_equal(reply != NULL, result == STORE_OK);
    t->result = result;
    t->took_us = loop_clock_us() - t->started_at_us;
    t->ended_as = (unsigned)f->ended_count++;
    f->result_counts[result]++;
    if (result != STORE_OK)
        return;
    if (call->script == SCRIPT_PRESENCE) {
        assert_int_equal(reply->element_count, 3);
        assert_int_equal(reply->elements[1].integer, 7);
        reply = &reply->elements[0];
    }
    assert_slice_equal(reply->text, slice_of(t->number));
}

static const struct redis_conn_events events = {
    .on_ready = on_ready, .on_lost = on_lost, .on_done = on_done, .on_caught_up = on_caught_up};

/* --- set up and take down --- */

static void fixture_connect(struct fixture *f, const char *url, uint64_t timeout_ms,
                            uint32_t max_pending)
{
    const struct redis_conn_settings settings = {.url = url,
                                                 .timeout_ms = timeout_ms,
                                                 .connect_timeout_ms = 500,
                                                 .max_pending = max_pending,
                                                 .get_script = get_script};

    assert_int_equal(loop_open(&f->loop), 0);
    f->conn = redis_conn_open(f->loop, &settings, &events, f, NULL);
    assert_int_equal(f->ready_count, 0);
}

static void fixture_open(struct fixture *f, size_t call_cap)
{
    *f = (struct fixture){.call_cap = call_cap};
    f->calls = calloc(call_cap, sizeof(*f->calls));
}

static void fixture_disconnect(struct fixture *f)
{
    redis_conn_close(&f->conn, 0);
    assert_null(f->conn);
    loop_close(&f->loop); /* checks that nothing is left open */
}

static void fixture_close(struct fixture *f)
{
    fixture_disconnect(f);
    free(f->calls);
}

static bool is_ready(void *context)
{
    return redis_conn_is_ready(((struct fixture *)context)->conn);
}

static bool is_backing_off(void *context)
{
    return redis_conn_state(((struct fixture *)context)->conn) == REDIS_CONN_BACKING_OFF;
}

static bool all_ended(void *context)
{
    struct fixture *f = context;

    return f->ended_count == f->call_count;
}

static bool two_ended(void *context)
{
    return ((struct fixture *)context)->ended_count == 2;
}

static bool none_in_flight(void *context)
{
    return redis_conn_in_flight(((struct fixture *)context)->conn) == 0;
}

static void open_ready(struct fixture *f, size_t call_cap, uint64_t timeout_ms)
{
    fixture_open(f, call_cap);
    redis_open(&f->server, false, NULL, NULL);
    fixture_connect(f, f->server.url, timeout_ms, (uint32_t)call_cap);
    assert_true(wait_until(f->loop, is_ready, f, 5000));
    assert_int_equal(f->ready_count, 1);
}

static void close_all(struct fixture *f)
{
    fixture_close(f);
    redis_close(&f->server);
}

static struct test_call *start_call_of(struct fixture *f, enum script_id script)
{
    struct test_call *t = &f->calls[f->call_count];

    assert_true(f->call_count < f->call_cap);
    snprintf(t->number, sizeof(t->number), "%zu", f->call_count++);
    t->key = SLICE("counter");
    t->args[0] = slice_of(t->number);
    t->args[1] = slice_of(f->mode != NULL ? f->mode : "");
    t->call = (struct store_call){
        .script = script, .keys = &t->key, .key_count = 1, .args = t->args, .arg_count = 2};
    t->started_at_us = loop_clock_us();
    t->result = redis_conn_eval(f->conn, &t->call);
    if (t->result != STORE_PENDING) {
        assert_int_equal(t->result, STORE_NOT_SENT);
        f->result_counts[t->result]++;
        f->ended_count++;
    }
    /* Keys and args may go now. */
    t->key = t->args[0] = t->args[1] = SLICE_NONE;
    return t;
}

static struct test_call *start_call(struct fixture *f)
{
    return start_call_of(f, SCRIPT_LIMITS);
}

static void start_calls(struct fixture *f, size_t count)
{
    while (count-- > 0)
        start_call(f);
}

static long long server_number(struct fixture *f, const char *command)
{
    char reply[256];
    const char *at;

    assert_true(redis_try(&f->server, command, 2, reply, sizeof(reply)));
    at = strchr(reply, '\n');
    assert_non_null(at);
    return atoll(at + 1);
}

/* Every call has ended within its deadline and a little. */
static void assert_none_was_late(struct fixture *f, uint64_t timeout_ms)
{
    for (size_t i = 0; i < f->call_count; i++) {
        assert_int_not_equal(f->calls[i].result, STORE_PENDING);
        if (f->calls[i].took_us > (timeout_ms + SLACK_MS) * 1000)
            fail_msg("call %zu took %llu us", i, (unsigned long long)f->calls[i].took_us);
    }
}

/* --- the good days --- */

static void ten_thousand_calls_are_answered_in_order(void **state)
{
    struct fixture f;

    UNUSED(state);
    open_ready(&f, 10000, 20000);
    start_calls(&f, 9999);
    start_call_of(&f, SCRIPT_PRESENCE);
    assert_int_equal(redis_conn_in_flight(f.conn), 10000);
    assert_true(wait_until(f.loop, all_ended, &f, 20000));
    assert_int_equal(f.result_counts[STORE_OK], 10000);
    for (unsigned i = 0; i < 10000; i++)
        assert_int_equal(f.calls[i].ended_as, i);
    assert_int_equal(server_number(&f, "GET counter\r\n"), 1);
    close_all(&f);
}

static void a_tick_is_one_write(void **state)
{
    struct fixture f;
    long long before;
    char reply[4096];
    const char *at;

    UNUSED(state);
    open_ready(&f, 100, 5000);
    assert_true(redis_try(&f.server, "INFO stats\r\n", 50, reply, sizeof(reply)));
    at = strstr(reply, "total_reads_processed:");
    assert_non_null(at);
    before = atoll(at + strlen("total_reads_processed:"));
    start_calls(&f, 100);
    assert_true(wait_until(f.loop, all_ended, &f, 5000));
    assert_true(redis_try(&f.server, "INFO stats\r\n", 50, reply, sizeof(reply)));
    at = strstr(reply, "total_reads_processed:");
    /* The 100 calls in one read, and at most two for INFO and the end of the INFO before it. */
    assert_true(atoll(at + strlen("total_reads_processed:")) - before <= 3);
    close_all(&f);
}

static void scripts_forgotten_by_the_server_come_back(void **state)
{
    struct fixture f;

    UNUSED(state);
    open_ready(&f, 5000, 5000);
    for (unsigned round = 0; round < 5; round++) {
        redis_do(&f.server, "SCRIPT FLUSH\r\n");
        start_calls(&f, 999);
        start_call_of(&f, SCRIPT_PRESENCE);
        if (round == 3) { /* once more, between the first and the second attempt of many */
            loop_turn(f.loop);
            redis_do(&f.server, "SCRIPT FLUSH\r\n");
        }
        assert_true(wait_until(f.loop, all_ended, &f, 5000));
    }
    assert_int_equal(f.result_counts[STORE_OK], 5000);
    assert_int_equal(server_number(&f, "GET counter\r\n"), 5); /* each ran once */
    assert_int_equal(f.lost_count, 0);
    close_all(&f);
}

static void errors_of_the_script_refuse_the_call(void **state)
{
    struct fixture f;
    struct test_call *bad;

    UNUSED(state);
    open_ready(&f, 10, 1000);
    f.mode = "fail";
    bad = start_call(&f);
    f.mode = NULL;
    start_call(&f);
    assert_true(wait_until(f.loop, all_ended, &f, 5000));
    assert_int_equal(bad->result, STORE_REFUSED);
    assert_int_equal(f.result_counts[STORE_OK], 1);
    assert_int_equal(f.lost_count, 0);
    close_all(&f);
}

static void pending_calls_are_bounded_and_can_be_cancelled(void **state)
{
    struct fixture f;

    UNUSED(state);
    fixture_open(&f, 100);
    redis_open(&f.server, false, NULL, NULL);
    fixture_connect(&f, f.server.url, 5000, 8);
    assert_true(wait_until(f.loop, is_ready, &f, 5000));
    start_calls(&f, 10);
    assert_int_equal(f.result_counts[STORE_NOT_SENT], 2);
    assert_int_equal(redis_conn_waiting(f.conn), 8);
    for (unsigned i = 0; i < 8; i += 2) {
        redis_conn_cancel(f.conn, &f.calls[i].call);
        assert_false(f.calls[i].call.is_pending);
    }
    assert_int_equal(redis_conn_waiting(f.conn), 4);
    assert_int_equal(redis_conn_in_flight(f.conn), 8); /* their places stay taken */
    assert_true(wait_until(f.loop, none_in_flight, &f, 5000));
    assert_int_equal(f.result_counts[STORE_OK], 4);
    for (unsigned i = 0; i < 8; i++)
        assert_int_equal(f.calls[i].result, i % 2 == 0 ? STORE_PENDING : STORE_OK);
    close_all(&f);
}

static void closing_forgets_pending_calls(void **state)
{
    struct fixture f;

    UNUSED(state);
    open_ready(&f, 100, 5000);
    start_calls(&f, 50);
    loop_turn(f.loop);
    start_calls(&f, 50);
    close_all(&f);
    assert_true(f.ended_count < 100);
}

/* --- logging in --- */

static const struct login_case {
    const char *password, *user; /* the server's; NULL: none */
    const char *url;             /* %s is the server's socket */
    bool is_good;
} login_cases[] = {
    {NULL, NULL, "unix://%s", true},
    {NULL, NULL, "unix://%s?db=3", true},
    {NULL, NULL, "unix://%s?db=99", false},
    {NULL, NULL, "unix://:secret@%s", false},
    {"secret", NULL, "unix://:secret@%s", true},
    {"secret", NULL, "unix://default:secret@%s?db=3", true},
    {"secret", NULL, "unix://:wrong@%s", false},
    {"secret", NULL, "unix://%s", false},
    {NULL, "lk on >pw ~* +@all", "unix://lk:pw@%s", true},
    {NULL, "lk on >pw ~* +@all", "unix://lk:no@%s", false},
    /* No right to ask for anything, but to run scripts. */
    {NULL, "lk on >pw ~* -@all +eval +evalsha +incr", "unix://lk:pw@%s", true},
};

static void add_user(const struct redis_server *server, const char *user)
{
    char command[128];

    snprintf(command, sizeof(command), "ACL SETUSER %s\r\n", user);
    redis_do(server, command);
}

static void logging_in_works_or_backs_off(void **state)
{
    UNUSED(state);
    for (size_t i = 0; i < COUNT_OF(login_cases); i++) {
        const struct login_case *c = &login_cases[i];
        struct fixture f;
        char url[160];

        fixture_open(&f, 10);
        redis_open(&f.server, false, c->password != NULL ? "--requirepass" : NULL, c->password);
        if (c->user != NULL)
            add_user(&f.server, c->user);
        snprintf(url, sizeof(url), c->url, f.server.socket_path);
        fixture_connect(&f, url, 2000, 10);
        start_call(&f); /* too early */
        assert_true(wait_until(f.loop, c->is_good ? is_ready : is_backing_off, &f, 5000));
        start_calls(&f, 2);
        start_call_of(&f, SCRIPT_PRESENCE);
        assert_true(wait_until(f.loop, all_ended, &f, 5000));
        assert_int_equal(f.result_counts[STORE_OK], c->is_good ? 3 : 0);
        assert_int_equal(f.result_counts[STORE_NOT_SENT], c->is_good ? 1 : 4);
        assert_int_equal(f.ready_count, c->is_good);
        close_all(&f);
    }
}

static void the_chosen_database_is_used(void **state)
{
    struct fixture f;
    char url[160], reply[256];

    UNUSED(state);
    fixture_open(&f, 1);
    redis_open(&f.server, false, NULL, NULL);
    snprintf(url, sizeof(url), "%s?db=5", f.server.url);
    fixture_connect(&f, url, 2000, 10);
    assert_true(wait_until(f.loop, is_ready, &f, 5000));
    start_call_of(&f, SCRIPT_PRESENCE);
    assert_true(wait_until(f.loop, all_ended, &f, 5000));
    assert_true(redis_try(&f.server, "SELECT 5\r\nGET counter\r\n", 3, reply, sizeof(reply)));
    assert_string_equal(reply, "+OK\r\n$1\r\n1\r\n");
    close_all(&f);
}

static void a_user_without_rights_is_refused(void **state)
{
    struct fixture f;
    char url[160];

    UNUSED(state);
    fixture_open(&f, 10);
    redis_open(&f.server, false, NULL, NULL);
    add_user(&f.server, "lk on >pw ~* -@all +ping");
    snprintf(url, sizeof(url), "unix://lk:pw@%s", f.server.socket_path);
    fixture_connect(&f, url, 2000, 10);
    assert_true(wait_until(f.loop, is_ready, &f, 5000));
    start_calls(&f, 5);
    assert_true(wait_until(f.loop, all_ended, &f, 5000));
    assert_int_equal(f.result_counts[STORE_REFUSED], 5);
    close_all(&f);
}

static void tcp_by_name_works(void **state)
{
    struct fixture f;
    char url[64];

    UNUSED(state);
    fixture_open(&f, 10);
    redis_open(&f.server, true, NULL, NULL);
    snprintf(url, sizeof(url), "redis://localhost:%u/2", f.server.port);
    fixture_connect(&f, url, 2000, 10);
    assert_true(wait_until(f.loop, is_ready, &f, 5000));
    start_calls(&f, 10);
    assert_true(wait_until(f.loop, all_ended, &f, 5000));
    assert_int_equal(f.result_counts[STORE_OK], 10);
    assert_true(strlen(redis_conn_run_id(f.conn)) == 40);
    close_all(&f);
}

/* --- the bad days --- */

static void on_load(struct timer *timer)
{
    struct fixture *f = CONTAINER_OF(timer, struct fixture, load_timer);

    for (unsigned i = 0; i < 20 && f->call_count < f->call_cap; i++)
        start_call(f);
    timer_start(f->loop, timer, 1, on_load);
}

static void start_load(struct fixture *f)
{
    timer_start(f->loop, &f->load_timer, 1, on_load);
}

static bool hundred_more_are_good(void *context)
{
    struct fixture *f = context;

    return f->result_counts[STORE_OK] >= 100;
}

static void a_killed_server_is_found_again(void **state)
{
    struct fixture f;
    uint64_t back_at_us;
    char old_run_id[64];

    UNUSED(state);
    open_ready(&f, 200000, TIMEOUT_MS);
    strcpy(old_run_id, redis_conn_run_id(f.conn));
    start_load(&f);
    assert_true(wait_until(f.loop, hundred_more_are_good, &f, 5000));
    redis_kill(&f.server);
    assert_true(wait_until(f.loop, is_backing_off, &f, 2000));
    assert_int_equal(f.lost_count, 1);
    assert_int_equal(redis_conn_waiting(f.conn), 0);
    redis_start(&f.server);
    back_at_us = loop_clock_us();
    f.result_counts[STORE_OK] = 0;
    assert_true(wait_until(f.loop, hundred_more_are_good, &f, 2000));
    assert_true(loop_clock_us() - back_at_us < 2000000);
    assert_string_not_equal(old_run_id, redis_conn_run_id(f.conn));
    timer_stop(f.loop, &f.load_timer);
    assert_true(wait_until(f.loop, all_ended, &f, 2000));
    assert_none_was_late(&f, TIMEOUT_MS);
    assert_true(f.result_counts[STORE_NOT_SENT] > 0);
    close_all(&f);
}

/* A short stop: the connection survives, and late replies meet nobody. */
static void late_replies_are_dropped(void **state)
{
    struct fixture f;

    UNUSED(state);
    open_ready(&f, 400, TIMEOUT_MS);
    kill(f.server.pid, SIGSTOP);
    start_calls(&f, 200);
    assert_true(wait_until(f.loop, all_ended, &f, 2000));
    assert_int_equal(f.result_counts[STORE_UNKNOWN], 200);
    assert_none_was_late(&f, TIMEOUT_MS);
    assert_int_equal(redis_conn_in_flight(f.conn), 200);
    kill(f.server.pid, SIGCONT);
    start_calls(&f, 200); /* behind the 200 late ones */
    assert_true(wait_until(f.loop, none_in_flight, &f, 2000));
    assert_int_equal(f.lost_count, 0);
    assert_int_equal(f.ready_count, 1);
    assert_int_equal(f.result_counts[STORE_OK] + f.result_counts[STORE_UNKNOWN], 400);
    assert_true(f.result_counts[STORE_OK] > 0);
    close_all(&f);
}

/* An operator shortens the timeout while the server hangs: nobody waits behind those who have more
 * time. */
static void a_shorter_timeout_counts_at_once(void **state)
{
    struct redis_conn_settings settings = {
        .timeout_ms = TIMEOUT_MS, .connect_timeout_ms = 500, .max_pending = 10};
    struct fixture f;

    UNUSED(state);
    open_ready(&f, 10, 60000);
    kill(f.server.pid, SIGSTOP);
    start_call(&f);
    redis_conn_set_bounds(f.conn, &settings);
    start_calls(&f, 2);
    assert_true(wait_until(f.loop, two_ended, &f, 5000));
    assert_int_equal(f.calls[0].result, STORE_PENDING);
    assert_int_equal(f.result_counts[STORE_UNKNOWN], 2);
    kill(f.server.pid, SIGCONT);
    assert_true(wait_until(f.loop, all_ended, &f, 5000));
    assert_int_equal(f.calls[0].result, STORE_OK);
    close_all(&f);
}

static bool was_lost(void *context)
{
    return ((struct fixture *)context)->lost_count > 0;
}

/* A long stop: the server is given up, and found again when it goes on. */
static void a_silent_server_is_given_up(void **state)
{
    struct fixture f;
    uint64_t stopped_at_us, back_at_us;

    UNUSED(state);
    open_ready(&f, 200000, TIMEOUT_MS);
    start_load(&f);
    assert_true(wait_until(f.loop, hundred_more_are_good, &f, 5000));
    kill(f.server.pid, SIGSTOP);
    stopped_at_us = loop_clock_us();
    assert_true(wait_until(f.loop, was_lost, &f, 3000));
    assert_true(loop_clock_us() - stopped_at_us >= 900000); /* not over a hiccup */
    f.result_counts[STORE_OK] = 0;
    kill(f.server.pid, SIGCONT);
    back_at_us = loop_clock_us();
    assert_true(wait_until(f.loop, hundred_more_are_good, &f, 3000));
    assert_true(loop_clock_us() - back_at_us < 2000000);
    timer_stop(f.loop, &f.load_timer);
    assert_true(wait_until(f.loop, all_ended, &f, 2000));
    assert_none_was_late(&f, TIMEOUT_MS);
    close_all(&f);
}

/* The process was busy, not Redis: the replies lie in the socket and must be read first. */
static void a_stalled_loop_does_not_lose_replies(void **state)
{
    struct fixture f;

    UNUSED(state);
    open_ready(&f, 100, TIMEOUT_MS);
    start_calls(&f, 100);
    loop_turn(f.loop);             /* the write */
    poll(NULL, 0, 3 * TIMEOUT_MS); /* the stall that is under test */
    assert_true(wait_until(f.loop, all_ended, &f, 1000));
    assert_int_equal(f.result_counts[STORE_OK], 100);
    close_all(&f);
}

static void a_server_that_is_down_is_waited_for(void **state)
{
    struct fixture f;

    UNUSED(state);
    fixture_open(&f, 10);
    redis_open(&f.server, false, NULL, NULL);
    redis_kill(&f.server);
    fixture_connect(&f, f.server.url, TIMEOUT_MS, 10);
    assert_true(wait_until(f.loop, is_backing_off, &f, 1000));
    start_call(&f);
    assert_int_equal(f.result_counts[STORE_NOT_SENT], 1);
    assert_int_equal(f.lost_count, 0);
    redis_start(&f.server);
    assert_true(wait_until(f.loop, is_ready, &f, 2000));
    close_all(&f);
}

static void closing_is_legal_in_every_state(void **state)
{
    struct fixture f;

    UNUSED(state);
    fixture_open(&f, 1);
    redis_open(&f.server, false, NULL, NULL);
    for (unsigned turns = 0; turns < 12; turns++) {
        fixture_connect(&f, f.server.url, TIMEOUT_MS, 10);
        for (unsigned i = 0; i < turns; i++)
            loop_turn(f.loop);
        fixture_disconnect(&f);
        f.ready_count = 0;
    }
    fixture_connect(&f, f.server.url, TIMEOUT_MS, 10);
    close_all(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ten_thousand_calls_are_answered_in_order),
        cmocka_unit_test(a_tick_is_one_write),
        cmocka_unit_test(scripts_forgotten_by_the_server_come_back),
        cmocka_unit_test(errors_of_the_script_refuse_the_call),
        cmocka_unit_test(pending_calls_are_bounded_and_can_be_cancelled),
        cmocka_unit_test(closing_forgets_pending_calls),
        cmocka_unit_test(logging_in_works_or_backs_off),
        cmocka_unit_test(the_chosen_database_is_used),
        cmocka_unit_test(a_user_without_rights_is_refused),
        cmocka_unit_test(tcp_by_name_works),
        cmocka_unit_test(a_killed_server_is_found_again),
        cmocka_unit_test(late_replies_are_dropped),
        cmocka_unit_test(a_shorter_timeout_counts_at_once),
        cmocka_unit_test(a_silent_server_is_given_up),
        cmocka_unit_test(a_stalled_loop_does_not_lose_replies),
        cmocka_unit_test(a_server_that_is_down_is_waited_for),
        cmocka_unit_test(closing_is_legal_in_every_state),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
