#include "guard/prefer.h"

/* The next preference: up to a comma that is not inside a quoted string. */
static struct slice next_item(struct slice *rest)
{
    struct slice item = *rest;
    bool is_quoted = false;
    size_t at;

    for (at = 0; at < rest->len && (is_quoted || rest->at[at] != ','); at++) {
        if (rest->at[at] == '\\' && is_quoted && at + 1 < rest->len)
            at++;
        else if (rest->at[at] == '"')
            is_quoted = !is_quoted;
    }
    item.len = at < rest->len ? at : rest->len;
    *rest = item.len < rest->len ? slice_skip(*rest, item.len + 1) : SLICE_NONE;
    return slice_trim(item);
}

static struct slice unquote(struct slice value)
{
    if (value.len >= 2 && value.at[0] == '"' && value.at[value.len - 1] == '"')
        return slice_from(value.at + 1, value.len - 2);
    return value;
}

bool prefer_wait_s(struct slice value, uint64_t *ret_wait_s)
{
    while (value.at != NULL) {
        struct slice item = next_item(&value), name;
        size_t equals;

        item = slice_trim(slice_head(item, slice_find(item, ';')));
        equals = slice_find(item, '=');
        name = slice_trim(slice_head(item, equals));
        if (equals == item.len || !slice_equal_nocase(name, SLICE("wait")))
            continue;
        /* The first of several counts (RFC 7240, section 2), be it good or not. */
        return slice_to_uint64(unquote(slice_trim(slice_skip(item, equals + 1))), ret_wait_s);
    }
    return false;
}
