#include "app/top_screen.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define LINE_BYTES 1024
#define MIN_COLUMNS 40u
#define WHERE_COLUMNS 24
#define NUMBERS_COLUMNS 36 /* what stands right of a key */

struct page {
    const struct top_screen *screen;
    struct buf *out;
    unsigned columns, used_rows;
};

static void put(struct page *page, const char *text)
{
    /* The buffer's ceiling is far above what a screen holds. */
    (void)!buf_append(page->out, slice_of(text));
}

/* One line, cut at the screen's edge.  is_heading: stands out. */
static void line(struct page *page, bool is_heading, const char *format, ...) PRINTF_LIKE(3, 4);

static void line(struct page *page, bool is_heading, const char *format, ...)
{
    char text[LINE_BYTES];
    va_list args;
    int len;

    if (page->screen->rows > 0 && page->used_rows >= page->screen->rows)
        return;
    va_start(args, format);
    len = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    CHECK(len >= 0);
    if (strlen(text) > page->columns)
        text[page->columns] = '\0';
    if (page->screen->is_terminal && page->used_rows > 0)
        put(page, "\r\n");
    if (page->screen->is_terminal && is_heading)
        put(page, "\x1b[1m");
    put(page, text);
    if (page->screen->is_terminal)
        put(page, is_heading ? "\x1b[0m\x1b[K" : "\x1b[K");
    else
        put(page, "\n");
    page->used_rows++;
}

/* ---- numbers as people read them ---- */

#define SHORT_BYTES 24

static const char *rate_text(double rate, char text[SHORT_BYTES])
{
    snprintf(text, SHORT_BYTES, rate > 0 && rate < 9.95 ? "%.1f/s" : "%.0f/s", rate);
    return text;
}

static const char *latency_text(double seconds, char text[SHORT_BYTES])
{
    if (seconds < 0)
        snprintf(text, SHORT_BYTES, "-");
    else if (seconds < 1)
        snprintf(text, SHORT_BYTES, seconds < 0.00995 ? "%.1f ms" : "%.0f ms", seconds * 1000);
    else
        snprintf(text, SHORT_BYTES, "%.1f s", seconds);
    return text;
}

static const char *time_text(double seconds, char text[SHORT_BYTES])
{
    uint64_t whole = seconds > 0 ? (uint64_t)seconds : 0;

    if (seconds < 60)
        snprintf(text, SHORT_BYTES, "%.1fs", seconds);
    else if (whole < 3600)
        snprintf(text, SHORT_BYTES, "%" PRIu64 "m%02" PRIu64 "s", whole / 60, whole % 60);
    else if (whole < 86400)
        snprintf(text, SHORT_BYTES, "%" PRIu64 "h%02" PRIu64 "m", whole / 3600, whole / 60 % 60);
    else
        snprintf(text, SHORT_BYTES, "%" PRIu64 "d%02" PRIu64 "h", whole / 86400, whole / 3600 % 24);
    return text;
}

/* ---- the head ---- */

static void draw_title(struct page *page, const struct top_view *view)
{
    char up[SHORT_BYTES], clock[16] = "";
    time_t now = time(NULL);
    struct tm local;

    if (localtime_r(&now, &local) != NULL)
        strftime(clock, sizeof(clock), "%H:%M:%S", &local);
    line(page, true, "lockkeeper %s  %s  %s  %.0f worker%s  up %s  %s", view->version,
         view->address, view->state, view->gauges[TOP_WORKERS],
         view->gauges[TOP_WORKERS] == 1 ? "" : "s",
         time_text((double)now - view->gauges[TOP_STARTED_AT], up), clock);
}

static void draw_requests(struct page *page, const struct top_view *view)
{
    const double *rates = view->rates;
    char a[SHORT_BYTES], b[SHORT_BYTES], c[SHORT_BYTES], d[SHORT_BYTES];

    line(page, false, "requests   %-9s  p50 %-8s p99 %-8s clients %.0f",
         rate_text(rates[TOP_REQUESTS], a), latency_text(view->request_p50_s, b),
         latency_text(view->request_p99_s, c), view->gauges[TOP_CLIENTS]);
    line(page, rates[TOP_ANSWERS_5XX] > 0, "answers    2xx %-9s 4xx %-9s 5xx %s",
         rate_text(rates[TOP_ANSWERS_2XX], a), rate_text(rates[TOP_ANSWERS_4XX], b),
         rate_text(rates[TOP_ANSWERS_5XX], c));
    line(page, false, "denied     %-9s  near %-7s shadow %-7s without the store %s",
         rate_text(rates[TOP_DENIED], a), rate_text(rates[TOP_NEAR], b),
         rate_text(rates[TOP_SHADOW_DENIED], c), rate_text(rates[TOP_DENIED_LOCALLY], d));
}

static void draw_parts(struct page *page, const struct top_view *view)
{
    const double *rates = view->rates, *gauges = view->gauges;
    double failed = rates[TOP_STORE_CALLS] - rates[TOP_STORE_GOOD];
    char a[SHORT_BYTES], b[SHORT_BYTES], c[SHORT_BYTES], d[SHORT_BYTES];

    line(page, failed > 0 || gauges[TOP_STORE_BREAKERS] > 0,
         "store      %-9s  p50 %-8s p99 %-8s failed %-6s pending %.0f%s",
         rate_text(rates[TOP_STORE_CALLS], a), latency_text(view->store_p50_s, b),
         latency_text(view->store_p99_s, c), rate_text(failed, d), gauges[TOP_STORE_PENDING],
         gauges[TOP_STORE_BREAKERS] > 0 ? "  BREAKER OPEN" : "");
    line(page, rates[TOP_UPSTREAM_FAILURES] > 0,
         "upstream   failures %-6s active %.0f  waiting %.0f",
         rate_text(rates[TOP_UPSTREAM_FAILURES], a), gauges[TOP_UPSTREAM_ACTIVE],
         gauges[TOP_UPSTREAM_WAITING]);
    line(page, rates[TOP_LOCKS_TAKEN_AWAY] > 0,
         "locks      %-9s  held %" PRIu64 "  waiting %" PRIu64 "  timeouts %s  taken away %s",
         rate_text(rates[TOP_LOCKS_TAKEN] + rates[TOP_LOCKS_WAITED], a), view->held_count,
         view->waiting_count, rate_text(rates[TOP_LOCK_TIMEOUTS], b),
         rate_text(rates[TOP_LOCKS_TAKEN_AWAY], c));
}

/* ---- the lists ---- */

static void draw_key(struct page *page, const struct top_key *key)
{
    int key_columns = (int)page->columns - WHERE_COLUMNS - NUMBERS_COLUMNS - 2;
    char count[2 * SHORT_BYTES], left[2 * SHORT_BYTES], ago[SHORT_BYTES];

    if (key->error > 0)
        snprintf(count, sizeof(count), "%" PRIu64 "-%" PRIu64, key->count - key->error, key->count);
    else
        snprintf(count, sizeof(count), "%" PRIu64, key->count);
    snprintf(left, sizeof(left), "%" PRIu64 "/%" PRIu64, key->remaining, key->capacity);
    line(page, false, "  %-*.*s%-*.*s %14s %14s %5s", WHERE_COLUMNS, WHERE_COLUMNS, key->where,
         key_columns > 8 ? key_columns : 8, key_columns > 8 ? key_columns : 8, key->key, count,
         left, time_text((double)key->ms_ago / 1000, ago));
}

static void draw_lock(struct page *page, const struct top_lock *lock)
{
    int key_columns = (int)page->columns - WHERE_COLUMNS - NUMBERS_COLUMNS - 2;
    char since[SHORT_BYTES], left[SHORT_BYTES];

    line(page, false, "  %-*.*s%-*.*s %8s %8s  %s", WHERE_COLUMNS, WHERE_COLUMNS, lock->route,
         key_columns > 8 ? key_columns : 8, key_columns > 8 ? key_columns : 8, lock->keys,
         time_text((double)lock->for_ms / 1000, since),
         time_text((double)lock->left_ms / 1000, left), lock->request_id);
}

/* One list of the page. */
struct section {
    const char *title, *columns;
    size_t count, shown;
    const struct top_key *keys; /* or else locks */
    const struct top_lock *locks;
};

#define SECTION_COUNT 5

/* Each section gets as many of its lines as there is room for, one after the other in turn, so that
 * a long list leaves room for the others. */
static void share_rows(struct section *sections, unsigned rows)
{
    bool is_any = true;

    for (size_t i = 0; i < SECTION_COUNT; i++) {
        unsigned heading = sections[i].count > 0 ? 1 : 0;

        rows -= rows >= heading ? heading : rows;
    }
    while (rows > 0 && is_any) {
        is_any = false;
        for (size_t i = 0; i < SECTION_COUNT && rows > 0; i++) {
            if (sections[i].shown == sections[i].count)
                continue;
            sections[i].shown++;
            rows--;
            is_any = true;
        }
    }
}

static void draw_section(struct page *page, const struct section *section)
{
    int columns = (int)page->columns - (int)strlen(section->title);

    if (section->count == 0)
        return;
    line(page, true, "%s%*s", section->title, columns > 0 ? columns : 0, section->columns);
    for (size_t i = 0; i < section->shown; i++)
        if (section->keys != NULL)
            draw_key(page, &section->keys[i]);
        else
            draw_lock(page, &section->locks[i]);
}

static void draw_sections(struct page *page, const struct top_view *view)
{
    static const char key_columns[] = "times       left/limit   ago";
    static const char held_columns[] = "for    lease  request         ";
    static const char waiting_columns[] = "for     left  request          ";
    struct section sections[SECTION_COUNT] = {
        {.title = "DENIED",
         .columns = key_columns,
         .keys = view->keys[TOP_KIND_DENIED],
         .count = view->key_counts[TOP_KIND_DENIED]},
        {.title = "NEAR THEIR LIMIT",
         .columns = key_columns,
         .keys = view->keys[TOP_KIND_NEAR],
         .count = view->key_counts[TOP_KIND_NEAR]},
        {.title = "LOCKS HELD",
         .columns = held_columns,
         .locks = view->held,
         .count = view->held_listed},
        {.title = "WAITING FOR LOCKS",
         .columns = waiting_columns,
         .locks = view->waiting,
         .count = view->waiting_listed},
        {.title = "BUSIEST",
         .columns = key_columns,
         .keys = view->keys[TOP_KIND_BUSY],
         .count = view->key_counts[TOP_KIND_BUSY]},
    };
    unsigned rows = page->screen->rows;

    share_rows(sections, rows == 0                ? UINT32_MAX
                         : rows > page->used_rows ? rows - page->used_rows
                                                  : 0);
    for (size_t i = 0; i < SECTION_COUNT; i++)
        draw_section(page, &sections[i]);
}

void top_screen_draw(const struct top_screen *screen, const struct top_view *view, struct buf *out)
{
    struct page page = {.screen = screen, .out = out};

    page.columns = screen->columns > MIN_COLUMNS ? screen->columns : MIN_COLUMNS;
    if (page.columns >= LINE_BYTES)
        page.columns = LINE_BYTES - 1;
    if (screen->is_terminal)
        put(&page, "\x1b[H");
    if (view->problem != NULL) {
        line(&page, true, "lockkeeper top: %s: %s", view->address, view->problem);
    } else {
        draw_title(&page, view);
        draw_requests(&page, view);
        draw_parts(&page, view);
        line(&page, false, "%s", "");
        if (view->period_ms > 0)
            line(&page, false, "keys of the last %" PRIu64 " s, in this process",
                 view->period_ms / 1000);
        draw_sections(&page, view);
    }
    if (screen->is_terminal)
        put(&page, "\x1b[J");
}
