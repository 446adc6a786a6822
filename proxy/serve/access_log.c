#include "serve/access_log.h"

#include <stdio.h>
#include <time.h>

#include "guard/digits.h"

/* Bytes one text may take in the line.  There are 12 of them; the names and numbers around them
 * take less than FIXED_MAX_BYTES. */
#define VALUE_MAX_BYTES 1024
#define FIXED_MAX_BYTES 800
_Static_assert(12 * VALUE_MAX_BYTES + FIXED_MAX_BYTES <= ACCESS_LOG_LINE_BYTES, "a line fits");

struct line {
    char *at;
};

static void put(struct line *line, struct slice text)
{
    line->at = digits_put_slice(line->at, text);
}

/* Printable ASCII without '"' and '\' goes into JSON as it is. */
static bool is_plain(struct slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        unsigned char byte = (unsigned char)text.at[i];

        if (byte < 0x20 || byte > 0x7e || byte == '"' || byte == '\\')
            return false;
    }
    return true;
}

static void put_string(struct line *line, struct slice key, struct slice value)
{
    if (value.at == NULL)
        return;
    put(line, key);
    if (value.len + 2 > VALUE_MAX_BYTES || !is_plain(value)) {
        line->at += log_json_string(line->at, VALUE_MAX_BYTES, value);
        return;
    }
    *line->at++ = '"';
    put(line, value);
    *line->at++ = '"';
}

static void put_number(struct line *line, struct slice key, uint64_t value)
{
    if (value == ACCESS_LOG_NONE)
        return;
    put(line, key);
    line->at = digits_put(line->at, value);
}

/* Millionths as a decimal: 0.01. */
static void put_share(struct line *line, struct slice key, uint64_t ppm)
{
    char digits[6];
    size_t len = sizeof(digits);

    if (ppm == 0)
        return;
    put(line, key);
    line->at = digits_put(line->at, ppm / 1000000);
    ppm %= 1000000;
    for (size_t i = len; i > 0; ppm /= 10)
        digits[--i] = (char)('0' + ppm % 10);
    while (len > 0 && digits[len - 1] == '0')
        len--;
    if (len == 0)
        return;
    *line->at++ = '.';
    put(line, slice_from(digits, len));
}

static void put_time(struct line *line, struct access_log_clock *clock, uint64_t wall_us)
{
    uint64_t second = wall_us / 1000000, ms = wall_us / 1000 % 1000;

    if (clock->second != second || clock->text[0] == '\0') {
        time_t when = (time_t)second;
        struct tm parts;

        CHECK(gmtime_r(&when, &parts) != NULL);
        CHECK(strftime(clock->text, sizeof(clock->text), "%Y-%m-%dT%H:%M:%S", &parts) > 0);
        clock->second = second;
    }
    put(line, SLICE("{\"time\":\""));
    put(line, slice_of(clock->text));
    *line->at++ = '.';
    *line->at++ = (char)('0' + ms / 100);
    *line->at++ = (char)('0' + ms / 10 % 10);
    *line->at++ = (char)('0' + ms % 10);
    put(line, SLICE("Z\""));
}

size_t access_log_format(struct access_log_clock *clock, const struct access_log_entry *entry,
                         char *ret_line)
{
    struct line line = {ret_line};

    put_time(&line, clock, entry->wall_us);
    put_string(&line, SLICE(",\"method\":"), entry->method);
    put_string(&line, SLICE(",\"path\":"), entry->path);
    put_number(&line, SLICE(",\"status\":"), entry->status);
    put_string(&line, SLICE(",\"route\":"), slice_of(entry->route));
    put_string(&line, SLICE(",\"decision\":"), slice_of(entry->decision));
    put_string(&line, SLICE(",\"limit\":"), slice_of(entry->limit));
    put_string(&line, SLICE(",\"reason\":"), slice_of(entry->reason));
    put_number(&line, SLICE(",\"duration_us\":"), entry->duration_us);
    put_number(&line, SLICE(",\"upstream_us\":"), entry->upstream_us);
    put_number(&line, SLICE(",\"store_us\":"), entry->store_us);
    if (entry->lock != NULL) {
        put_string(&line, SLICE(",\"lock\":"), slice_of(entry->lock));
        put_number(&line, SLICE(",\"lock_wait_us\":"), entry->lock_wait_us);
        put_number(&line, SLICE(",\"lock_token\":"), entry->lock_token);
    }
    put_number(&line, SLICE(",\"received_bytes\":"), entry->received_bytes);
    put_number(&line, SLICE(",\"sent_bytes\":"), entry->sent_bytes);
    put_string(&line, SLICE(",\"client_ip\":"), entry->client_ip);
    put_string(&line, SLICE(",\"request_id\":"), entry->request_id);
    put_string(&line, SLICE(",\"trace_id\":"), entry->trace_id);
    put_string(&line, SLICE(",\"user_agent\":"), entry->user_agent);
    if (entry->upstream.len > 0)
        put_string(&line, SLICE(",\"upstream\":"), entry->upstream);
    put_share(&line, SLICE(",\"sample_rate\":"), entry->sample_ppm);
    put(&line, SLICE("}\n"));
    return (size_t)(line.at - ret_line);
}

void access_log_write(struct log_sink *sink, struct access_log_clock *clock,
                      const struct access_log_entry *entry)
{
    char line[ACCESS_LOG_LINE_BYTES];

    log_sink_write(sink, slice_from(line, access_log_format(clock, entry, line)));
}
