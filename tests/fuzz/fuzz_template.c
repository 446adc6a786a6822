/* First line: a template.  The next lines: values of the fields a and b and all others, then the
 * same for a second request.  Different values must give different keys. */
#include <stdint.h>

#include "policy/template.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct slice find_header(const void *request, struct slice name)
{
    const struct slice *values = request;

    return slice_equal(name, SLICE("a")) ? values[0]
                                         : values[slice_equal(name, SLICE("b")) ? 1 : 2];
}

static struct slice render(const struct template *template, const struct slice *values,
                           struct arena *arena)
{
    struct facts facts = {.query = values[2],
                          .path_params = {values[0]},
                          .path_param_count = 1,
                          .client_ip = SLICE("2001:db8::/64"),
                          .header = find_header,
                          .request = values};
    struct slice value, missing;

    return template_render(template, &facts, arena, &value, &missing) == TEMPLATE_OK ? value
                                                                                     : SLICE_NONE;
}

static bool names(struct slice text, const char *variable)
{
    return memmem(text.at, text.len, variable, strlen(variable)) != NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct slice param_name = SLICE_INIT("p");
    struct slice rest = slice_from((const char *)data, size), lines[7] = {{NULL, 0}}, one, two;
    struct template_error error = {.offset = 0};
    const struct template *template;
    struct arena arena;

    for (size_t i = 0; i < COUNT_OF(lines) && slice_split(&rest, '\n', &lines[i]); i++)
        lines[i] = i > 0 ? slice_trim(lines[i]) : lines[i];
    arena_init(&arena, NULL);
    template = template_compile(&arena, lines[0], &param_name, 1, NULL, &error);
    CHECK(template != NULL || (error.offset <= lines[0].len && error.message[0] != '\0'));
    if (template != NULL) {
        one = render(template, &lines[1], &arena);
        two = render(template, &lines[4], &arena);
        for (size_t i = 0; i < one.len; i++)
            CHECK(one.at[i] >= ' ' && one.at[i] <= '~');
        CHECK(one.len <= lines[0].len + (TEMPLATE_PART_MAX_BYTES + 1) * TEMPLATE_MAX_VARIABLES);
        if (one.at != NULL && two.at != NULL && names(lines[0], "{header.a}") &&
            !slice_equal(lines[1], lines[4]))
            CHECK(!slice_equal(one, two) || names(lines[0], "{{"));
        CHECK(slice_equal(render(template, &lines[1], &arena), one));
    }
    arena_clear(&arena);
    return 0;
}
