/* Name lookup: literals, localhost, a name that cannot exist (.invalid), cancel at every moment. */
#include <arpa/inet.h>
#include <dlfcn.h>
#include <netdb.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <uv.h>

#include "net/loop.h"
#include "net/resolve.h"

/* What the C library says of MOVING, and how often it was asked; libuv asks from its threads. */
#define MOVING "moving.test"
static atomic_uint moving_address, moving_count;
static atomic_int moving_error;
static atomic_bool moving_hangs; /* until hanging_ends is posted */
static uv_sem_t hanging_ends;

static int (*real_lookup)(const char *, const char *, const struct addrinfo *, struct addrinfo **);

/* Before any other, in libuv and in the C library's place. */
int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                struct addrinfo **ret_found)
{
    char text[32];

    if (node == NULL || strcmp(node, MOVING) != 0)
        return real_lookup(node, service, hints, ret_found);
    moving_count++;
    if (moving_hangs)
        uv_sem_wait(&hanging_ends);
    if (moving_error != 0)
        return moving_error;
    snprintf(text, sizeof(text), "127.0.0.%u", moving_address);
    return real_lookup(text, service, hints, ret_found);
}

/* How far the clocks of this process are ahead. */
static _Atomic time_t skipped_s;

int clock_gettime(clockid_t clock, struct timespec *ret_now)
{
    int result = (int)syscall(SYS_clock_gettime, clock, ret_now);

    ret_now->tv_sec += skipped_s;
    return result;
}

struct asked {
    struct resolve_request *request;
    unsigned call_count;
    int error;
    size_t address_count;
    union resolve_address first;
};

static void on_resolved(void *owner, int error, const union resolve_address *addresses,
                        size_t count)
{
    struct asked *asked = owner;

    asked->request = NULL;
    asked->call_count++;
    asked->error = error;
    asked->address_count = count;
    assert_true(error == 0 ? count > 0 : count == 0);
    if (count > 0)
        asked->first = addresses[0];
}

static struct loop *open_loop(void)
{
    struct loop *loop;

    assert_int_equal(loop_open(&loop), 0);
    return loop;
}

static void ask(struct loop *loop, struct asked *asked, const char *host, uint64_t timeout_ms)
{
    *asked = (struct asked){0};
    asked->request = resolve_start(loop, host, 8080, timeout_ms, on_resolved, asked);
    assert_int_equal(asked->call_count, 0);
}

static void test_literals(void **state)
{
    static const struct {
        const char *host;
        int family; /* 0: not a literal */
    } cases[] = {
        {"127.0.0.1", AF_INET},   {"::1", AF_INET6},
        {"[::1]", AF_INET6},      {"fe80::1%lo", AF_INET6},
        {"unix:/tmp/x", AF_UNIX}, {"unix:", 0},
        {"localhost", 0},         {"127.0.0.256", 0},
        {"[127.0.0.1]", 0},       {"", 0},
        {"::1%no-such-if", 0},    {"1.2.3", 0},
    };

    UNUSED(state);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        union resolve_address address = {.any = {.sa_family = AF_UNSPEC}};

        assert_int_equal(resolve_literal(cases[i].host, 8080, &address), cases[i].family != 0);
        assert_int_equal(address.any.sa_family, cases[i].family);
        if (cases[i].family == AF_INET)
            assert_int_equal(ntohs(address.in4.sin_port), 8080);
        if (cases[i].family == AF_INET6)
            assert_int_equal(ntohs(address.in6.sin6_port), 8080);
    }
}

static void test_literal_comes_from_the_loop(void **state)
{
    struct loop *loop = open_loop();
    struct asked asked;

    UNUSED(state);
    ask(loop, &asked, "127.0.0.1", 1000);
    loop_turn(loop);
    assert_int_equal(asked.call_count, 1);
    assert_int_equal(asked.first.any.sa_family, AF_INET);
    ask(loop, &asked, "unix:", 1000);
    loop_turn(loop);
    assert_int_equal(asked.error, UV_EINVAL);
    loop_close(&loop);
}

static void test_localhost_and_cache(void **state)
{
    struct loop *loop = open_loop();
    struct asked asked, same;

    UNUSED(state);
    ask(loop, &asked, "localhost", 10000);
    ask(loop, &same, "LOCALHOST", 10000); /* joins the lookup under way */
    while (asked.call_count == 0 || same.call_count == 0)
        loop_turn(loop);
    assert_int_equal(asked.error, 0);
    assert_int_equal(same.error, 0);
    if (asked.first.any.sa_family == AF_INET) {
        assert_int_equal(asked.first.in4.sin_addr.s_addr, htonl(INADDR_LOOPBACK));
        assert_int_equal(ntohs(asked.first.in4.sin_port), 8080);
    } else {
        assert_int_equal(asked.first.any.sa_family, AF_INET6);
        assert_int_equal(ntohs(asked.first.in6.sin6_port), 8080);
    }
    /* Now it is kept: one turn is enough, no thread is asked. */
    ask(loop, &asked, "localhost", 10000);
    loop_turn(loop);
    assert_int_equal(asked.call_count, 1);
    assert_int_equal(asked.error, 0);
    loop_close(&loop);
}

static void test_unknown_name(void **state)
{
    struct loop *loop = open_loop();
    struct asked asked;

    UNUSED(state);
    ask(loop, &asked, "a name with spaces.invalid", 10000);
    while (asked.call_count == 0)
        loop_turn(loop);
    assert_true(asked.error < 0);
    /* The failure is kept for a moment. */
    ask(loop, &asked, "a name with spaces.invalid", 10000);
    loop_turn(loop);
    assert_int_equal(asked.call_count, 1);
    assert_true(asked.error < 0);
    loop_close(&loop);
}

static void test_cancel_at_any_time(void **state)
{
    UNUSED(state);
    for (int turns = 0; turns < 5; turns++) {
        struct loop *loop = open_loop();
        struct asked name, literal;

        ask(loop, &name, "localhost", 10000);
        ask(loop, &literal, "::1", 10000);
        for (int i = 0; i < turns; i++)
            loop_turn(loop);
        if (name.request != NULL)
            resolve_cancel(&name.request);
        if (literal.request != NULL)
            resolve_cancel(&literal.request);
        assert_null(name.request);
        for (int i = 0; i < 3; i++)
            loop_turn(loop);
        assert_int_equal(literal.call_count, turns > 0);
        loop_close(&loop); /* waits for the thread that is still at it */
    }
}

static void test_many_names_stay_bounded(void **state)
{
    struct loop *loop = open_loop();
    struct asked asked[200];
    bool is_done = false;

    UNUSED(state);
    for (size_t i = 0; i < COUNT_OF(asked); i++) {
        char host[32];

        snprintf(host, sizeof(host), "bad name %zu", i);
        ask(loop, &asked[i], host, 10000);
    }
    while (!is_done) {
        loop_turn(loop);
        is_done = true;
        for (size_t i = 0; i < COUNT_OF(asked); i++)
            is_done = is_done && asked[i].call_count == 1;
    }
    for (size_t i = 0; i < COUNT_OF(asked); i++)
        assert_true(asked[i].error < 0);
    loop_close(&loop);
}

/* All of libuv's threads are kept busy, so that a lookup cannot begin. */
static uv_sem_t busy_until;

static void be_busy(uv_work_t *work)
{
    UNUSED(work);
    uv_sem_wait(&busy_until);
}

static void on_not_busy(uv_work_t *work, int status)
{
    UNUSED(work);
    UNUSED(status);
}

static void test_timeout(void **state)
{
    struct loop *loop = open_loop();
    struct asked asked;
    uv_work_t work[4];

    UNUSED(state);
    assert_int_equal(uv_sem_init(&busy_until, 0), 0);
    for (size_t i = 0; i < COUNT_OF(work); i++)
        assert_int_equal(uv_queue_work(loop_uv(loop), &work[i], be_busy, on_not_busy), 0);
    ask(loop, &asked, "localhost", 30);
    while (asked.call_count == 0)
        loop_turn(loop);
    assert_int_equal(asked.error, UV_ETIMEDOUT);
    for (size_t i = 0; i < COUNT_OF(work); i++)
        uv_sem_post(&busy_until);
    while (loop_turn(loop))
        ;
    loop_close(&loop);
    uv_sem_destroy(&busy_until);
}

/* The last part of the address that MOVING is said to have, or the error. */
static int find_moving(struct loop *loop)
{
    struct asked asked;

    ask(loop, &asked, MOVING, 10000);
    while (asked.call_count == 0)
        loop_turn(loop);
    return asked.error != 0 ? asked.error : (int)(ntohl(asked.first.in4.sin_addr.s_addr) & 255);
}

static void skip_time(struct loop *loop, time_t seconds)
{
    skipped_s += seconds;
    loop_turn(loop);
}

static void begin_moving(void)
{
    moving_count = 0;
    moving_error = 0;
    moving_address = 1;
}

static void test_answers_are_looked_up_again(void **state)
{
    struct loop *loop = open_loop();

    UNUSED(state);
    begin_moving();
    assert_int_equal(find_moving(loop), 1);
    moving_address = 2;
    skip_time(loop, 29);
    assert_int_equal(find_moving(loop), 1);
    skip_time(loop, 2);
    assert_int_equal(find_moving(loop), 2);
    assert_int_equal(moving_count, 2);
    loop_close(&loop);
}

/* Where nobody answers, a service has moved, or is down: that must not be asked for each request.
 */
static void test_addresses_that_fail_are_looked_up_again(void **state)
{
    struct loop *loop = open_loop();

    UNUSED(state);
    begin_moving();
    resolve_expire(loop, MOVING); /* never heard of */
    assert_int_equal(find_moving(loop), 1);
    moving_address = 2;
    resolve_expire(loop, MOVING);
    assert_int_equal(find_moving(loop), 1);
    skip_time(loop, 2);
    assert_int_equal(find_moving(loop), 1);
    resolve_expire(loop, MOVING);
    assert_int_equal(find_moving(loop), 2);
    resolve_expire(loop, MOVING);
    assert_int_equal(find_moving(loop), 2);
    assert_int_equal(moving_count, 2);
    loop_close(&loop);
}

static void test_name_servers_that_fail_leave_the_old_addresses(void **state)
{
    struct loop *loop = open_loop();

    UNUSED(state);
    begin_moving();
    assert_int_equal(find_moving(loop), 1);
    moving_error = EAI_AGAIN;
    for (int i = 0; i < 7; i++) {
        skip_time(loop, 40);
        assert_int_equal(find_moving(loop), 1);
        assert_int_equal(find_moving(loop), 1); /* and while it is asked again */
    }
    assert_true(moving_count > 1);
    moving_error = 0;
    moving_address = 2;
    skip_time(loop, 2);
    while (find_moving(loop) != 2)
        loop_turn(loop);
    moving_error = EAI_AGAIN;
    skip_time(loop, 301);
    assert_int_equal(find_moving(loop), UV_EAI_AGAIN);
    loop_close(&loop);
}

static void test_name_servers_that_do_not_answer_are_waited_for_once(void **state)
{
    struct loop *loop = open_loop();
    struct asked asked;

    UNUSED(state);
    begin_moving();
    assert_int_equal(uv_sem_init(&hanging_ends, 0), 0);
    assert_int_equal(find_moving(loop), 1);
    moving_hangs = true;
    skip_time(loop, 31);
    ask(loop, &asked, MOVING, 30);
    while (asked.call_count == 0)
        loop_turn(loop);
    assert_int_equal(asked.error, 0);
    ask(loop, &asked, MOVING, 10000);
    loop_turn(loop);
    assert_int_equal(asked.call_count, 1);
    assert_int_equal(asked.error, 0);
    moving_hangs = false;
    moving_address = 2;
    uv_sem_post(&hanging_ends);
    while (find_moving(loop) != 2)
        loop_turn(loop);
    assert_int_equal(moving_count, 2);
    loop_close(&loop);
    uv_sem_destroy(&hanging_ends);
}

static void test_a_name_without_address_is_believed(void **state)
{
    struct loop *loop = open_loop();

    UNUSED(state);
    begin_moving();
    assert_int_equal(find_moving(loop), 1);
    moving_error = EAI_NONAME;
    skip_time(loop, 31);
    assert_int_equal(find_moving(loop), UV_EAI_NONAME);
    moving_error = EAI_AGAIN;
    skip_time(loop, 2);
    assert_int_equal(find_moving(loop), UV_EAI_AGAIN);
    loop_close(&loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_literals),
        cmocka_unit_test(test_literal_comes_from_the_loop),
        cmocka_unit_test(test_localhost_and_cache),
        cmocka_unit_test(test_unknown_name),
        cmocka_unit_test(test_cancel_at_any_time),
        cmocka_unit_test(test_many_names_stay_bounded),
        cmocka_unit_test(test_timeout),
        cmocka_unit_test(test_answers_are_looked_up_again),
        cmocka_unit_test(test_addresses_that_fail_are_looked_up_again),
        cmocka_unit_test(test_name_servers_that_fail_leave_the_old_addresses),
        cmocka_unit_test(test_name_servers_that_do_not_answer_are_waited_for_once),
        cmocka_unit_test(test_a_name_without_address_is_believed),
    };

    *(void **)&real_lookup = dlsym(RTLD_NEXT, "getaddrinfo");
    assert_non_null(real_lookup);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
