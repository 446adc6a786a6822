#include "unit/unit.h"

#include "base/arena.h"
#include "base/digest.h"
#include "base/url.h"

struct good_case {
    const char *text, *scheme, *user, *password, *host, *path;
    unsigned port;
};

static const struct good_case good_cases[] = {
    {"http://127.0.0.1:3000", "http", NULL, NULL, "127.0.0.1", "", 3000},
    {"HTTP://Example.com/", "http", NULL, NULL, "Example.com", "/", 0},
    {"redis://:p%40ss@h:6379/2", "redis", "", "p@ss", "h", "/2", 6379},
    {"redis://u:a:b@h", "redis", "u", "a:b", "h", "", 0},
    {"redis://u@h", "redis", "u", NULL, "h", "", 0},
    {"http://[::1]:80/x", "http", NULL, NULL, "::1", "/x", 80},
    {"unix:///run/a.sock", "unix", NULL, NULL, "", "/run/a.sock", 0},
    {"redis+sentinel://a/b", "redis+sentinel", NULL, NULL, "a", "/b", 0},
};

static void assert_optional(struct slice actual, const char *expected)
{
    assert_int_equal(actual.at == NULL, expected == NULL);
    assert_slice_equal(actual, slice_of(expected));
}

static void good_urls_are_taken_apart(void **state)
{
    UNUSED(state);
    for (size_t i = 0; i < COUNT_OF(good_cases); i++) {
        const struct good_case *c = &good_cases[i];
        struct arena arena;
        struct url url;

        arena_init(&arena, NULL);
        assert_null(url_parse(&arena, slice_of(c->text), &url));
        assert_slice_equal(url.scheme, slice_of(c->scheme));
        assert_optional(url.user, c->user);
        assert_optional(url.password, c->password);
        assert_slice_equal(url.host, slice_of(c->host));
        assert_slice_equal(url.path, slice_of(c->path));
        assert_int_equal(url.port, c->port);
        arena_clear(&arena);
    }
}

static void bad_urls_say_what_would_be_right(void **state)
{
    static const char *const bad[] = {"",
                                      "127.0.0.1:3000",
                                      "http:/x",
                                      "http://",
                                      "http://h:0",
                                      "http://h:65536",
                                      "http://h:1x",
                                      "http://h:",
                                      "http://a b",
                                      "http://[::1",
                                      "http://[::1]x",
                                      "unix://run/x",
                                      "unix:///",
                                      "redis://%zz@h:1",
                                      "http://h%00",
                                      "ht tp://h",
                                      "redis://:%00@h"};

    UNUSED(state);
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        struct arena arena;
        struct url url;

        arena_init(&arena, NULL);
        if (url_parse(&arena, slice_of(bad[i]), &url) == NULL)
            fail_msg("\"%s\" was taken", bad[i]);
        arena_clear(&arena);
    }
}

static void digests_give_the_published_vectors(void **state)
{
    char sha1[41], part[33];

    UNUSED(state);
    digest_sha1_hex(SLICE("abc"), sha1);
    assert_string_equal(sha1, "a9993e364706816aba3e25717850c26c9cd0d89d");
    digest_short_hex(SLICE("abc"), part);
    assert_string_equal(part, "ba7816bf8f01cfea414140de5dae2223");
    digest_short_hex(SLICE_NONE, part);
    assert_string_equal(part, "e3b0c44298fc1c149afbf4c8996fb924");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_urls_are_taken_apart),
        cmocka_unit_test(bad_urls_say_what_would_be_right),
        cmocka_unit_test(digests_give_the_published_vectors),
    };

    return cmocka_run_group_tests_name("url", tests, NULL, NULL);
}
