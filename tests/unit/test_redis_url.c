#include "unit/unit.h"

#include "store/redis_url.h"
#include "store/store.h"

static const struct good_case {
    const char *text, *host, *user, *password;
    unsigned port, db;
    bool is_tls;
} good_cases[] = {
    {"redis://h", "h", NULL, NULL, 6379, 0, false},
    {"redis://h:7000/", "h", NULL, NULL, 7000, 0, false},
    {"redis://:p%40ss@10.0.0.1:1/15", "10.0.0.1", NULL, "p@ss", 1, 15, false},
    {"redis://lk:secret@[::1]/2", "::1", "lk", "secret", 6379, 2, false},
    {"rediss://lk:s@h.example", "h.example", "lk", "s", 6379, 0, true},
    {"unix:///run/redis.sock", "unix:/run/redis.sock", NULL, NULL, 0, 0, false},
    {"unix:///run/redis.sock?db=3", "unix:/run/redis.sock", NULL, NULL, 0, 3, false},
    {"unix://:pw@/run/redis.sock?db=3", "unix:/run/redis.sock", NULL, "pw", 0, 3, false},
    {"unix://lk:p%2Fw@/r@s", "unix:/r@s", "lk", "p/w", 0, 0, false},
};

static const char *const bad_cases[] = {
    "",
    "embedde",
    "http://h",
    "redis://",
    "redis://h/db",
    "redis://h/-1",
    "redis://h/99999999999",
    "redis://user@h",
    "redis://h:0",
    "unix://run/redis.sock",
    "unix://u:p@",
    "unix:///",
    "unix:///run/redis.sock?timeout=1",
    "unix:///run/redis.sock?db=x",
    "unix-login://socket/run/redis.sock",
    "redis+sentinel://h/m",
    "unix:///"
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
};

static void assert_same(const char *actual, const char *expected)
{
    assert_int_equal(actual == NULL, expected == NULL);
    if (expected != NULL)
        assert_string_equal(actual, expected);
}

static void good_urls_are_taken_apart(void **state)
{
    UNUSED(state);
    for (size_t i = 0; i < COUNT_OF(good_cases); i++) {
        const struct good_case *c = &good_cases[i];
        struct redis_url url;
        struct arena arena;

        arena_init(&arena, NULL);
        assert_null(redis_url_parse(&arena, slice_of(c->text), &url));
        assert_same(url.host, c->host);
        assert_same(url.user, c->user);
        assert_same(url.password, c->password);
        assert_int_equal(url.port, c->port);
        assert_int_equal(url.db, c->db);
        assert_int_equal(url.is_tls, c->is_tls);
        arena_clear(&arena);
    }
}

static void bad_urls_say_what_is_wrong(void **state)
{
    UNUSED(state);
    for (size_t i = 0; i < COUNT_OF(bad_cases); i++) {
        struct redis_url url = {.port = 1};
        struct arena arena;
        const char *error;

        arena_init(&arena, NULL);
        error = redis_url_parse(&arena, slice_of(bad_cases[i]), &url);
        if (error == NULL)
            fail_msg("%s is taken for good", bad_cases[i]);
        assert_true(strlen(error) > 10);
        assert_int_equal(url.port, 1); /* untouched */
        arena_clear(&arena);
        assert_non_null(store_check_url(slice_of(bad_cases[i])));
    }
    assert_null(store_check_url(SLICE("embedded")));
    assert_null(store_check_url(SLICE("redis://h")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_urls_are_taken_apart),
        cmocka_unit_test(bad_urls_say_what_is_wrong),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
