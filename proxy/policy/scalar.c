#include "policy/scalar.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/un.h>

#include "policy/suggest.h"

#define MAX_WORDS 32
#define MAX_NAME_BYTES 64

struct unit {
    const char *name;
    uint64_t us;
    enum scalar_calendar calendar;
};

static const struct unit time_units[] = {
    {"ms", 1000, SCALAR_EXACT},
    {"s", SCALAR_SECOND_US, SCALAR_EXACT},
    {"sec", SCALAR_SECOND_US, SCALAR_EXACT},
    {"second", SCALAR_SECOND_US, SCALAR_EXACT},
    {"seconds", SCALAR_SECOND_US, SCALAR_EXACT},
    {"m", 60 * SCALAR_SECOND_US, SCALAR_EXACT},
    {"min", 60 * SCALAR_SECOND_US, SCALAR_EXACT},
    {"minute", 60 * SCALAR_SECOND_US, SCALAR_EXACT},
    {"minutes", 60 * SCALAR_SECOND_US, SCALAR_EXACT},
    {"h", 3600 * SCALAR_SECOND_US, SCALAR_EXACT},
    {"hour", 3600 * SCALAR_SECOND_US, SCALAR_EXACT},
    {"hours", 3600 * SCALAR_SECOND_US, SCALAR_EXACT},
    {"d", SCALAR_DAY_US, SCALAR_EXACT},
    {"day", SCALAR_DAY_US, SCALAR_EXACT},
    {"days", SCALAR_DAY_US, SCALAR_EXACT},
    {"week", 7 * SCALAR_DAY_US, SCALAR_EXACT},
    {"weeks", 7 * SCALAR_DAY_US, SCALAR_EXACT},
    {"month", SCALAR_MONTH_US, SCALAR_MONTH},
    {"year", SCALAR_YEAR_US, SCALAR_YEAR},
};

static const struct {
    const char *name;
    unsigned shift;
} byte_units[] = {
    {"", 0},    {"b", 0},    {"k", 10}, {"ki", 10}, {"kib", 10}, {"m", 20},
    {"mi", 20}, {"mib", 20}, {"g", 30}, {"gi", 30}, {"gib", 30},
};

bool scalar_fail(struct scalar_fault *fault, const char *verdict, const char *detail_format, ...)
{
    va_list args;

    snprintf(fault->verdict, sizeof(fault->verdict), "%s", verdict);
    va_start(args, detail_format);
    vsnprintf(fault->detail, sizeof(fault->detail), detail_format, args);
    va_end(args);
    fault->offset = fault->len = 0;
    return false;
}

/* Words end up in messages; a long one says no more than its beginning. */
static int shown(struct slice word)
{
    return (int)(word.len < 40 ? word.len : 40);
}

static struct slice cut_digits(struct slice *rest)
{
    size_t len = 0;

    while (len < rest->len && isdigit((unsigned char)rest->at[len]))
        len++;
    *rest = slice_skip(*rest, len);
    return slice_from(rest->at - len, len);
}

static struct slice cut_letters(struct slice *rest)
{
    size_t len = 0;

    while (len < rest->len && !isdigit((unsigned char)rest->at[len]))
        len++;
    *rest = slice_skip(*rest, len);
    return slice_from(rest->at - len, len);
}

bool scalar_read_bool(struct slice text, bool *ret_value, struct scalar_fault *fault)
{
    static const char *const yes[] = {"yes", "on", "1", "y"};

    if (slice_equal(text, SLICE("true")) || slice_equal(text, SLICE("false"))) {
        *ret_value = text.len == 4;
        return true;
    }
    for (size_t i = 0; i < COUNT_OF(yes); i++)
        if (slice_equal_nocase(text, slice_of(yes[i])))
            return scalar_fail(fault, "is not true or false", "(did you mean \"true\"?)");
    return scalar_fail(fault, "is not true or false", "%s",
                       text.len < 4 ? "(did you mean \"false\"?)" : "");
}

bool scalar_read_count(struct slice text, uint64_t *ret_value, struct scalar_fault *fault)
{
    static const char verdict[] = "is not a whole number";
    struct slice digits = text;

    if (text.len > 0 && text.at[0] == '-')
        return scalar_fail(fault, verdict, "it cannot be negative");
    cut_digits(&digits);
    if (digits.len == 0 && text.len > 0)
        return slice_to_uint64(text, ret_value) || scalar_fail(fault, "is too large", "%s", "");
    if (text.len > 0 && isdigit((unsigned char)text.at[0]) &&
        (digits.at[0] == '_' || digits.at[0] == ','))
        return scalar_fail(fault, verdict, "write it without separators");
    return scalar_fail(fault, verdict, "%s", "");
}

bool scalar_read_bytes(struct slice text, uint64_t *ret_value, struct scalar_fault *fault)
{
    static const char verdict[] = "is not a size";
    struct slice rest = text, digits = cut_digits(&rest);
    uint64_t number;

    if (digits.len == 0)
        return scalar_fail(fault, verdict, "write it like 512, 16KiB or 64MiB");
    if (!slice_to_uint64(digits, &number))
        return scalar_fail(fault, "is too large", "%s", "");
    for (size_t i = 0; i < COUNT_OF(byte_units); i++) {
        if (!slice_equal_nocase(rest, slice_of(byte_units[i].name)))
            continue;
        if (number > UINT64_MAX >> byte_units[i].shift)
            return scalar_fail(fault, "is too large", "%s", "");
        *ret_value = number << byte_units[i].shift;
        return true;
    }
    if (rest.len == 2 && tolower((unsigned char)rest.at[1]) == 'b')
        return scalar_fail(fault, verdict, "\"%.2s\" may mean 1000 or 1024; write \"%ciB\"",
                           rest.at, toupper((unsigned char)rest.at[0]));
    if (rest.at[0] == '.')
        return scalar_fail(fault, verdict, "no fractions; use a smaller unit");
    return scalar_fail(fault, verdict, "unknown unit \"%.*s\"; there are KiB, MiB and GiB",
                       shown(rest), rest.at);
}

static bool fail_unit(struct scalar_fault *fault, const char *verdict, struct slice word)
{
    struct slice words[COUNT_OF(time_units)], guess;

    if (word.len > 0 && word.at[0] == '.')
        return scalar_fail(fault, verdict, "no fractions; use a smaller unit (1500ms for 1.5s)");
    if (word.len > 0 && (word.at[0] == ' ' || word.at[word.len - 1] == ' '))
        return scalar_fail(fault, verdict, "no spaces between number and unit");
    for (size_t i = 0; i < COUNT_OF(time_units); i++)
        words[i] = slice_of(time_units[i].name);
    guess = suggest_word(word, words, COUNT_OF(words));
    if (guess.at != NULL && word.len > 2)
        return scalar_fail(fault, verdict, "unknown unit \"%.*s\" (did you mean \"%.*s\"?)",
                           shown(word), word.at, SLICE_ARGS(guess));
    return scalar_fail(fault, verdict,
                       "unknown unit \"%.*s\"; there are ms, s, m, h, d and the whole words",
                       shown(word), word.at);
}

static const struct unit *find_unit(struct slice word)
{
    for (size_t i = 0; i < COUNT_OF(time_units); i++)
        if (slice_equal(word, slice_of(time_units[i].name)))
            return &time_units[i];
    return NULL;
}

/* One or more "number unit", from large to small units. */
static bool read_spans(struct slice rest, const char *verdict, uint64_t *ret_us,
                       struct scalar_fault *fault)
{
    uint64_t total = 0, last_unit_us = UINT64_MAX;

    while (rest.len > 0) {
        struct slice digits = cut_digits(&rest), word = cut_letters(&rest);
        const struct unit *unit = find_unit(word);
        uint64_t number, us;

        if (unit == NULL)
            return fail_unit(fault, verdict, word);
        if (unit->calendar != SCALAR_EXACT)
            return scalar_fail(fault, verdict, "a %s has no fixed length; use days", unit->name);
        if (digits.len == 0)
            return scalar_fail(fault, verdict, "a number is missing before \"%s\"", unit->name);
        if (unit->us >= last_unit_us)
            return scalar_fail(fault, verdict, "units go from large to small, as in 1m30s");
        if (!slice_to_uint64(digits, &number) || __builtin_mul_overflow(number, unit->us, &us) ||
            __builtin_add_overflow(total, us, &total))
            return scalar_fail(fault, "is too long", "%s", "");
        last_unit_us = unit->us;
    }
    *ret_us = total;
    return true;
}

bool scalar_read_duration(struct slice text, const char *likely_unit, uint64_t *ret_us,
                          struct scalar_fault *fault)
{
    static const char verdict[] = "is not a duration";
    struct slice rest = text, digits = cut_digits(&rest);

    if (slice_equal(text, SLICE("0"))) {
        *ret_us = 0;
        return true;
    }
    if (text.len > 0 && text.at[0] == '-')
        return scalar_fail(fault, verdict, "it cannot be negative");
    if (digits.len > 0 && rest.len == 0)
        return scalar_fail(fault, verdict, "the unit is missing (did you mean \"%.*s%s\"?)",
                           shown(digits), digits.at, likely_unit);
    if (digits.len == 0)
        return scalar_fail(fault, verdict, "write it like 50ms, 2s, 1m30s or 24h");
    return read_spans(text, verdict, ret_us, fault);
}

bool scalar_read_choice(struct slice text, const char *const *choices, unsigned *ret_number,
                        struct scalar_fault *fault)
{
    struct slice words[MAX_WORDS], guess;
    char verdict[sizeof(fault->verdict)] = "is not one of ";
    unsigned count = 0;

    for (; choices[count] != NULL && count < MAX_WORDS; count++) {
        size_t len = strlen(verdict);

        words[count] = slice_of(choices[count]);
        if (words[count].len == 0)
            continue;
        if (slice_equal(text, words[count])) {
            *ret_number = count;
            return true;
        }
        snprintf(verdict + len, sizeof(verdict) - len, "%s%s",
                 len > sizeof("is not one of ") - 1 ? ", " : "", choices[count]);
    }
    guess = suggest_word(text, words, count);
    if (guess.at == NULL)
        return scalar_fail(fault, verdict, "%s", "");
    return scalar_fail(fault, verdict, "(did you mean \"%.*s\"?)", SLICE_ARGS(guess));
}

bool scalar_read_utc_offset(struct slice text, int64_t *ret_us, struct scalar_fault *fault)
{
    static const char verdict[] = "is not an offset from UTC";
    uint64_t hours, minutes;
    int64_t us;

    if (slice_equal_nocase(text, SLICE("Z"))) {
        *ret_us = 0;
        return true;
    }
    if (text.len != 6 || (text.at[0] != '+' && text.at[0] != '-') || text.at[3] != ':' ||
        !slice_to_uint64(slice_from(text.at + 1, 2), &hours) ||
        !slice_to_uint64(slice_from(text.at + 4, 2), &minutes))
        return scalar_fail(fault, verdict,
                           "write it like +02:00 or -05:30 (there are no time zone "
                           "names and no daylight saving)");
    if (hours > 14 || minutes > 59)
        return scalar_fail(fault, verdict, "it lies between -14:59 and +14:59");
    us = (int64_t)((hours * 60 + minutes) * 60 * SCALAR_SECOND_US);
    *ret_us = text.at[0] == '-' ? -us : us;
    return true;
}

bool scalar_read_name(struct slice text, struct scalar_fault *fault)
{
    static const char verdict[] = "is not a name";

    if (text.len == 0 || text.len > MAX_NAME_BYTES)
        return scalar_fail(fault, verdict, "names have 1 to %d characters", MAX_NAME_BYTES);
    for (size_t i = 0; i < text.len; i++) {
        char byte = text.at[i];

        if (!(byte >= 'a' && byte <= 'z') && !(byte >= '0' && byte <= '9') &&
            (i == 0 || strchr("._-", byte) == NULL)) {
            scalar_fail(fault, verdict,
                        i == 0 ? "it must begin with a lower-case letter or a digit"
                               : "only lower-case letters, digits, \".\", \"_\" and "
                                 "\"-\" may stand in it");
            fault->offset = i;
            fault->len = 1;
            return false;
        }
    }
    return true;
}

static bool read_period(struct slice text, struct scalar_rate *rate, struct scalar_fault *fault)
{
    static const char verdict[] = "is not a rate";
    struct slice rest = text, digits = cut_digits(&rest);
    const struct unit *unit = find_unit(rest);

    if (text.len == 0)
        return scalar_fail(fault, verdict, "the period is missing after the \"/\"");
    if (digits.len > 0 && rest.len == 0)
        return scalar_fail(fault, verdict, "the period has no unit (did you mean \"%.*ss\"?)",
                           shown(digits), digits.at);
    if (unit != NULL && unit->calendar != SCALAR_EXACT && digits.len > 0)
        return scalar_fail(fault, verdict, "only one %s, without a number, can be the period",
                           unit->name);
    if (digits.len == 0 && unit == NULL)
        return fail_unit(fault, verdict, rest);
    if (digits.len == 0) {
        rate->period_us = unit->us;
        rate->calendar = unit->calendar;
        return true;
    }
    rate->calendar = SCALAR_EXACT;
    return read_spans(text, verdict, &rate->period_us, fault);
}

bool scalar_read_rate(struct slice text, struct scalar_rate *ret_rate, struct scalar_fault *fault)
{
    static const char verdict[] = "is not a rate";
    struct scalar_rate rate;
    struct slice count = slice_head(text, slice_find(text, '/'));

    if (count.len == text.len)
        return scalar_fail(fault, verdict, "write it as count/period, like 10/minute or 5/10s");
    if (slice_trim(count).len != count.len)
        return scalar_fail(fault, verdict, "no spaces around the \"/\"");
    if (!slice_to_uint64(count, &rate.count))
        return scalar_fail(fault, verdict, "\"%.*s\" is not a whole number", shown(count),
                           count.at);
    if (!read_period(slice_skip(text, count.len + 1), &rate, fault))
        return false;
    if (rate.count == 0)
        return scalar_fail(fault, "lets nothing pass", "the count must be at least 1");
    if (rate.count > 1000000000)
        return scalar_fail(fault, "is too fast", "at most 1000000000 per period");
    if (rate.period_us < 1000)
        return scalar_fail(fault, "has too short a period", "at least 1ms");
    if (rate.period_us > SCALAR_YEAR_US)
        return scalar_fail(fault, "has too long a period", "at most one year (366d)");
    *ret_rate = rate;
    return true;
}

#define RATIO_ONE UINT64_C(1000000)

/* "0.25", "1", "1.000": whole and at most six digits behind the point. */
static bool read_decimal(struct slice text, uint64_t *ret_ppm)
{
    struct slice whole = slice_head(text, slice_find(text, '.')),
                 rest = slice_skip(text, whole.len);
    uint64_t units, ppm = 0;

    if (!slice_to_uint64(whole, &units) || units > 1 || rest.len > 7 || rest.len == 1)
        return false;
    for (size_t i = 1; i < 7; i++) {
        char digit = i < rest.len ? rest.at[i] : '0';

        if (!isdigit((unsigned char)digit))
            return false;
        ppm = ppm * 10 + (uint64_t)(digit - '0');
    }
    *ret_ppm = units * RATIO_ONE + ppm;
    return true;
}

bool scalar_read_ratio(struct slice text, uint64_t *ret_ppm, struct scalar_fault *fault)
{
    static const char verdict[] = "is not a share";
    struct slice part = slice_head(text, slice_find(text, '/'));
    uint64_t parts, all;

    if (part.len == text.len) {
        if (!read_decimal(text, ret_ppm))
            return scalar_fail(fault, verdict,
                               "write it like 1/100 or 0.01, with at most six digits behind the "
                               "point");
    } else {
        if (!slice_to_uint64(part, &parts) ||
            !slice_to_uint64(slice_skip(text, part.len + 1), &all))
            return scalar_fail(fault, verdict, "write it like 1/100 or 0.01");
        if (all == 0 || all > RATIO_ONE || parts > all)
            return scalar_fail(fault, verdict,
                               "it is at least 0 and at most 1, in steps of 1/1000000");
        *ret_ppm = (parts * RATIO_ONE + all / 2) / all;
    }
    return *ret_ppm <= RATIO_ONE || scalar_fail(fault, "is more than all of it", "at most 1");
}

static bool read_ip(struct slice text, struct in6_addr *ret_address, bool *ret_is_v4)
{
    char terminated[INET6_ADDRSTRLEN + 1];
    struct in6_addr address = {0};

    if (text.len >= sizeof(terminated) || memchr(text.at, '\0', text.len) != NULL)
        return false;
    memcpy(terminated, text.at, text.len);
    terminated[text.len] = '\0';
    *ret_is_v4 = inet_pton(AF_INET, terminated, &address.s6_addr[12]) == 1;
    if (*ret_is_v4)
        address.s6_addr[10] = address.s6_addr[11] = 0xFF;
    else if (inet_pton(AF_INET6, terminated, &address) != 1)
        return false;
    *ret_address = address;
    return true;
}

static bool has_bits_after(const struct in6_addr *address, unsigned prefix_bits)
{
    for (unsigned bit = prefix_bits; bit < 128; bit++)
        if (address->s6_addr[bit / 8] & (0x80 >> (bit % 8)))
            return true;
    return false;
}

bool scalar_read_cidr(struct slice text, struct in6_addr *ret_network, unsigned *ret_prefix_bits,
                      struct scalar_fault *fault)
{
    static const char verdict[] = "is not an address or network";
    struct slice ip = slice_head(text, slice_find(text, '/'));
    struct in6_addr address;
    uint64_t bits = 0;
    bool is_v4;

    if (!read_ip(ip, &address, &is_v4))
        return scalar_fail(fault, verdict, "write it like 10.0.0.0/8, 192.0.2.1 or 2001:db8::/32");
    if (ip.len == text.len)
        bits = is_v4 ? 32 : 128;
    else if (!slice_to_uint64(slice_skip(text, ip.len + 1), &bits) || bits > (is_v4 ? 32 : 128))
        return scalar_fail(fault, verdict, "the prefix length must be 0 to %d", is_v4 ? 32 : 128);
    bits += is_v4 ? 96 : 0;
    if (has_bits_after(&address, (unsigned)bits))
        return scalar_fail(fault, verdict, "the address has bits set beyond its prefix length");
    *ret_network = address;
    *ret_prefix_bits = (unsigned)bits;
    return true;
}

bool scalar_read_listen(struct slice text, struct scalar_fault *fault)
{
    static const char verdict[] = "is not an address to listen on";
    struct in6_addr address;
    struct slice host, port;
    uint64_t number;
    bool is_v4;

    if (slice_starts_with(text, SLICE("unix:"))) {
        if (text.len < 7 || text.at[5] != '/')
            return scalar_fail(fault, verdict, "a unix socket needs an absolute path");
        return text.len - 5 < sizeof(((struct sockaddr_un *)0)->sun_path) ||
               scalar_fail(fault, verdict, "the path of a unix socket has at most 107 bytes");
    }
    if (text.len > 7 && memmem(text.at, text.len, "://", 3) != NULL)
        return scalar_fail(fault, verdict, "it takes no scheme; write host:port");
    for (port = text; slice_find(port, ':') < port.len;)
        port = slice_skip(port, slice_find(port, ':') + 1);
    if (port.len == text.len)
        return scalar_fail(fault, verdict, "the port is missing; write it like 0.0.0.0:8080");
    host = slice_head(text, text.len - port.len - 1);
    if (!slice_to_uint64(port, &number) || number > 65535)
        return scalar_fail(fault, verdict, "the port must be a number from 0 to 65535");
    if (host.len == 0)
        return true;
    if (host.at[0] == '[' && host.at[host.len - 1] == ']' &&
        read_ip(slice_from(host.at + 1, host.len - 2), &address, &is_v4) && !is_v4)
        return true;
    if (read_ip(host, &address, &is_v4) && is_v4)
        return true;
    if (slice_find(host, ':') < host.len)
        return scalar_fail(fault, verdict, "an IPv6 address stands in brackets, like [::]:8080");
    return scalar_fail(fault, verdict, "the host must be an IP address");
}
