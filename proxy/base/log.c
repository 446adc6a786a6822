#include "base/log.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/buf.h"

#define LOG_SINK_TAG 0x4c53494eu /* "LSIN" */
#define LINE_BYTES 4096u
#define REPEAT_SLOTS 64u
#define REPEATS_PER_SECOND 10u
#define SINK_CLOSE_WAIT_MS 1000

static _Atomic int output_fd = 2;
static _Atomic int output_level = LOG_INFO;

static const char *const level_names[] = {"error", "warn", "info", "debug"};

void log_set_fd(int fd)
{
    atomic_store(&output_fd, fd);
}

void log_set_level(enum log_level level)
{
    atomic_store(&output_level, (int)level);
}

enum log_level log_get_level(void)
{
    return (enum log_level)atomic_load_explicit(&output_level, memory_order_relaxed);
}

const char *log_level_name(enum log_level level)
{
    return level_names[level];
}

bool log_level_from(struct slice name, enum log_level *ret_level)
{
    for (size_t i = 0; i < COUNT_OF(level_names); i++) {
        if (slice_equal(name, slice_of(level_names[i]))) {
            *ret_level = (enum log_level)i;
            return true;
        }
    }
    return false;
}

/* The length of the UTF-8 sequence at the front of s, or 0 when it is not one (RFC 3629). */
static size_t utf8_length(struct slice s)
{
    const unsigned char *at = (const unsigned char *)s.at;
    size_t len = at[0] < 0x80                    ? 1
                 : at[0] >= 0xc2 && at[0] < 0xe0 ? 2
                 : at[0] >= 0xe0 && at[0] < 0xf0 ? 3
                 : at[0] >= 0xf0 && at[0] < 0xf5 ? 4
                                                 : 0;

    if (len == 0 || len > s.len)
        return 0;
    for (size_t i = 1; i < len; i++)
        if ((at[i] & 0xc0) != 0x80)
            return 0;
    if ((at[0] == 0xe0 && at[1] < 0xa0) || (at[0] == 0xed && at[1] > 0x9f) ||
        (at[0] == 0xf0 && at[1] < 0x90) || (at[0] == 0xf4 && at[1] > 0x8f))
        return 0;
    return len;
}

/* One character of s, escaped; gives its length in out, and in *ret_taken how much of s it was. */
static size_t json_character(struct slice s, char out[8], size_t *ret_taken)
{
    unsigned char c = (unsigned char)s.at[0];
    size_t len;

    *ret_taken = 1;
    if (c == '"' || c == '\\') {
        out[0] = '\\';
        out[1] = (char)c;
        return 2;
    }
    if (c == '\n' || c == '\t' || c == '\r') {
        out[0] = '\\';
        out[1] = c == '\n' ? 'n' : c == '\t' ? 't' : 'r';
        return 2;
    }
    if (c < 0x20 || c == 0x7f)
        return (size_t)snprintf(out, 8, "\\u%04x", c);
    len = utf8_length(s);
    if (len == 0) {
        memcpy(out, "\xef\xbf\xbd", 3);
        return 3;
    }
    memcpy(out, s.at, len);
    *ret_taken = len;
    return len;
}

size_t log_json_string(char *out, size_t room, struct slice s)
{
    size_t used = 1;

    CHECK(room >= 8);
    out[0] = '"';
    while (s.len > 0) {
        char character[8];
        size_t taken, len = json_character(s, character, &taken);

        /* Room for this one, and for "...\"" should the next not fit. */
        if (used + len + 4 > room) {
            memcpy(out + used, "...", 3);
            used += 3;
            break;
        }
        memcpy(out + used, character, len);
        used += len;
        s = slice_skip(s, taken);
    }
    out[used++] = '"';
    return used;
}

struct line {
    char text[LINE_BYTES];
    size_t len;
};

/* What a line ends with must fit always: 2 bytes are kept free for "}\n". */
static void add_text(struct line *line, struct slice s)
{
    size_t room = LINE_BYTES - 2 - line->len;

    if (s.len <= room) {
        memcpy(line->text + line->len, s.at, s.len);
        line->len += s.len;
    }
}

static void add_value(struct line *line, const struct log_field *field)
{
    char number[32];
    struct slice text =
        field->kind == LOG_FIELD_STR ? slice_of(field->value.str) : field->value.slice;

    switch (field->kind) {
    case LOG_FIELD_STR:
    case LOG_FIELD_SLICE:
        if (text.at == NULL)
            add_text(line, SLICE("null"));
        else
            line->len += log_json_string(line->text + line->len, LINE_BYTES - 2 - line->len, text);
        break;
    case LOG_FIELD_INT:
        add_text(line, slice_from(number, (size_t)snprintf(number, sizeof(number), "%lld",
                                                           (long long)field->value.integer)));
        break;
    case LOG_FIELD_UINT:
        add_text(line, slice_from(number, (size_t)snprintf(number, sizeof(number), "%llu",
                                                           (unsigned long long)field->value.uint)));
        break;
    case LOG_FIELD_BOOL:
        add_text(line, field->value.boolean ? SLICE("true") : SLICE("false"));
        break;
    case LOG_FIELD_END:
        UNREACHED();
    }
}

static void add_field(struct line *line, const struct log_field *field)
{
    size_t key_len = strlen(field->key);

    /* A line that is nearly full leaves the rest out rather than break its JSON. */
    if (line->len + key_len + 48 > LINE_BYTES)
        return;
    add_text(line, SLICE(",\""));
    add_text(line, slice_from(field->key, key_len));
    add_text(line, SLICE("\":"));
    add_value(line, field);
}

static void add_context(struct line *line, const struct log_context *context)
{
    if (context == NULL)
        return;
    add_context(line, context->parent);
    if (context->field.kind != LOG_FIELD_END)
        add_field(line, &context->field);
}

static void add_time(struct line *line)
{
    struct timespec now;
    struct tm parts;
    char text[48];
    size_t len;

    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &parts);
    len = strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &parts);
    len += (size_t)snprintf(text + len, sizeof(text) - len, ".%03ldZ", now.tv_nsec / 1000000);
    add_text(line, slice_from(text, len));
}

/* How often an event was seen in the current second, and how many of its lines were left out. */
struct repeat {
    const char *event;
    time_t second;
    unsigned seen_count;
    unsigned left_out_count;
};

static struct repeat repeats[REPEAT_SLOTS];
static pthread_mutex_t repeats_mutex = PTHREAD_MUTEX_INITIALIZER;

/* Whether this line is one too many; if not, how many were left out before it. */
static bool is_repeated(const char *event, unsigned *ret_left_out)
{
    struct timespec now;
    struct repeat *repeat = &repeats[((uintptr_t)event >> 3) % REPEAT_SLOTS];
    bool is_too_many;

    clock_gettime(CLOCK_MONOTONIC, &now);
    pthread_mutex_lock(&repeats_mutex);
    if (repeat->event != event)
        *repeat = (struct repeat){.event = event, .second = now.tv_sec};
    if (repeat->second != now.tv_sec) {
        repeat->second = now.tv_sec;
        repeat->seen_count = 0;
    }
    is_too_many = ++repeat->seen_count > REPEATS_PER_SECOND;
    if (is_too_many) {
        repeat->left_out_count++;
    } else {
        *ret_left_out = repeat->left_out_count;
        repeat->left_out_count = 0;
    }
    pthread_mutex_unlock(&repeats_mutex);
    return is_too_many;
}

static void write_line(int fd, const char *text, size_t len)
{
    while (len > 0) {
        ssize_t written = write(fd, text, len);

        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return;
        text += written;
        len -= (size_t)written;
    }
}

void log_write(enum log_level level, const struct log_context *context, const char *event,
               const struct log_field *fields)
{
    struct line line = {.len = 0};
    unsigned left_out = 0;

    if (level > log_get_level() || (level != LOG_DEBUG && is_repeated(event, &left_out)))
        return;
    add_text(&line, SLICE("{\"time\":\""));
    add_time(&line);
    add_text(&line, SLICE("\",\"level\":\""));
    add_text(&line, slice_of(level_names[level]));
    add_text(&line, SLICE("\",\"event\":"));
    line.len += log_json_string(line.text + line.len, 512, slice_of(event));
    add_context(&line, context);
    for (; fields->kind != LOG_FIELD_END; fields++)
        add_field(&line, fields);
    if (left_out > 0)
        add_field(&line, &LOG_UINT("repeated", left_out));
    line.text[line.len++] = '}';
    line.text[line.len++] = '\n';
    write_line(atomic_load(&output_fd), line.text, line.len);
}

struct log_sink {
    uint32_t tag;
    int fd;
    struct buf pending;
    uint64_t dropped_count;
};

struct log_sink *log_sink_open(int fd, size_t max_bytes)
{
    struct log_sink *sink = mem_calloc(1, sizeof(*sink));

    sink->tag = LOG_SINK_TAG;
    sink->fd = fd;
    buf_init(&sink->pending, max_bytes);
    return sink;
}

void log_sink_close(struct log_sink **sink_at)
{
    struct log_sink *sink = TAKE(sink_at);

    CHECK_TAG(sink, LOG_SINK);
    while (!log_sink_flush(sink)) {
        struct pollfd writable = {.fd = sink->fd, .events = POLLOUT};

        if (poll(&writable, 1, SINK_CLOSE_WAIT_MS) <= 0)
            break;
    }
    buf_clear(&sink->pending);
    sink->tag = 0;
    free(sink);
}

void log_sink_write(struct log_sink *sink, struct slice line)
{
    CHECK_TAG(sink, LOG_SINK);
    if (!buf_append(&sink->pending, line))
        sink->dropped_count++;
}

/* What is written at once: whole lines, so that workers that share a descriptor do not cut each
 * other's lines in two, and no more than poll promises to take without blocking (PIPE_BUF). */
static struct slice next_piece(const struct buf *pending)
{
    struct slice piece = buf_slice(pending);
    const char *last;

    if (piece.len <= LINE_BYTES)
        return piece;
    last = memrchr(piece.at, '\n', LINE_BYTES);
    return slice_head(piece, last != NULL ? (size_t)(last - piece.at) + 1 : LINE_BYTES);
}

bool log_sink_flush(struct log_sink *sink)
{
    CHECK_TAG(sink, LOG_SINK);
    while (buf_len(&sink->pending) > 0) {
        struct pollfd writable = {.fd = sink->fd, .events = POLLOUT};
        struct slice piece = next_piece(&sink->pending);
        ssize_t written;

        if (poll(&writable, 1, 0) != 1 || !(writable.revents & POLLOUT))
            return false;
        written = write(sink->fd, piece.at, piece.len);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0) {
            /* Nobody reads any more: the lines are lost, and counted as such. */
            sink->dropped_count++;
            buf_consume(&sink->pending, buf_len(&sink->pending));
            return true;
        }
        buf_consume(&sink->pending, (size_t)written);
    }
    return true;
}

size_t log_sink_pending_bytes(const struct log_sink *sink)
{
    return buf_len(&sink->pending);
}

uint64_t log_sink_dropped(const struct log_sink *sink)
{
    return sink->dropped_count;
}
