/* Slots are handed out in chunks, and a chunk exists in every shard or in none, so a shard's memory
 * never moves while its worker writes to it. */
#include "base/metrics.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/map.h"

#define METRICS_TAG 0x4d545253u /* "MTRS" */
#define CHUNK_SLOTS 1024u
#define MAX_CHUNKS 1024u
#define MAX_LABELS 4u

enum metric_type { COUNTER, GAUGE, HISTOGRAM };

struct family {
    const char *name, *labels, *help;
    enum metric_type type;
};

#define FAMILY_ROW(id, family_name, family_type, family_labels, family_help)                       \
    {"lockkeeper_" family_name, family_labels, family_help, family_type},
static const struct family families[METRIC_COUNT] = {METRICS_FAMILIES(FAMILY_ROW)};

/* Upper bounds of the histogram buckets in microseconds: below a millisecond too, for our own cost
 * and the store's. */
static const uint64_t bucket_bounds_us[] = {
    100,    250,    500,    1000,    2500,    5000,    10000,    25000,    50000,
    100000, 250000, 500000, 1000000, 2500000, 5000000, 10000000, 30000000, 60000000};
#define BUCKET_COUNT COUNT_OF(bucket_bounds_us)
#define HISTOGRAM_SLOTS (BUCKET_COUNT + 2) /* buckets, above the last bound, sum in us */

struct series {
    enum metric family;
    uint32_t slot;
    char *labels; /* route="a",code="2xx" */
};

typedef _Atomic int64_t cell;

struct metrics_shard {
    _Atomic(cell *) chunks[MAX_CHUNKS];
};

struct metrics {
    uint32_t tag;
    pthread_mutex_t mutex; /* guards everything but the cells */
    unsigned shard_count;
    struct metrics_shard *shards;
    struct map by_key;
    struct series **series; /* in the order they were added */
    size_t series_count, series_cap;
    uint32_t next_slot;
};

struct metrics *metrics_open(unsigned worker_count)
{
    struct metrics *m = mem_calloc(1, sizeof(*m));

    m->tag = METRICS_TAG;
    CHECK(pthread_mutex_init(&m->mutex, NULL) == 0);
    m->shard_count = worker_count + 1;
    m->shards = mem_calloc(m->shard_count, sizeof(*m->shards));
    map_init(&m->by_key);
    for (int family = 0; family < METRIC_COUNT; family++)
        if (families[family].labels[0] == '\0')
            metrics_series0(m, (enum metric)family);
    return m;
}

void metrics_close(struct metrics **metrics)
{
    struct metrics *m = TAKE(metrics);

    CHECK_TAG(m, METRICS);
    for (size_t i = 0; i < m->series_count; i++) {
        free(m->series[i]->labels);
        free(m->series[i]);
    }
    for (unsigned i = 0; i < m->shard_count; i++)
        for (size_t chunk = 0; chunk < MAX_CHUNKS; chunk++)
            free((void *)(uintptr_t)atomic_load(&m->shards[i].chunks[chunk]));
    free(m->series);
    free(m->shards);
    map_clear(&m->by_key);
    pthread_mutex_destroy(&m->mutex);
    m->tag = 0;
    free(m);
}

struct metrics_shard *metrics_shard(struct metrics *m, unsigned index)
{
    CHECK_TAG(m, METRICS);
    CHECK(index < m->shard_count);
    return &m->shards[index];
}

static cell *cell_at(struct metrics_shard *shard, uint32_t slot)
{
    cell *chunk = atomic_load_explicit(&shard->chunks[slot / CHUNK_SLOTS], memory_order_acquire);

    return &chunk[slot % CHUNK_SLOTS];
}

/* A run of count slots within one chunk. */
static uint32_t take_slots(struct metrics *m, uint32_t count)
{
    uint32_t slot = m->next_slot;

    if (slot % CHUNK_SLOTS + count > CHUNK_SLOTS)
        slot = (slot / CHUNK_SLOTS + 1) * CHUNK_SLOTS;
    CHECK(slot / CHUNK_SLOTS < MAX_CHUNKS);
    m->next_slot = slot + count;
    for (unsigned i = 0; i < m->shard_count; i++) {
        _Atomic(cell *) *chunk = &m->shards[i].chunks[slot / CHUNK_SLOTS];

        if (atomic_load(chunk) == NULL)
            atomic_store_explicit(chunk, mem_calloc(CHUNK_SLOTS, sizeof(cell)),
                                  memory_order_release);
    }
    return slot;
}

/* name="value" pairs; values come from configuration, and are escaped all the same. */
static void label_text(const struct family *family, const char *const *values, struct buf *out)
{
    struct slice rest = family->labels[0] != '\0' ? slice_of(family->labels) : SLICE_NONE, name;
    bool fits = true;

    for (size_t i = 0; slice_split(&rest, ',', &name); i++) {
        fits = buf_printf(out, "%s%.*s=\"", i > 0 ? "," : "", SLICE_ARGS(name)) && fits;
        for (const char *c = values[i]; *c != '\0'; c++) {
            if (*c == '"' || *c == '\\')
                fits = buf_printf(out, "\\%c", *c) && fits;
            else if (*c == '\n')
                fits = buf_append(out, SLICE("\\n")) && fits;
            else
                fits = buf_append(out, slice_from(c, 1)) && fits;
        }
        fits = buf_append(out, SLICE("\"")) && fits;
    }
    CHECK(fits);
}

static struct series *add_series(struct metrics *m, enum metric family, struct slice labels)
{
    struct series *series = mem_calloc(1, sizeof(*series));

    series->family = family;
    series->labels = mem_copy_slice(labels);
    series->slot = take_slots(m, families[family].type == HISTOGRAM ? HISTOGRAM_SLOTS : 1);
    if (m->series_count == m->series_cap) {
        m->series_cap = m->series_cap > 0 ? m->series_cap * 2 : 64;
        m->series = mem_realloc(m->series, m->series_cap * sizeof(*m->series));
    }
    m->series[m->series_count++] = series;
    return series;
}

uint32_t metrics_series(struct metrics *m, enum metric family, const char *const *values)
{
    struct buf key;
    struct series *series;
    char prefix[16];
    size_t prefix_len;

    CHECK_TAG(m, METRICS);
    CHECK(family < METRIC_COUNT);
    buf_init(&key, 1u << 16);
    prefix_len = (size_t)snprintf(prefix, sizeof(prefix), "%d|", (int)family);
    CHECK(buf_append(&key, slice_from(prefix, prefix_len)));
    label_text(&families[family], values, &key);
    pthread_mutex_lock(&m->mutex);
    series = map_get(&m->by_key, buf_slice(&key));
    if (series == NULL) {
        series = add_series(m, family, slice_skip(buf_slice(&key), prefix_len));
        map_set(&m->by_key, buf_slice(&key), series);
    }
    pthread_mutex_unlock(&m->mutex);
    buf_clear(&key);
    return series->slot;
}

uint32_t metrics_series0(struct metrics *m, enum metric family)
{
    return metrics_series(m, family, NULL);
}

uint32_t metrics_series1(struct metrics *m, enum metric family, const char *value)
{
    return metrics_series(m, family, &value);
}

uint32_t metrics_series2(struct metrics *m, enum metric family, const char *value0,
                         const char *value1)
{
    const char *const values[] = {value0, value1};

    return metrics_series(m, family, values);
}

void metrics_add(struct metrics_shard *shard, uint32_t slot, int64_t amount)
{
    cell *at = cell_at(shard, slot);

    /* One writer per shard: a plain load and store, no locked instruction. */
    atomic_store_explicit(at, atomic_load_explicit(at, memory_order_relaxed) + amount,
                          memory_order_relaxed);
}

void metrics_set(struct metrics_shard *shard, uint32_t slot, int64_t value)
{
    atomic_store_explicit(cell_at(shard, slot), value, memory_order_relaxed);
}

void metrics_observe_us(struct metrics_shard *shard, uint32_t slot, uint64_t value_us)
{
    uint32_t bucket = 0;

    while (bucket < BUCKET_COUNT && value_us > bucket_bounds_us[bucket])
        bucket++;
    metrics_add(shard, slot + bucket, 1);
    metrics_add(shard, slot + BUCKET_COUNT + 1, (int64_t)value_us);
}

int64_t metrics_sum(struct metrics *m, uint32_t slot)
{
    int64_t sum = 0;

    for (unsigned i = 0; i < m->shard_count; i++)
        sum += atomic_load_explicit(cell_at(&m->shards[i], slot), memory_order_relaxed);
    return sum;
}

int64_t metrics_read(struct metrics *m, uint32_t slot)
{
    const struct series *found = NULL;
    int64_t sum = 0;

    CHECK_TAG(m, METRICS);
    pthread_mutex_lock(&m->mutex);
    for (size_t i = 0; i < m->series_count && found == NULL; i++)
        if (m->series[i]->slot == slot)
            found = m->series[i];
    CHECK(found != NULL);
    if (families[found->family].type != HISTOGRAM)
        sum = metrics_sum(m, slot);
    else
        for (uint32_t bucket = 0; bucket <= BUCKET_COUNT; bucket++)
            sum += metrics_sum(m, slot + bucket);
    pthread_mutex_unlock(&m->mutex);
    return sum;
}

static bool histogram_text(struct metrics *m, const struct series *series, struct buf *out)
{
    const char *name = families[series->family].name, *labels = series->labels;
    const char *comma = labels[0] != '\0' ? "," : "";
    const char *open = labels[0] != '\0' ? "{" : "", *close = labels[0] != '\0' ? "}" : "";
    int64_t count = 0;

    for (uint32_t bucket = 0; bucket < BUCKET_COUNT; bucket++) {
        count += metrics_sum(m, series->slot + bucket);
        if (!buf_printf(out, "%s_bucket{%s%sle=\"%g\"} %lld\n", name, labels, comma,
                        (double)bucket_bounds_us[bucket] / 1e6, (long long)count))
            return false;
    }
    count += metrics_sum(m, series->slot + BUCKET_COUNT);
    return buf_printf(out, "%s_bucket{%s%sle=\"+Inf\"} %lld\n", name, labels, comma,
                      (long long)count) &&
           buf_printf(out, "%s_sum%s%s%s %.6f\n", name, open, labels, close,
                      (double)metrics_sum(m, series->slot + BUCKET_COUNT + 1) / 1e6) &&
           buf_printf(out, "%s_count%s%s%s %lld\n", name, open, labels, close, (long long)count);
}

static bool series_text(struct metrics *m, const struct series *series, struct buf *out)
{
    const char *name = families[series->family].name;
    long long value;

    if (families[series->family].type == HISTOGRAM)
        return histogram_text(m, series, out);
    value = (long long)metrics_sum(m, series->slot);
    if (series->labels[0] == '\0')
        return buf_printf(out, "%s %lld\n", name, value);
    return buf_printf(out, "%s{%s} %lld\n", name, series->labels, value);
}

/* OpenMetrics names a counter's family without the _total of its samples. */
static bool family_head_text(const struct family *family, enum metrics_format format,
                             struct buf *out)
{
    static const char *const type_names[] = {"counter", "gauge", "histogram"};
    struct slice name = slice_of(family->name);

    if (format == METRICS_OPENMETRICS && slice_ends_with(name, SLICE("_total")))
        name.len -= strlen("_total");
    return buf_printf(out, "# HELP %.*s %s\n# TYPE %.*s %s\n", SLICE_ARGS(name), family->help,
                      SLICE_ARGS(name), type_names[family->type]);
}

bool metrics_text(struct metrics *m, enum metrics_format format, struct buf *out)
{
    bool fits = true;

    CHECK_TAG(m, METRICS);
    pthread_mutex_lock(&m->mutex);
    for (int family = 0; family < METRIC_COUNT && fits; family++) {
        bool has_head = false;

        for (size_t i = 0; i < m->series_count && fits; i++) {
            if ((int)m->series[i]->family != family)
                continue;
            if (!has_head)
                fits = family_head_text(&families[family], format, out);
            has_head = true;
            fits = fits && series_text(m, m->series[i], out);
        }
    }
    pthread_mutex_unlock(&m->mutex);
    if (format == METRICS_OPENMETRICS)
        fits = fits && buf_append(out, SLICE("# EOF\n"));
    return fits;
}
