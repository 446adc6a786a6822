#include "unit/unit.h"

#include <jansson.h>

#include "serve/problem_json.h"

static struct slice field_of(const struct http_response *head, const char *name)
{
    for (size_t i = 0; i < head->fields.count; i++)
        if (slice_equal(head->fields.items[i].name, slice_of(name)))
            return head->fields.items[i].value;
    return SLICE_NONE;
}

static void assert_text(const json_t *object, const char *key, const char *expected)
{
    assert_string_equal(json_string_value(json_object_get(object, key)), expected);
}

static void test_a_refusal_with_everything(void **state)
{
    struct verdict verdict = {.kind = VERDICT_REFUSE,
                              .status = 429,
                              .reason = "quota-exceeded",
                              .type = "https://example.com/problem",
                              .title = "No \"more\"",
                              .detail = SLICE("because\nof \\ it"),
                              .has_retry_after = true,
                              .retry_after_s = 86400,
                              .fields = {{SLICE("RateLimit"), SLICE("\"a\";r=0;t=1")}},
                              .field_count = 1,
                              .violated = {"a", "b\"c"},
                              .violated_count = 2};
    struct http_response head;
    struct slice body;
    struct arena arena;
    json_t *read, *violated;

    UNUSED(state);
    arena_init(&arena, NULL);
    problem_json_write(&verdict, SLICE("id"), &arena, &head, &body);
    assert_int_equal(head.status, 429);
    assert_slice_equal(head.reason, SLICE("Too Many Requests"));
    assert_int_equal(head.body, HTTP_BODY_LENGTH);
    assert_int_equal(head.content_length, body.len);
    assert_slice_equal(field_of(&head, "Content-Type"), SLICE("application/problem+json"));
    assert_slice_equal(field_of(&head, "Cache-Control"), SLICE("no-store"));
    assert_slice_equal(field_of(&head, "Retry-After"), SLICE("86400"));
    assert_slice_equal(field_of(&head, "RateLimit"), SLICE("\"a\";r=0;t=1"));
    assert_slice_equal(field_of(&head, "X-Request-Id"), SLICE("id"));
    read = json_loadb(body.at, body.len, 0, NULL);
    assert_non_null(read);
    assert_text(read, "type", "https://example.com/problem");
    assert_text(read, "title", "No \"more\"");
    assert_text(read, "reason", "quota-exceeded");
    assert_text(read, "executed", "no");
    assert_text(read, "detail", "because\nof \\ it");
    assert_int_equal(json_integer_value(json_object_get(read, "status")), 429);
    violated = json_object_get(read, "violated-policies");
    assert_int_equal(json_array_size(violated), 2);
    assert_string_equal(json_string_value(json_array_get(violated, 1)), "b\"c");
    json_decref(read);
    arena_clear(&arena);
}

static void test_a_refusal_with_little(void **state)
{
    struct verdict verdict = {.kind = VERDICT_REFUSE,
                              .status = 504,
                              .reason = "upstream-timeout",
                              .type = "about:blank",
                              .title = "Gateway Timeout",
                              .executed = VERDICT_EXECUTED_UNKNOWN};
    struct http_response head;
    struct slice body;
    struct arena arena;

    UNUSED(state);
    arena_init(&arena, NULL);
    problem_json_write(&verdict, SLICE_NONE, &arena, &head, &body);
    assert_slice_equal(body, SLICE("{\"type\":\"about:blank\",\"title\":\"Gateway Timeout\","
                                   "\"status\":504,\"reason\":\"upstream-timeout\","
                                   "\"executed\":\"unknown\"}\n"));
    assert_null(field_of(&head, "Retry-After").at);
    assert_null(field_of(&head, "X-Request-Id").at);
    arena_clear(&arena);
}

/* As much of everything as there can be fits what is reserved for it. */
static void test_a_refusal_too_long(void **state)
{
    static char text[10000];
    struct verdict verdict = {.kind = VERDICT_REFUSE,
                              .status = 429,
                              .reason = text,
                              .type = text,
                              .title = text,
                              .detail = {text, sizeof(text) - 1},
                              .violated_count = VERDICT_MAX_VIOLATED};
    struct http_response head;
    struct slice body;
    struct arena arena;
    json_t *read;

    UNUSED(state);
    memset(text, '\x01', sizeof(text) - 1);
    for (size_t i = 0; i < VERDICT_MAX_VIOLATED; i++)
        verdict.violated[i] = text;
    arena_init(&arena, NULL);
    problem_json_write(&verdict, SLICE("id"), &arena, &head, &body);
    read = json_loadb(body.at, body.len, 0, NULL);
    assert_non_null(read);
    assert_int_equal(json_array_size(json_object_get(read, "violated-policies")),
                     VERDICT_MAX_VIOLATED);
    json_decref(read);
    arena_clear(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_refusal_with_everything),
        cmocka_unit_test(test_a_refusal_with_little),
        cmocka_unit_test(test_a_refusal_too_long),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
