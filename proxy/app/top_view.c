#include "app/top_view.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct source {
    const char *name;   /* in JSON */
    const char *metric; /* whole name */
    const char *label;  /* that it must have, or "" */
};

#define SOURCE_ROW(id, name, metric, label) {name, metric, label},
static const struct source counters[TOP_COUNTER_COUNT] = {TOP_COUNTERS(SOURCE_ROW)};
static const struct source gauges[TOP_GAUGE_COUNT] = {TOP_GAUGES(SOURCE_ROW)};

/* ---- metrics ---- */

struct sample_line {
    struct slice name, labels;
    double value;
};

/* NAME{LABELS} VALUE */
static bool read_line(struct slice line, struct sample_line *ret)
{
    size_t open = slice_find(line, '{'), space;
    char number[40];
    struct slice rest;

    if (line.len == 0 || line.at[0] == '#')
        return false;
    ret->labels = SLICE("");
    ret->name = slice_head(line, slice_find(line, ' '));
    rest = slice_skip(line, ret->name.len);
    if (open < line.len) {
        const char *close = memrchr(line.at, '}', line.len);

        if (close == NULL || close < line.at + open)
            return false;
        ret->name = slice_head(line, open);
        ret->labels = slice_from(line.at + open + 1, (size_t)(close - line.at) - open - 1);
        rest = slice_skip(line, (size_t)(close + 1 - line.at));
    }
    rest = slice_trim(rest);
    space = slice_find(rest, ' ');
    if (space == 0 || space >= sizeof(number))
        return false;
    memcpy(number, rest.at, space);
    number[space] = '\0';
    ret->value = strtod(number, NULL);
    return true;
}

static bool has_label(struct slice labels, const char *label)
{
    size_t len = strlen(label);

    return len == 0 || memmem(labels.at, labels.len, label, len) != NULL;
}

static void add_to(double *values, const struct source *sources, size_t count,
                   const struct sample_line *line)
{
    for (size_t i = 0; i < count; i++)
        if (slice_equal(line->name, slice_of(sources[i].metric)) &&
            has_label(line->labels, sources[i].label))
            values[i] += line->value;
}

/* Of several series the buckets add up; all have the same bounds, in order. */
static void add_bucket(struct top_histogram *histogram, const struct sample_line *line)
{
    const char *le = memmem(line->labels.at, line->labels.len, "le=\"", 4);
    double bound = le != NULL ? strtod(le + 4, NULL) : -1;

    for (size_t i = 0; i < histogram->bucket_count; i++) {
        if (histogram->bounds_s[i] == bound) {
            histogram->counts[i] += line->value;
            return;
        }
    }
    if (le == NULL || histogram->bucket_count == TOP_MAX_BUCKETS)
        return;
    histogram->bounds_s[histogram->bucket_count] = bound;
    histogram->counts[histogram->bucket_count++] = line->value;
}

void top_sample_read(struct slice page, uint64_t at_us, struct top_sample *ret)
{
    struct sample_line line;
    struct slice text;

    *ret = (struct top_sample){.at_us = at_us};
    while (slice_split(&page, '\n', &text)) {
        if (!read_line(text, &line))
            continue;
        add_to(ret->counters, counters, TOP_COUNTER_COUNT, &line);
        add_to(ret->gauges, gauges, TOP_GAUGE_COUNT, &line);
        if (slice_equal(line.name, SLICE("lockkeeper_http_request_duration_seconds_bucket")))
            add_bucket(&ret->requests, &line);
        if (slice_equal(line.name, SLICE("lockkeeper_store_call_duration_seconds_bucket")))
            add_bucket(&ret->store, &line);
    }
}

/* Of what was counted since then, in seconds; below 0 when that was nothing.  Even within a bucket.
 */
static double quantile(const struct top_histogram *before, const struct top_histogram *now,
                       double share)
{
    double total = 0, lower_bound = 0, lower_count = 0;

    for (size_t i = 0; i < now->bucket_count; i++)
        total = now->counts[i] - (i < before->bucket_count ? before->counts[i] : 0);
    if (total <= 0)
        return -1;
    for (size_t i = 0; i < now->bucket_count; i++) {
        double count = now->counts[i] - (i < before->bucket_count ? before->counts[i] : 0);

        if (i + 1 == now->bucket_count)
            return lower_bound; /* above the last bound: at least that */
        if (count >= share * total && count > lower_count)
            return lower_bound + (now->bounds_s[i] - lower_bound) * (share * total - lower_count) /
                                     (count - lower_count);
        lower_bound = now->bounds_s[i];
        lower_count = count;
    }
    return lower_bound;
}

void top_view_compare(struct top_view *view, const struct top_sample *before,
                      const struct top_sample *now)
{
    static const struct top_sample nothing = {.at_us = 0};
    bool is_another = before->gauges[TOP_STARTED_AT] != now->gauges[TOP_STARTED_AT];
    const struct top_sample *base = is_another ? &nothing : before;

    memcpy(view->gauges, now->gauges, sizeof(view->gauges));
    view->interval_s = (double)(now->at_us - before->at_us) / 1e6;
    for (size_t i = 0; i < TOP_COUNTER_COUNT && view->interval_s > 0; i++)
        view->rates[i] = (now->counters[i] - base->counters[i]) / view->interval_s;
    view->request_p50_s = quantile(&base->requests, &now->requests, 0.5);
    view->request_p99_s = quantile(&base->requests, &now->requests, 0.99);
    view->store_p50_s = quantile(&base->store, &now->store, 0.5);
    view->store_p99_s = quantile(&base->store, &now->store, 0.99);
}

/* ---- JSON ---- */

const char *top_view_escape(struct arena *arena, const char *text)
{
    size_t len = text != NULL ? strlen(text) : 0;
    char *start = arena_alloc(arena, len * 4 + 1), *out = start;

    for (size_t i = 0; i < len; i++) {
        unsigned char byte = (unsigned char)text[i];

        out +=
            byte >= ' ' && byte < 0x7f ? sprintf(out, "%c", byte) : sprintf(out, "\\x%02x", byte);
    }
    *out = '\0';
    return start;
}

static const char *text_of(const json_t *object, const char *name, struct arena *arena)
{
    return top_view_escape(arena, json_string_value(json_object_get(object, name)));
}

static uint64_t number_of(const json_t *object, const char *name)
{
    json_int_t value = json_integer_value(json_object_get(object, name));

    return value > 0 ? (uint64_t)value : 0;
}

void top_view_take_about(struct top_view *view, const struct json_t *about, struct arena *arena)
{
    view->version = text_of(about, "version", arena);
    view->state = text_of(about, "state", arena);
}

static void take_keys(struct top_view *view, enum top_kind kind, const json_t *limit,
                      const json_t *keys, struct arena *arena)
{
    const char *where =
        arena_printf(arena, "%s/%s", text_of(limit, "route", arena), text_of(limit, "limit", arena))
            .at;

    for (size_t i = 0; i < json_array_size(keys); i++) {
        const json_t *entry = json_array_get(keys, i);
        const char *key = json_string_value(json_object_get(entry, "key"));

        view->keys[kind][view->key_counts[kind]++] =
            (struct top_key){.where = where,
                             .key = key != NULL ? top_view_escape(arena, key) : "(without a key)",
                             .count = number_of(entry, "count"),
                             .error = number_of(entry, "error"),
                             .remaining = number_of(entry, "remaining"),
                             .capacity = number_of(limit, "capacity"),
                             .ms_ago = number_of(entry, "ms_ago")};
    }
}

static int by_count(const void *a, const void *b)
{
    const struct top_key *left = a, *right = b;

    return left->count > right->count ? -1 : left->count < right->count ? 1 : 0;
}

void top_view_take_limits(struct top_view *view, const struct json_t *limits, struct arena *arena)
{
    static const char *const names[TOP_KIND_COUNT] = {"denied", "near", "requests"};
    const json_t *list = json_object_get(limits, "limits");

    for (int kind = 0; kind < TOP_KIND_COUNT; kind++) {
        size_t count = 0;

        for (size_t i = 0; i < json_array_size(list); i++) {
            const json_t *top = json_object_get(json_array_get(list, i), "top");

            count += json_array_size(json_object_get(json_object_get(top, names[kind]), "keys"));
            if (json_is_object(top))
                view->period_ms = number_of(top, "period_ms");
        }
        view->keys[kind] = arena_calloc(arena, count + 1, sizeof(struct top_key));
        view->key_counts[kind] = 0;
        for (size_t i = 0; i < json_array_size(list); i++) {
            const json_t *limit = json_array_get(list, i);
            const json_t *top = json_object_get(limit, "top");

            take_keys(view, (enum top_kind)kind, limit,
                      json_object_get(json_object_get(top, names[kind]), "keys"), arena);
        }
        qsort(view->keys[kind], count, sizeof(struct top_key), by_count);
    }
}

static const char *join(const json_t *list, struct arena *arena)
{
    const char *joined = "";

    for (size_t i = 0; i < json_array_size(list); i++)
        joined = arena_printf(arena, "%s%s%s", joined, i > 0 ? " " : "",
                              top_view_escape(arena, json_string_value(json_array_get(list, i))))
                     .at;
    return joined;
}

static struct top_lock *take_locks(const json_t *list, bool is_waiting, struct arena *arena)
{
    size_t count = json_array_size(list);
    struct top_lock *locks = arena_calloc(arena, count + 1, sizeof(*locks));

    for (size_t i = 0; i < count; i++) {
        const json_t *entry = json_array_get(list, i);
        const char *mode = json_string_value(json_object_get(entry, "mode"));

        locks[i] = (struct top_lock){
            .keys = join(json_object_get(entry, "keys"), arena),
            .route = text_of(entry, "route", arena),
            .request_id = text_of(entry, "request_id", arena),
            .state = text_of(entry, "state", arena),
            .is_shared = mode != NULL && strcmp(mode, "shared") == 0,
            .for_ms = number_of(entry, is_waiting ? "waiting_ms" : "held_ms"),
            .left_ms = number_of(entry, is_waiting ? "wait_left_ms" : "lease_left_ms")};
    }
    return locks;
}

void top_view_take_locks(struct top_view *view, const struct json_t *locks, struct arena *arena)
{
    const json_t *held = json_object_get(locks, "held");
    const json_t *waiting = json_object_get(locks, "waiting");

    view->held_count = number_of(locks, "held_count");
    view->waiting_count = number_of(locks, "waiting_count");
    view->held = take_locks(held, false, arena);
    view->held_listed = json_array_size(held);
    view->waiting = take_locks(waiting, true, arena);
    view->waiting_listed = json_array_size(waiting);
}

/* ---- for programs ---- */

static json_t *keys_json(const struct top_view *view, enum top_kind kind)
{
    json_t *list = json_array();

    for (size_t i = 0; i < view->key_counts[kind]; i++) {
        const struct top_key *key = &view->keys[kind][i];

        json_array_append_new(
            list,
            json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I}", "limit", key->where, "key", key->key,
                      "count", (json_int_t)key->count, "error", (json_int_t)key->error, "remaining",
                      (json_int_t)key->remaining, "capacity", (json_int_t)key->capacity, "ms_ago",
                      (json_int_t)key->ms_ago));
    }
    return list;
}

static json_t *locks_json(const struct top_lock *locks, size_t count)
{
    json_t *list = json_array();

    for (size_t i = 0; i < count; i++)
        json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:s, s:s, s:I, s:I}", "keys",
                                              locks[i].keys, "route", locks[i].route, "request_id",
                                              locks[i].request_id, "state", locks[i].state, "mode",
                                              locks[i].is_shared ? "shared" : "exclusive", "for_ms",
                                              (json_int_t)locks[i].for_ms, "left_ms",
                                              (json_int_t)locks[i].left_ms));
    return list;
}

static void set_latency(json_t *value, const char *name, double seconds)
{
    json_object_set_new(value, name, seconds < 0 ? json_null() : json_real(seconds * 1000));
}

struct json_t *top_view_json(const struct top_view *view)
{
    json_t *value = json_pack("{s:s, s:s, s:s, s:f}", "address", view->address, "version",
                              view->version, "state", view->state, "interval_s", view->interval_s);

    for (size_t i = 0; i < TOP_COUNTER_COUNT; i++)
        json_object_set_new(value, counters[i].name, json_real(view->rates[i]));
    for (size_t i = 0; i < TOP_GAUGE_COUNT; i++)
        json_object_set_new(value, gauges[i].name, json_real(view->gauges[i]));
    set_latency(value, "request_p50_ms", view->request_p50_s);
    set_latency(value, "request_p99_ms", view->request_p99_s);
    set_latency(value, "store_p50_ms", view->store_p50_s);
    set_latency(value, "store_p99_ms", view->store_p99_s);
    json_object_set_new(value, "keys_period_ms", json_integer((json_int_t)view->period_ms));
    json_object_set_new(value, "denied", keys_json(view, TOP_KIND_DENIED));
    json_object_set_new(value, "near", keys_json(view, TOP_KIND_NEAR));
    json_object_set_new(value, "busy", keys_json(view, TOP_KIND_BUSY));
    json_object_set_new(value, "held_count", json_integer((json_int_t)view->held_count));
    json_object_set_new(value, "waiting_count", json_integer((json_int_t)view->waiting_count));
    json_object_set_new(value, "held", locks_json(view->held, view->held_listed));
    json_object_set_new(value, "waiting", locks_json(view->waiting, view->waiting_listed));
    return value;
}
