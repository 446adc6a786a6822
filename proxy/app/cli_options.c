#include "app/cli_options.h"

#include <stdio.h>
#include <string.h>

static const struct cli_option *find_option(const struct cli_option *options, size_t option_count,
                                            const char *word, size_t name_len)
{
    for (size_t i = 0; i < option_count; i++)
        if (strlen(options[i].name) == name_len && memcmp(options[i].name, word, name_len) == 0)
            return &options[i];
    return NULL;
}

static void take_value(const struct cli_option *option, const char *value)
{
    if (option->value_count != NULL)
        option->values[(*option->value_count)++] = value;
    else
        *option->values = value;
}

bool cli_options_read(int argc, char **argv, const struct cli_option *options, size_t option_count,
                      size_t *ret_word_count, char ret_problem[CLI_PROBLEM_BYTES])
{
    size_t word_count = 0;
    bool is_open = true; /* no "--" yet */

    for (int i = 1; i < argc; i++) {
        const char *equals = strchr(argv[i], '=');
        size_t name_len = equals != NULL ? (size_t)(equals - argv[i]) : strlen(argv[i]);
        const struct cli_option *option;

        if (!is_open || argv[i][0] != '-') {
            argv[++word_count] = argv[i];
            continue;
        }
        if (strcmp(argv[i], "--") == 0) {
            is_open = false;
            continue;
        }
        option = find_option(options, option_count, argv[i], name_len);
        if (option != NULL && option->values == NULL && equals == NULL) {
            *option->is_given = true;
        } else if (option != NULL && option->values != NULL && (equals != NULL || i + 1 < argc)) {
            take_value(option, equals != NULL ? equals + 1 : argv[++i]);
        } else {
            snprintf(ret_problem, CLI_PROBLEM_BYTES, "%.40s %s", argv[i],
                     option == NULL           ? "is no option here"
                     : option->values == NULL ? "takes no value"
                                              : "needs a value");
            return false;
        }
    }
    *ret_word_count = word_count;
    return true;
}
