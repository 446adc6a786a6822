#include "http/http_message.h"

/* The id is found by length and first letter: no two names of the table share both but those
 * compared one after the other below. */
static const struct slice field_names[HTTP_FIELD_COUNT] = {
#define FIELD_NAME(id, name, hop) [HTTP_FIELD_##id] = SLICE_INIT(name),
    HTTP_FIELDS(FIELD_NAME)
#undef FIELD_NAME
};

static const bool field_is_hop_by_hop[HTTP_FIELD_COUNT] = {
#define FIELD_HOP(id, name, hop) [HTTP_FIELD_##id] = (hop),
    HTTP_FIELDS(FIELD_HOP)
#undef FIELD_HOP
};

/* Ids by the length of their names, in runs that end with HTTP_FIELD_OTHER. */
#define LONGEST_NAME 19
#define MOST_PER_LENGTH 6
static const uint8_t ids_by_length[LONGEST_NAME + 1][MOST_PER_LENGTH] = {
    [2] = {HTTP_FIELD_TE},
    [3] = {HTTP_FIELD_VIA},
    [4] = {HTTP_FIELD_HOST, HTTP_FIELD_DATE},
    [6] = {HTTP_FIELD_COOKIE, HTTP_FIELD_EXPECT, HTTP_FIELD_SERVER, HTTP_FIELD_PREFER},
    [7] = {HTTP_FIELD_UPGRADE, HTTP_FIELD_TRAILER},
    [8] = {HTTP_FIELD_LOCK_KEY},
    [9] = {HTTP_FIELD_FORWARDED, HTTP_FIELD_LOCK_MODE, HTTP_FIELD_RATELIMIT},
    [10] = {HTTP_FIELD_CONNECTION, HTTP_FIELD_USER_AGENT, HTTP_FIELD_KEEP_ALIVE,
            HTTP_FIELD_TRACESTATE},
    [11] = {HTTP_FIELD_TRACEPARENT, HTTP_FIELD_RETRY_AFTER, HTTP_FIELD_LOCK_STATUS},
    [12] = {HTTP_FIELD_X_REQUEST_ID, HTTP_FIELD_LOCK_CONTEXT},
    [13] = {HTTP_FIELD_AUTHORIZATION, HTTP_FIELD_FENCING_TOKEN},
    [14] = {HTTP_FIELD_CONTENT_LENGTH, HTTP_FIELD_HTTP2_SETTINGS},
    [15] = {HTTP_FIELD_X_FORWARDED_FOR, HTTP_FIELD_IDEMPOTENCY_KEY},
    [16] = {HTTP_FIELD_PROXY_CONNECTION, HTTP_FIELD_X_FORWARDED_HOST, HTTP_FIELD_RATELIMIT_POLICY},
    [17] = {HTTP_FIELD_TRANSFER_ENCODING, HTTP_FIELD_X_FORWARDED_PROTO},
    [18] = {HTTP_FIELD_PROXY_AUTHENTICATE},
    [19] = {HTTP_FIELD_PROXY_AUTHORIZATION},
};

/* A name of at most 24 bytes, padded with 0. */
struct name_words {
    uint64_t first, second, third;
};

#define NAME_WORDS_BYTES 24
_Static_assert(LONGEST_NAME <= NAME_WORDS_BYTES, "a name fits");

static inline uint64_t load_word(const char *at, size_t size)
{
    uint64_t word = 0;

    memcpy(&word, at, size);
    return word;
}

/* The last word is loaded together with bytes before it, which are shifted out. */
static inline struct name_words load_name(struct slice name)
{
    const char *end = name.at + name.len;
    unsigned rest = (unsigned)name.len % 8;

    if (name.len >= 8) {
        uint64_t last = rest > 0 ? load_word(end - 8, 8) >> (64 - 8 * rest) : 0;

        if (name.len >= 16)
            return (struct name_words){load_word(name.at, 8), load_word(name.at + 8, 8), last};
        return (struct name_words){load_word(name.at, 8), last, 0};
    }
    if (name.len >= 4)
        return (struct name_words){
            load_word(name.at, 4) | load_word(end - 4, 4) << (8 * (name.len - 4)), 0, 0};
    return (struct name_words){
        load_word(name.at, 2) | load_word(end - 2, 2) << (8 * (name.len - 2)), 0, 0};
}

/* Equal but for the case of letters.  Known names have only a-z, which alone have 0x40, digits and
 * '-'. */
static inline bool word_matches(uint64_t word, uint64_t known)
{
    return (word | (known & UINT64_C(0x4040404040404040)) >> 1) == known;
}

enum http_field_id http_field_identify(struct slice name)
{
    static const union {
        char text[NAME_WORDS_BYTES];
        struct name_words words;
    } known[HTTP_FIELD_COUNT] = {
#define FIELD_TEXT(id, name, hop) [HTTP_FIELD_##id] = {.text = name},
        HTTP_FIELDS(FIELD_TEXT)
#undef FIELD_TEXT
    };
    struct name_words words;
    const uint8_t *ids;

    if (name.len > LONGEST_NAME || name.len < 2)
        return HTTP_FIELD_OTHER;
    words = load_name(name);
    ids = ids_by_length[name.len];
    for (size_t i = 0; i < MOST_PER_LENGTH && ids[i] != HTTP_FIELD_OTHER; i++)
        if (word_matches(words.first, known[ids[i]].words.first) &&
            word_matches(words.second, known[ids[i]].words.second) &&
            word_matches(words.third, known[ids[i]].words.third))
            return (enum http_field_id)ids[i];
    return HTTP_FIELD_OTHER;
}

bool http_field_is_disguised(struct slice name)
{
    char straight[LONGEST_NAME];

    /* Most names have no length of the table, or no underscore. */
    if (name.len > LONGEST_NAME || ids_by_length[name.len][0] == HTTP_FIELD_OTHER ||
        memchr(name.at, '_', name.len) == NULL)
        return false;
    for (size_t i = 0; i < name.len; i++)
        straight[i] = name.at[i] == '_' ? '-' : name.at[i];
    return http_field_identify(slice_from(straight, name.len)) != HTTP_FIELD_OTHER;
}

bool http_field_is_hop_by_hop(enum http_field_id id)
{
    return field_is_hop_by_hop[id];
}

struct slice http_field_name(enum http_field_id id)
{
    return field_names[id];
}

struct slice http_fields_get(const struct http_fields *fields, enum http_field_id id)
{
    unsigned first = fields->first[id];

    return first > 0 ? fields->items[first - 1].value : SLICE_NONE;
}

struct slice http_fields_find(const struct http_fields *fields, struct slice lowercase_name)
{
    enum http_field_id id = http_field_identify(lowercase_name);

    if (id != HTTP_FIELD_OTHER)
        return http_fields_get(fields, id);
    for (size_t i = 0; i < fields->count; i++)
        if (slice_equal_nocase(fields->items[i].name, lowercase_name))
            return fields->items[i].value;
    return SLICE_NONE;
}

struct slice http_fields_find_at(const struct http_fields *fields, struct slice lowercase_name,
                                 size_t number)
{
    for (size_t i = 0; i < fields->count; i++)
        if (slice_equal_nocase(fields->items[i].name, lowercase_name) && number-- == 0)
            return fields->items[i].value;
    return SLICE_NONE;
}

void http_fields_index(struct http_fields *fields)
{
    CHECK(fields->count < UINT16_MAX);
    memset(fields->first, 0, sizeof(fields->first));
    for (size_t i = 0; i < fields->count; i++) {
        struct http_field *field = &fields->items[i];

        field->id = http_field_identify(field->name);
        field->is_dropped = field_is_hop_by_hop[field->id];
        if (fields->first[field->id] == 0)
            fields->first[field->id] = (uint16_t)(i + 1);
    }
}

/* Whether field is a Connection field, with its value in *ret_rest. */
static bool is_connection(const struct http_field *field, struct slice *ret_rest)
{
    if (field->id != HTTP_FIELD_CONNECTION)
        return false;
    *ret_rest = field->value;
    return true;
}

static bool drop_named(struct http_fields *fields, struct slice name)
{
    enum http_field_id id;

    if (!http_is_token(name))
        return false;
    id = http_field_identify(name);
    if (id != HTTP_FIELD_OTHER) /* the table has already dropped those that may be */
        return field_is_hop_by_hop[id] && id != HTTP_FIELD_TRANSFER_ENCODING;
    for (size_t i = 0; i < fields->count; i++)
        if (slice_equal_nocase(fields->items[i].name, name))
            fields->items[i].is_dropped = true;
    return true;
}

bool http_fields_drop_nominated(struct http_fields *fields)
{
    bool is_legal = true;
    struct slice rest, option;

    if (fields->first[HTTP_FIELD_CONNECTION] == 0)
        return true;
    for (size_t i = fields->first[HTTP_FIELD_CONNECTION] - 1u; i < fields->count; i++) {
        if (!is_connection(&fields->items[i], &rest))
            continue;
        while (slice_split(&rest, ',', &option)) {
            option = slice_trim(option);
            if (option.len > 0 && !slice_equal_nocase(option, SLICE("close")) &&
                !drop_named(fields, option))
                is_legal = false;
        }
    }
    return is_legal;
}

bool http_fields_has_connection_option(const struct http_fields *fields, struct slice option)
{
    struct slice rest, have;

    if (fields->first[HTTP_FIELD_CONNECTION] == 0)
        return false;
    for (size_t i = fields->first[HTTP_FIELD_CONNECTION] - 1u; i < fields->count; i++) {
        if (!is_connection(&fields->items[i], &rest))
            continue;
        while (slice_split(&rest, ',', &have))
            if (slice_equal_nocase(slice_trim(have), option))
                return true;
    }
    return false;
}

bool http_method_is_idempotent(struct slice method)
{
    static const struct slice methods[] = {
        SLICE_INIT("GET"),      SLICE_INIT("HEAD"),    SLICE_INIT("PUT"),
        SLICE_INIT("DELETE"),   SLICE_INIT("OPTIONS"), SLICE_INIT("TRACE"),
        SLICE_INIT("PROPFIND"), SLICE_INIT("REPORT"),  SLICE_INIT("SEARCH"),
    };

    for (size_t i = 0; i < COUNT_OF(methods); i++)
        if (slice_equal(method, methods[i]))
            return true;
    return false;
}

bool http_max_forwards(const struct http_request *request, uint64_t *ret_count)
{
    const struct http_fields *fields = &request->fields;
    unsigned found = 0;

    *ret_count = UINT64_MAX;
    if (!slice_equal(request->method, SLICE("OPTIONS")) &&
        !slice_equal(request->method, SLICE("TRACE")))
        return true;
    for (size_t i = 0; i < fields->count; i++)
        if (slice_equal_nocase(fields->items[i].name, SLICE("max-forwards")) &&
            (found++ > 0 || !slice_to_uint64(fields->items[i].value, ret_count)))
            return false;
    return true;
}

/* 1 for each tchar. */
static const uint8_t is_tchar[256] = {
    ['!'] = 1, ['#'] = 1, ['$'] = 1, ['%'] = 1,         ['&'] = 1,         ['\''] = 1,
    ['*'] = 1, ['+'] = 1, ['-'] = 1, ['.'] = 1,         ['^'] = 1,         ['_'] = 1,
    ['`'] = 1, ['|'] = 1, ['~'] = 1, ['0' ... '9'] = 1, ['A' ... 'Z'] = 1, ['a' ... 'z'] = 1,
};

bool http_is_token(struct slice s)
{
    unsigned all = s.len > 0;

    for (size_t i = 0; i < s.len; i++)
        all &= is_tchar[(uint8_t)s.at[i]];
    return all != 0;
}

const char *http_status_phrase(unsigned status)
{
    static const char *const phrases[] = {
        [100] = "Continue",
        [101] = "Switching Protocols",
        [102] = "Processing",
        [103] = "Early Hints",
        [200] = "OK",
        [201] = "Created",
        [202] = "Accepted",
        [203] = "Non-Authoritative Information",
        [204] = "No Content",
        [205] = "Reset Content",
        [206] = "Partial Content",
        [207] = "Multi-Status",
        [208] = "Already Reported",
        [226] = "IM Used",
        [300] = "Multiple Choices",
        [301] = "Moved Permanently",
        [302] = "Found",
        [303] = "See Other",
        [304] = "Not Modified",
        [307] = "Temporary Redirect",
        [308] = "Permanent Redirect",
        [400] = "Bad Request",
        [401] = "Unauthorized",
        [402] = "Payment Required",
        [403] = "Forbidden",
        [404] = "Not Found",
        [405] = "Method Not Allowed",
        [406] = "Not Acceptable",
        [407] = "Proxy Authentication Required",
        [408] = "Request Timeout",
        [409] = "Conflict",
        [410] = "Gone",
        [411] = "Length Required",
        [412] = "Precondition Failed",
        [413] = "Content Too Large",
        [414] = "URI Too Long",
        [415] = "Unsupported Media Type",
        [416] = "Range Not Satisfiable",
        [417] = "Expectation Failed",
        [421] = "Misdirected Request",
        [422] = "Unprocessable Content",
        [423] = "Locked",
        [424] = "Failed Dependency",
        [425] = "Too Early",
        [426] = "Upgrade Required",
        [428] = "Precondition Required",
        [429] = "Too Many Requests",
        [431] = "Request Header Fields Too Large",
        [451] = "Unavailable For Legal Reasons",
        [500] = "Internal Server Error",
        [501] = "Not Implemented",
        [502] = "Bad Gateway",
        [503] = "Service Unavailable",
        [504] = "Gateway Timeout",
        [505] = "HTTP Version Not Supported",
        [506] = "Variant Also Negotiates",
        [507] = "Insufficient Storage",
        [508] = "Loop Detected",
        [511] = "Network Authentication Required",
    };

    return status < COUNT_OF(phrases) && phrases[status] != NULL ? phrases[status] : "";
}
