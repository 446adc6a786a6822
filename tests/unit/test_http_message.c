#include "unit.h"

#include <ctype.h>

#include "http/http_message.h"

static const struct {
    struct slice name;
    bool is_hop_by_hop;
} table[] = {
#define ENTRY(id, name, hop) [HTTP_FIELD_##id] = {SLICE_INIT(name), hop},
    HTTP_FIELDS(ENTRY)};

/* Every name of the table is found, in any case, and none of its near misses is. */
static void names_are_identified(void **state)
{
    UNUSED(state);
    for (size_t id = 1; id < HTTP_FIELD_COUNT; id++) {
        char name[64];
        size_t len = table[id].name.len;

        memcpy(name, table[id].name.at, len);
        assert_int_equal(http_field_identify(slice_from(name, len)), id);
        assert_slice_equal(http_field_name((enum http_field_id)id), table[id].name);
        assert_int_equal(http_field_is_hop_by_hop((enum http_field_id)id), table[id].is_hop_by_hop);
        for (size_t i = 0; i < len; i++)
            name[i] = (char)toupper(name[i]);
        assert_int_equal(http_field_identify(slice_from(name, len)), id);
        name[len] = 'x';
        assert_int_equal(http_field_identify(slice_from(name, len + 1)), HTTP_FIELD_OTHER);
        name[len - 1] = '!';
        assert_int_equal(http_field_identify(slice_from(name, len)), HTTP_FIELD_OTHER);
    }
    assert_int_equal(http_field_identify(SLICE("x-other")), HTTP_FIELD_OTHER);
    assert_int_equal(http_field_identify(SLICE("")), HTTP_FIELD_OTHER);
    assert_int_equal(http_field_identify(SLICE("a-name-longer-than-all-of-them")),
                     HTTP_FIELD_OTHER);
}

static void disguised_names_are_seen(void **state)
{
    UNUSED(state);
    for (size_t id = 1; id < HTTP_FIELD_COUNT; id++) {
        char name[64];
        size_t len = table[id].name.len;

        memcpy(name, table[id].name.at, len);
        assert_false(http_field_is_disguised(slice_from(name, len)));
        for (size_t i = 0; i < len; i++) {
            if (name[i] != '-')
                continue;
            name[i] = '_';
            assert_true(http_field_is_disguised(slice_from(name, len)));
        }
    }
    assert_true(http_field_is_disguised(SLICE("X_FORWARDED-For")));
    assert_false(http_field_is_disguised(SLICE("x_forwarded_fox")));
    assert_false(http_field_is_disguised(SLICE("_")));
    assert_false(http_field_is_disguised(SLICE("a_name_longer_than_all_of_them")));
}

static struct http_fields make_fields(struct http_field *items, size_t count)
{
    struct http_fields fields = {.items = items, .count = count};

    http_fields_index(&fields);
    return fields;
}

static void fields_are_found(void **state)
{
    struct http_field items[] = {
        {.name = SLICE("X-A"), .value = SLICE("1")},
        {.name = SLICE("COOKIE"), .value = SLICE("2")},
        {.name = SLICE("cookie"), .value = SLICE("3")},
        {.name = SLICE("x-a"), .value = SLICE("4")},
    };
    struct http_fields fields = make_fields(items, COUNT_OF(items));

    UNUSED(state);
    assert_slice_equal(http_fields_get(&fields, HTTP_FIELD_COOKIE), SLICE("2"));
    assert_slice_equal(http_fields_find(&fields, SLICE("cookie")), SLICE("2"));
    assert_slice_equal(http_fields_find(&fields, SLICE("x-a")), SLICE("1"));
    assert_null(http_fields_find(&fields, SLICE("x-b")).at);
    assert_null(http_fields_get(&fields, HTTP_FIELD_HOST).at);
}

static void connection_drops_what_it_names(void **state)
{
    struct http_field items[] = {
        {.name = SLICE("Connection"), .value = SLICE("close, X-A")},
        {.name = SLICE("x-a"), .value = SLICE("")},
        {.name = SLICE("X-B"), .value = SLICE("")},
        {.name = SLICE("Close"), .value = SLICE("")},
        {.name = SLICE("connection"), .value = SLICE(" ,x-c")},
        {.name = SLICE("X-C"), .value = SLICE("")},
        {.name = SLICE("Keep-Alive"), .value = SLICE("")},
    };
    static const bool dropped[] = {true, true, false, false, true, true, true};
    struct http_fields fields = make_fields(items, COUNT_OF(items));

    UNUSED(state);
    assert_true(http_fields_drop_nominated(&fields));
    for (size_t i = 0; i < COUNT_OF(items); i++)
        assert_int_equal(items[i].is_dropped, dropped[i]);
    assert_true(http_fields_has_connection_option(&fields, SLICE("close")));
    assert_true(http_fields_has_connection_option(&fields, SLICE("x-c")));
    assert_false(http_fields_has_connection_option(&fields, SLICE("keep-alive")));
}

/* A client must not make us strip what the service relies on. */
static void known_fields_cannot_be_nominated(void **state)
{
    UNUSED(state);
    for (size_t id = 1; id < HTTP_FIELD_COUNT; id++) {
        struct http_field items[2] = {{.name = SLICE("Connection"), .value = table[id].name},
                                      {.name = table[id].name, .value = SLICE("v")}};
        struct http_fields fields = make_fields(items, 2);
        bool is_legal = table[id].is_hop_by_hop && id != HTTP_FIELD_TRANSFER_ENCODING;

        assert_int_equal(http_fields_drop_nominated(&fields), is_legal);
        assert_int_equal(items[1].is_dropped, table[id].is_hop_by_hop);
    }
}

static void methods_and_phrases(void **state)
{
    UNUSED(state);
    assert_true(http_method_is_idempotent(SLICE("GET")));
    assert_true(http_method_is_idempotent(SLICE("DELETE")));
    assert_false(http_method_is_idempotent(SLICE("POST")));
    assert_false(http_method_is_idempotent(SLICE("PATCH")));
    assert_false(http_method_is_idempotent(SLICE("get")));
    assert_string_equal(http_status_phrase(429), "Too Many Requests");
    assert_string_equal(http_status_phrase(299), "");
    assert_string_equal(http_status_phrase(999), "");
}

static void tokens(void **state)
{
    static const char delimiters[] = "\"(),/:;<=>?@[\\]{} \t\r\n\x7f";

    UNUSED(state);
    assert_true(http_is_token(SLICE("!#$%&'*+-.^_`|~09azAZ")));
    assert_false(http_is_token(SLICE("")));
    for (size_t i = 0; i < sizeof(delimiters); i++) /* the terminator too */
        assert_false(http_is_token(slice_from(delimiters + i, 1)));
    assert_false(http_is_token(SLICE("a\xe9")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_identified),
        cmocka_unit_test(disguised_names_are_seen),
        cmocka_unit_test(fields_are_found),
        cmocka_unit_test(connection_drops_what_it_names),
        cmocka_unit_test(known_fields_cannot_be_nominated),
        cmocka_unit_test(methods_and_phrases),
        cmocka_unit_test(tokens),
    };

    return cmocka_run_group_tests_name("http_message", tests, NULL, NULL);
}
