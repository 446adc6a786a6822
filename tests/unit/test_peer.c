#include "unit/unit.h"

#include "http/http_parse.h"
#include "serve/peer.h"

#define NETWORKS 3

struct peer_case {
    const char *address;
    bool has_proxies; /* 10.0.0.0/8, fd00::/8 and 127.0.0.1 are trusted */
    const char *fields;
    bool is_trusted;
    const char *client_key, *client_address;
};

#define XFF "X-Forwarded-For: "

static const struct peer_case cases[] = {
    {"203.0.113.9", false, "", false, "203.0.113.9", "203.0.113.9"},
    {"203.0.113.9", false, XFF "1.1.1.1\r\n", false, "203.0.113.9", "203.0.113.9"},
    {"203.0.113.9", true, XFF "1.1.1.1\r\n", false, "203.0.113.9", "203.0.113.9"},
    {"10.1.1.1", true, XFF "1.1.1.1\r\n", true, "1.1.1.1", "1.1.1.1"},
    {"10.1.1.1", true, XFF "1.1.1.1, 2.2.2.2\r\n", true, "2.2.2.2", "2.2.2.2"},
    {"10.1.1.1", true, XFF "1.1.1.1\r\n" XFF "10.2.2.2\r\n", true, "1.1.1.1", "1.1.1.1"},
    {"10.1.1.1", true, "", true, "10.1.1.1", "10.1.1.1"},
    {"2001:db8:1:2:3::4", false, "", false, "2001:db8:1:2::/64", "2001:db8:1:2:3::4"},
    {"10.1.1.1", true, XFF "2001:db8:1:2:3::4\r\n", true, "2001:db8:1:2::/64", "2001:db8:1:2:3::4"},
    /* A unix socket's peer is this machine. */
    {"unix", false, XFF "1.1.1.1\r\n", false, "127.0.0.1", "127.0.0.1"},
    {"unix", true, XFF "1.1.1.1\r\n", true, "1.1.1.1", "1.1.1.1"},
    /* More values than are looked at: the last ones count. */
    {"10.1.1.1", true,
     XFF "3.3.3.3\r\n" XFF "2.2.2.2\r\n" XFF "10.0.0.1\r\n" XFF "10.0.0.2\r\n" XFF
         "10.0.0.3\r\n" XFF "10.0.0.4\r\n" XFF "10.0.0.5\r\n" XFF "10.0.0.6\r\n" XFF
         "10.0.0.7\r\n" XFF "10.0.0.8\r\n" XFF "10.0.0.9\r\n" XFF "10.0.0.10\r\n" XFF
         "10.0.0.11\r\n" XFF "10.0.0.12\r\n" XFF "10.0.0.13\r\n" XFF "10.0.0.14\r\n" XFF
         "10.0.0.15\r\n",
     true, "2.2.2.2", "2.2.2.2"},
};

static void set_network(struct policy_cidr *cidr, const char *text, unsigned bits)
{
    assert_true(policy_parse_ip(slice_of(text), &cidr->network));
    cidr->prefix_bits = bits;
}

/* A proxy that does not say for whom it speaks does not speak for itself. */
static const struct peer_case hidden_cases[] = {
    {"10.1.1.1", true, XFF "1.1.1.1\r\n", false, "10.1.1.1", "10.1.1.1"},
    {"fd00::1", true, XFF "1.1.1.1\r\n", false, "fd00::/64", "fd00::1"},
    {"unix", true, XFF "1.1.1.1\r\n", false, "127.0.0.1", "127.0.0.1"},
};

static void check_peer(const struct peer_case *c, bool is_hidden)
{
    struct policy_cidr trusted[NETWORKS];
    const struct http_limits limits = {16384, 100, 4096};
    struct policy_settings settings = {.trusted_proxies = trusted,
                                       .trusted_proxy_count = c->has_proxies ? NETWORKS : 0,
                                       .ipv4_prefix = 32,
                                       .ipv6_prefix = 64};
    struct http_scan scan = {0};
    struct http_request head;
    struct slice text;
    struct arena arena;
    struct peer peer;
    size_t len;

    set_network(&trusted[0], "10.0.0.0", 96 + 8);
    set_network(&trusted[1], "127.0.0.1", 128);
    set_network(&trusted[2], "fd00::", 8);
    arena_init(&arena, NULL);
    text = arena_printf(&arena, "GET / HTTP/1.1\r\nHost: a\r\n%s\r\n", c->fields);
    assert_int_equal(http_scan(&scan, HTTP_KIND_REQUEST, text, &limits, &len), HTTP_FAULT_NONE);
    assert_int_equal(http_parse_request(text, &scan, &arena, &limits, &head), HTTP_FAULT_NONE);
    peer_find(&settings, c->address, is_hidden, &peer);
    assert_int_equal(peer.is_trusted, c->is_trusted);
    peer_find_client(&peer, &settings, &head.fields, &arena);
    assert_slice_equal(peer.client_key, slice_of(c->client_key));
    assert_slice_equal(peer.client_address, slice_of(c->client_address));
    arena_clear(&arena);
}

static void test_peers(void **state)
{
    UNUSED(state);
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        check_peer(&cases[i], false);
    for (size_t i = 0; i < COUNT_OF(hidden_cases); i++)
        check_peer(&hidden_cases[i], true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_peers)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
