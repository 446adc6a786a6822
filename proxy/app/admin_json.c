#include "app/admin_json.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "app/port.h"
#include "base/arena.h"

json_t *admin_json_text(struct slice text)
{
    json_t *value = json_stringn(text.at != NULL ? text.at : "", text.len);
    char *escaped, *out;

    if (value != NULL)
        return value;
    escaped = out = mem_alloc(text.len * 4 + 1);
    for (size_t i = 0; i < text.len; i++) {
        unsigned char byte = (unsigned char)text.at[i];

        out += byte < 0x80 ? sprintf(out, "%c", byte) : sprintf(out, "\\x%02X", byte);
    }
    value = json_stringn(escaped, (size_t)(out - escaped));
    free(escaped);
    return value;
}

json_t *admin_json_ms(uint64_t us)
{
    return json_integer((json_int_t)(us / 1000 + (us % 1000 > 0)));
}

bool admin_json_count(struct port_exchange *exchange, uint64_t by_default, uint64_t max,
                      uint64_t *ret_count)
{
    struct slice text = port_parameter(exchange, SLICE("count"));
    char detail[80];

    *ret_count = by_default;
    if (text.at == NULL || (slice_to_uint64(text, ret_count) && *ret_count <= max))
        return true;
    snprintf(detail, sizeof(detail), "count is a number from 0 to %" PRIu64, max);
    port_refuse(&exchange, 400, "bad-count", detail);
    return false;
}

bool admin_json_flag(struct port_exchange *exchange, struct slice name, bool *ret_flag)
{
    struct slice text = port_parameter(exchange, name);
    char detail[80];

    *ret_flag = slice_equal(text, SLICE("true"));
    if (text.at == NULL || *ret_flag || slice_equal(text, SLICE("false")))
        return true;
    snprintf(detail, sizeof(detail), "%.*s is true or false", SLICE_ARGS(name));
    port_refuse(&exchange, 400, "bad-flag", detail);
    return false;
}
