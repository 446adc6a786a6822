#include "unit/unit.h"

#include <arpa/inet.h>

#include "policy/policy.h"

/* By inet_pton alone: v4 as mapped. */
static struct in6_addr address_of(const char *text)
{
    struct in6_addr address = {.s6_addr = {[10] = 0xff, [11] = 0xff}};

    if (inet_pton(AF_INET, text, &address.s6_addr[12]) != 1)
        assert_int_equal(inet_pton(AF_INET6, text, &address), 1);
    return address;
}

static const struct {
    const char *text, *address;
} good_texts[] = {
    {"1.2.3.4", "1.2.3.4"},
    {"1.2.3.4:80", "1.2.3.4"},
    {"1.2.3.4:0", "1.2.3.4"},
    {"::1", "::1"},
    {"[::1]", "::1"},
    {"[::1]:65535", "::1"},
    {"2001:DB8::1", "2001:db8::1"},
    {"::ffff:1.2.3.4", "1.2.3.4"},
    {"[::ffff:102:304]:1", "1.2.3.4"},
    {"2001:db8:0:0:0:0:0:1", "2001:db8::1"},
    {"::", "::"},
    {"0000:0000:0000:0000:0000:ffff:255.255.255.255", "255.255.255.255"},
};

static const char *const bad_texts[] = {
    "",
    " 1.2.3.4",
    "1.2.3.4 ",
    "1.2.3",
    "1.2.3.4.5",
    "01.2.3.4",
    "1.2.3.256",
    "0x1.2.3.4",
    "1.2.3.4:",
    "1.2.3.4:65536",
    "1.2.3.4:+1",
    "1.2.3.4:80:80",
    "[1.2.3.4]",
    "[1.2.3.4]:80",
    "[::1",
    "::1]",
    "[]",
    "[::1]80",
    "[::1]:",
    "[::1]:x",
    "[[::1]]",
    "fe80::1%eth0",
    "[fe80::1%25eth0]",
    "unknown",
    "_hidden",
    "localhost",
    ":::",
    "1::2::3",
    "g::1",
    "/run/a.sock",
    "0000:0000:0000:0000:0000:ffff:255.255.255.2555",
};

static void addresses_are_read_strictly(void **state)
{
    struct in6_addr address;

    UNUSED(state);
    for (size_t i = 0; i < COUNT_OF(good_texts); i++) {
        struct in6_addr expected = address_of(good_texts[i].address);

        assert_true(policy_parse_ip(slice_of(good_texts[i].text), &address));
        assert_memory_equal(&address, &expected, sizeof(address));
    }
    for (size_t i = 0; i < COUNT_OF(bad_texts); i++) {
        if (policy_parse_ip(slice_of(bad_texts[i]), &address))
            fail_msg("\"%s\" was taken for an address", bad_texts[i]);
    }
    assert_false(policy_parse_ip(slice_from("1.2.3.4\0", 8), &address));
    assert_false(policy_parse_ip(SLICE_NONE, &address));
}

static const struct {
    const char *address;
    unsigned v4_prefix, v6_prefix;
    const char *text;
} texts[] = {
    {"1.2.3.4", 32, 64, "1.2.3.4"},
    {"1.2.3.4", 24, 64, "1.2.3.0/24"},
    {"1.2.255.4", 23, 64, "1.2.254.0/23"},
    {"1.2.3.4", 0, 64, "0.0.0.0/0"},
    {"::ffff:1.2.3.4", 32, 64, "1.2.3.4"},
    {"2001:db8:1:2:3:4:5:6", 32, 64, "2001:db8:1:2::/64"},
    {"2001:db8:1:2:3:4:5:6", 32, 128, "2001:db8:1:2:3:4:5:6"},
    {"2001:db8:1:2:3:4:5:7", 32, 127, "2001:db8:1:2:3:4:5:6/127"},
    {"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 32, 127,
     "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe/127"},
    {"2001:db8:1:2ff:3:4:5:7", 32, 60, "2001:db8:1:2f0::/60"},
    {"::1", 32, 64, "::/64"},
    {"::1", 32, 0, "::/0"},
};

static void texts_are_cut_to_the_prefix(void **state)
{
    UNUSED(state);
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        struct policy_settings settings = {.ipv4_prefix = texts[i].v4_prefix,
                                           .ipv6_prefix = texts[i].v6_prefix};
        struct in6_addr address = address_of(texts[i].address);
        char text[INET6_ADDRSTRLEN + 4];

        policy_client_ip_text(&settings, &address, text, sizeof(text));
        assert_string_equal(text, texts[i].text);
    }
}

/* 10/8, 192.168.1.1, 2001:db8::/32, and a network given with host bits. */
static struct policy_settings trusting_settings(struct policy_cidr cidrs[4])
{
    cidrs[0] = (struct policy_cidr){address_of("10.0.0.0"), 104};
    cidrs[1] = (struct policy_cidr){address_of("192.168.1.1"), 128};
    cidrs[2] = (struct policy_cidr){address_of("2001:db8::"), 32};
    cidrs[3] = (struct policy_cidr){address_of("172.16.99.1"), 108};
    return (struct policy_settings){.trusted_proxies = cidrs, .trusted_proxy_count = 4};
}

static void trust_is_by_network(void **state)
{
    static const struct {
        const char *address;
        bool is_trusted;
    } cases[] = {
        {"10.0.0.0", true},        {"10.255.255.255", true}, {"11.0.0.0", false},
        {"9.255.255.255", false},  {"192.168.1.1", true},    {"192.168.1.2", false},
        {"192.168.1.0", false},    {"2001:db8::1", true},    {"2001:db9::1", false},
        {"2001:db8:ffff::", true}, {"::1", false},           {"::10.0.0.1", false},
        {"172.31.0.1", true},      {"172.32.0.1", false},    {"::ffff:10.1.2.3", true},
    };
    struct policy_cidr cidrs[4];
    struct policy_settings settings = trusting_settings(cidrs), nobody = {.trusted_proxy_count = 0};
    struct policy_cidr all_cidr = {.prefix_bits = 0};
    struct policy_settings all = {.trusted_proxies = &all_cidr, .trusted_proxy_count = 1};

    UNUSED(state);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct in6_addr address = address_of(cases[i].address);

        if (policy_is_trusted(&settings, &address) != cases[i].is_trusted)
            fail_msg("%s", cases[i].address);
        assert_false(policy_is_trusted(&nobody, &address));
        assert_true(policy_is_trusted(&all, &address));
    }
}

static const struct {
    const char *peer;
    const char *values[4]; /* of X-Forwarded-For, in order */
    const char *client;
} walks[] = {
    /* Not trusted: whatever it says. */
    {"8.8.8.8", {"1.1.1.1"}, "8.8.8.8"},
    {"10.0.0.1", {NULL}, "10.0.0.1"},
    {"10.0.0.1", {"1.1.1.1"}, "1.1.1.1"},
    {"2001:db8::5", {"1.1.1.1"}, "1.1.1.1"},
    /* The left one is the client's own claim. */
    {"10.0.0.1", {"6.6.6.6, 1.1.1.1"}, "1.1.1.1"},
    {"10.0.0.1", {"6.6.6.6, 1.1.1.1, 10.0.0.2"}, "1.1.1.1"},
    {"10.0.0.1", {"6.6.6.6,1.1.1.1,10.0.0.2,192.168.1.1"}, "1.1.1.1"},
    {"10.0.0.1", {"6.6.6.6", "1.1.1.1", "10.0.0.2"}, "1.1.1.1"},
    {"10.0.0.1", {"1.1.1.1, 6.6.6.6", "10.0.0.2"}, "6.6.6.6"},
    {"10.0.0.1", {"10.0.0.3", "10.0.0.2"}, "10.0.0.3"},
    /* Empty members do not count; junk ends the walk. */
    {"10.0.0.1", {"1.1.1.1,, ,\t"}, "1.1.1.1"},
    {"10.0.0.1", {"", "1.1.1.1", ""}, "1.1.1.1"},
    {"10.0.0.1", {"1.1.1.1, unknown"}, "10.0.0.1"},
    {"10.0.0.1", {"1.1.1.1, unknown, 10.0.0.2"}, "10.0.0.2"},
    {"10.0.0.1", {"1.1.1.1, fe80::1%eth0"}, "10.0.0.1"},
    {"10.0.0.1", {"1.1.1.1 2.2.2.2"}, "10.0.0.1"},
    {"10.0.0.1", {"[2001:db9::1]:443"}, "2001:db9::1"},
    {"10.0.0.1", {"1.1.1.1:5555"}, "1.1.1.1"},
    {"10.0.0.1", {"1.1.1.1, ::ffff:10.0.0.9"}, "1.1.1.1"},
    {"::ffff:10.0.0.1", {"::ffff:1.1.1.1"}, "1.1.1.1"},
};

static void the_client_is_the_right_most_untrusted_hop(void **state)
{
    struct policy_cidr cidrs[4];
    struct policy_settings settings = trusting_settings(cidrs);

    UNUSED(state);
    for (size_t i = 0; i < COUNT_OF(walks); i++) {
        struct in6_addr peer = address_of(walks[i].peer), expected = address_of(walks[i].client);
        struct in6_addr client;
        struct slice values[4];
        size_t count = 0;

        while (count < 4 && walks[i].values[count] != NULL) {
            values[count] = slice_of(walks[i].values[count]);
            count++;
        }
        policy_find_client(&settings, &peer, values, count, &client);
        if (memcmp(&client, &expected, sizeof(client)) != 0)
            fail_msg("walk %zu", i);
    }
}

/* A trusted hop repeated without end costs a bounded walk, and never reaches what is behind it. */
static void the_walk_is_bounded(void **state)
{
    struct policy_cidr cidrs[4];
    struct policy_settings settings = trusting_settings(cidrs);
    struct in6_addr peer = address_of("10.0.0.1"), client, trusted = address_of("10.0.0.2");
    char text[2000] = "6.6.6.6";
    struct slice value;

    UNUSED(state);
    for (unsigned i = 0; i < 100; i++)
        strcat(text, ",10.0.0.2");
    value = slice_of(text);
    policy_find_client(&settings, &peer, &value, 1, &client);
    assert_memory_equal(&client, &trusted, sizeof(client));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_are_read_strictly),
        cmocka_unit_test(texts_are_cut_to_the_prefix),
        cmocka_unit_test(trust_is_by_network),
        cmocka_unit_test(the_client_is_the_right_most_untrusted_hop),
        cmocka_unit_test(the_walk_is_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
