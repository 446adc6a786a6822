#include "store/resp.h"

#include <string.h>

/* Decimal digits of value, right-aligned at the end of digits; gives their number. */
static size_t digits_of(uint64_t value, char digits[20])
{
    size_t count = 0;

    do {
        digits[19 - count++] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    return count;
}

static char *put_bytes(char *to, const char *from, size_t len)
{
    if (len > 0)
        memcpy(to, from, len);
    return to + len;
}

char *resp_put_header(char *to, char mark, uint64_t count)
{
    char digits[20];
    size_t digit_count = digits_of(count, digits);

    *to++ = mark;
    to = put_bytes(to, digits + 20 - digit_count, digit_count);
    return put_bytes(to, "\r\n", 2);
}

char *resp_put_bulk(char *to, struct slice text)
{
    to = resp_put_header(to, '$', text.len);
    to = put_bytes(to, text.at, text.len);
    return put_bytes(to, "\r\n", 2);
}

char *resp_put_bulk_uint(char *to, uint64_t value)
{
    char digits[20];
    size_t digit_count = digits_of(value, digits);

    return resp_put_bulk(to, slice_from(digits + 20 - digit_count, digit_count));
}
