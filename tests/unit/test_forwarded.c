/* Forwarded, as RFC 7239 has it and as clients might wish it were read. */
#include <arpa/inet.h>

#include "unit/unit.h"

#include "policy/forwarded.h"
#include "policy/policy.h"

struct value_case {
    const char *value;
    const char *found; /* elements, separated by spaces: an address or "-"; NULL: malformed */
};

static const struct value_case cases[] = {
    {"for=192.0.2.60;proto=http;by=203.0.113.43", "192.0.2.60"},
    {"for=192.0.2.43, for=198.51.100.17", "192.0.2.43 198.51.100.17"},
    {"For=\"[2001:db8:cafe::17]:4711\"", "2001:db8:cafe::17"},
    {"FOR=192.0.2.1", "192.0.2.1"},
    {"for=\"192.0.2.1:80\"", "192.0.2.1"},
    {"for=\"192.0.2.1:_port\"", "192.0.2.1"},
    {"for=\"[::ffff:192.0.2.1]\"", "192.0.2.1"},
    {"for=\"1\\92.0.2.\\1\"", "192.0.2.1"},
    {"for=unknown", "-"},
    {"for=\"_hidden:80\"", "-"},
    {"for=_SEVKISEK", "-"},
    {"proto=https;host=\"a, for=1.1.1.1\"", "-"},
    {"by=1.1.1.1", "-"},
    {"for=1.1.1.1;secret=\"x;for=2.2.2.2\"", "1.1.1.1"},
    {"for=1.1.1.1;", "1.1.1.1"},
    {";for=1.1.1.1", "1.1.1.1"},
    {";", "-"},
    {"", ""},
    {" ,\t, ,", ""},
    {",for=1.1.1.1 ,, for=2.2.2.2\t,", "1.1.1.1 2.2.2.2"},
    {"for=1.1.1.1;ext=a;ext=b", "1.1.1.1"},
    /* Nodes that are none. */
    {"for=example.com", "-"},
    {"for=\"\"", "-"},
    {"for=\"::1\"", "-"},
    {"for=\"[::1\"", "-"},
    {"for=\"[::1]x\"", "-"},
    {"for=\"[::1]:\"", "-"},
    {"for=\"[::1]:65536\"", "-"},
    {"for=\"[192.0.2.1]\"", "-"},
    {"for=\"192.0.2.1:\"", "-"},
    {"for=\"192.0.2.1:80:80\"", "-"},
    {"for=\" 192.0.2.1\"", "-"},
    {"for=\"192.0.2.1,\"", "-"},
    {"for=192.0.2.01", "-"},
    {"for=\"[fe80::1%eth0]\"", "-"},
    {"for=\"[0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0001]\"",
     "-"},
    /* Malformed. */
    {"for", NULL},
    {"for=", NULL},
    {"=1.1.1.1", NULL},
    {"for =1.1.1.1", NULL},
    {"for= 1.1.1.1", NULL},
    {"for=1.1.1.1 ;by=a", NULL},
    {"for=1.1.1.1; by=a", NULL},
    {"for=1.1.1.1 for=2.2.2.2", NULL},
    {"for=1.1.1.1;for=2.2.2.2", NULL},
    {"for=1.1.1.1;FOR=2.2.2.2", NULL},
    {"for=1.1.1.1;proto=a;proto=b", NULL},
    {"for=[::1]", NULL},
    {"for=1.1.1.1:80", NULL},
    {"for=\"1.1.1.1", NULL},
    {"for=\"1.1.1.1\\", NULL},
    {"for=\"1.1.1.1\"2", NULL},
    {"for=\"a\x01\"", NULL},
    {"for=\"a\x7f\"", NULL},
    {"for='1.1.1.1'x(", NULL},
    {"1.1.1.1", NULL},
    /* A quote that a client left open, and what a proxy added. */
    {"for=\", for=2.2.2.2", NULL},
    {"for=\"1.1.1.1, for=\"[::1]\"", NULL},
    {"for=1.1.1.1;x=\"\\, for=\"[::1]\"", NULL},
};

static void read_elements(struct slice rest, struct arena *arena, struct slice *ret_found,
                          enum forwarded_status *ret_status)
{
    struct forwarded_element element;
    char text[INET6_ADDRSTRLEN];

    *ret_found = SLICE("");
    while ((*ret_status = forwarded_next(&rest, &element)) == FORWARDED_ELEMENT) {
        if (element.kind == FORWARDED_FOR_NOBODY)
            strcpy(text, "-");
        else if (IN6_IS_ADDR_V4MAPPED(&element.address))
            assert_non_null(inet_ntop(AF_INET, &element.address.s6_addr[12], text, sizeof(text)));
        else
            assert_non_null(inet_ntop(AF_INET6, &element.address, text, sizeof(text)));
        *ret_found = arena_printf(arena, "%.*s%s%s", SLICE_ARGS(*ret_found),
                                  ret_found->len > 0 ? " " : "", text);
    }
}

static void test_values(void **state)
{
    UNUSED(state);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct slice value = slice_of(cases[i].value), found;
        enum forwarded_status status;
        struct arena arena;

        arena_init(&arena, NULL);
        read_elements(value, &arena, &found, &status);
        assert_int_equal(forwarded_is_fine(value), status == FORWARDED_END);
        if ((status == FORWARDED_END) != (cases[i].found != NULL))
            fail_msg("<%s> status %d", cases[i].value, status);
        if (cases[i].found != NULL && !slice_equal(found, slice_of(cases[i].found)))
            fail_msg("<%s> gave %.*s", cases[i].value, SLICE_ARGS(found));
        arena_clear(&arena);
    }
}

struct walk_case {
    const char *values[3]; /* as many fields, in order */
    const char *client;
};

/* 10.0.0.0/8 is trusted, and 10.0.0.1 is the peer. */
static const struct walk_case walks[] = {
    {{NULL}, "10.0.0.1"},
    {{"for=1.1.1.1"}, "1.1.1.1"},
    {{"for=1.1.1.1, for=2.2.2.2"}, "2.2.2.2"},
    {{"for=1.1.1.1, for=10.0.0.2"}, "1.1.1.1"},
    {{"for=1.1.1.1", "for=10.0.0.3, for=10.0.0.2"}, "1.1.1.1"},
    {{"for=1.1.1.1, for=unknown"}, "10.0.0.1"},
    {{"for=1.1.1.1, for=_x, for=10.0.0.2"}, "10.0.0.2"},
    {{"for=1.1.1.1, proto=http"}, "10.0.0.1"},
    {{"for=1.1.1.1", "", "for=10.0.0.2"}, "1.1.1.1"},
    /* Malformed: nothing of the value, and nothing left of it. */
    {{"for=1.1.1.1, for=\"2.2.2.2"}, "10.0.0.1"},
    {{"for=1.1.1.1", "for=2.2.2.2;", "for=10.0.0.2"}, "2.2.2.2"},
    {{"for=1.1.1.1", "oops", "for=10.0.0.2"}, "10.0.0.2"},
};

static void test_walks(void **state)
{
    static const struct policy_settings whole = {.ipv4_prefix = 32, .ipv6_prefix = 128};
    struct policy_cidr trusted = {.prefix_bits = 104};
    struct policy_settings settings = {.trusted_proxies = &trusted,
                                       .trusted_proxy_count = 1,
                                       .forwarding = POLICY_FORWARDING_FORWARDED};
    struct in6_addr peer, client;
    char text[INET6_ADDRSTRLEN + 4], many[4000] = "for=1.1.1.1";
    struct slice value;

    UNUSED(state);
    assert_true(policy_parse_ip(SLICE("10.0.0.0"), &trusted.network));
    assert_true(policy_parse_ip(SLICE("10.0.0.1"), &peer));
    for (size_t i = 0; i < COUNT_OF(walks); i++) {
        struct slice values[3];
        size_t count = 0;

        while (count < 3 && walks[i].values[count] != NULL) {
            values[count] = slice_of(walks[i].values[count]);
            count++;
        }
        policy_find_client(&settings, &peer, values, count, &client);
        policy_client_ip_text(&whole, &client, text, sizeof(text));
        if (strcmp(text, walks[i].client) != 0)
            fail_msg("case %zu: %s", i, text);
    }
    /* More hops than are looked at: the client is the last one reached. */
    for (int i = 40; i > 0; i--)
        snprintf(many + strlen(many), sizeof(many) - strlen(many), ", for=10.0.1.%d", i);
    value = slice_of(many);
    policy_find_client(&settings, &peer, &value, 1, &client);
    policy_client_ip_text(&whole, &client, text, sizeof(text));
    assert_string_equal(text, "10.0.1.32");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_walks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
