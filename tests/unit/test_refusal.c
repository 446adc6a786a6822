#include "unit/unit.h"

#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "store/refusal.h"

static int pipe_fds[2];

static int open_pipe(void **state)
{
    UNUSED(state);
    return pipe2(pipe_fds, O_NONBLOCK | O_CLOEXEC);
}

static int close_pipe(void **state)
{
    UNUSED(state);
    log_set_fd(2);
    close(pipe_fds[0]);
    return close(pipe_fds[1]);
}

/* What is logged of the answer, or NULL when nothing is. */
static const char *logged(struct refusal *refusal, const char *answer, uint64_t now_ms)
{
    static char text[4096];
    ssize_t len;
    json_t *line;

    log_set_fd(pipe_fds[1]);
    refusal_note(refusal, slice_of(answer), now_ms, NULL);
    len = read(pipe_fds[0], text, sizeof(text));
    if (len <= 0)
        return NULL;
    line = json_loadb(text, (size_t)len, 0, NULL);
    assert_non_null(line);
    assert_string_equal(json_string_value(json_object_get(line, "level")), "error");
    snprintf(text, sizeof(text), "%s", json_string_value(json_object_get(line, "answer")));
    json_decref(line);
    return text;
}

static void keys_are_not_logged(void **state)
{
    static const struct {
        const char *answer, *logged;
    } cases[] = {
        {"OOM command not allowed", "OOM command not allowed"},
        {"LKSTATE key holds something else: lk:{alice@example.com}:api", "LKSTATE"},
        {"LKSTATE", "LKSTATE"},
        {"ERR Error running script (call to f_00): @user_script:44: -LKSTATE of lk:{alice}",
         "ERR Error running script (call to f_00): @user_script:44: -LKSTATE"},
        {"", ""},
    };

    UNUSED(state);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct refusal refusal = {.error = REPLY_ERROR_OTHER};

        assert_string_equal(logged(&refusal, cases[i].answer, 0), cases[i].logged);
    }
    assert_int_equal(reply_error_class(slice_of(cases[1].answer)), REPLY_ERROR_STATE);
    assert_int_equal(reply_error_class(slice_of(cases[3].answer)), REPLY_ERROR_STATE);
}

static void long_answers_are_cut(void **state)
{
    struct refusal refusal = {.was_logged = false};
    char answer[1001];

    UNUSED(state);
    memset(answer, 'x', sizeof(answer) - 1);
    answer[sizeof(answer) - 1] = '\0';
    assert_true(strlen(logged(&refusal, answer, 0)) == 200);
}

static void repeats_are_logged_once_a_minute(void **state)
{
    struct refusal refusal = {.was_logged = false};

    UNUSED(state);
    assert_non_null(logged(&refusal, "OOM a", 1000));
    assert_null(logged(&refusal, "OOM b", 60999));
    assert_non_null(logged(&refusal, "LOADING", 60999)); /* another kind */
    assert_non_null(logged(&refusal, "OOM c", 61000));
    assert_null(logged(&refusal, "OOM c", 120999));
    assert_non_null(logged(&refusal, "OOM c", 121000));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(keys_are_not_logged, open_pipe, close_pipe),
        cmocka_unit_test_setup_teardown(long_answers_are_cut, open_pipe, close_pipe),
        cmocka_unit_test_setup_teardown(repeats_are_logged_once_a_minute, open_pipe, close_pipe),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
