/* One turn of the loop:
 *
 *   due timers -> end of tick -> wait for sockets -> their callbacks -> end of tick -> closing
 *
 * The end of a tick runs deferred tasks, and when there are none left flushes dirty streams; both
 * may make new work, which is done in the same end of tick up to a bound, and after that without
 * waiting.  All helper handles are unref'd, so that uv_loop_alive() speaks of others' handles. */
#include "net/loop.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "net/loop_private.h"

#define LOOP_TAG 0x4c4f4f50u /* "LOOP" */
#define SPARE_MAX 64u
#define ARENA_FREE_BLOCKS 64u
#define TICK_MAX_ROUNDS 16

struct loop_signal {
    struct list_node node;
    uv_signal_t handle;
    loop_signal_cb *on_signal;
    void *owner;
    int signum;
};

/* Timers: a binary heap by heap_at_ms.  A timer moved later stays where it is, and is put right
 * when it comes up. */

static void heap_put(struct loop *loop, uint32_t at, struct timer *timer)
{
    loop->heap[at] = timer;
    timer->heap_index = at + 1;
}

static void heap_sift_up(struct loop *loop, uint32_t at)
{
    struct timer *timer = loop->heap[at];

    while (at > 0) {
        uint32_t parent = (at - 1) / 2;

        if (loop->heap[parent]->heap_at_ms <= timer->heap_at_ms)
            break;
        heap_put(loop, at, loop->heap[parent]);
        at = parent;
    }
    heap_put(loop, at, timer);
}

static void heap_sift_down(struct loop *loop, uint32_t at)
{
    struct timer *timer = loop->heap[at];

    for (;;) {
        uint32_t child = 2 * at + 1;

        if (child >= loop->heap_count)
            break;
        if (child + 1 < loop->heap_count &&
            loop->heap[child + 1]->heap_at_ms < loop->heap[child]->heap_at_ms)
            child++;
        if (timer->heap_at_ms <= loop->heap[child]->heap_at_ms)
            break;
        heap_put(loop, at, loop->heap[child]);
        at = child;
    }
    heap_put(loop, at, timer);
}

static void heap_insert(struct loop *loop, struct timer *timer)
{
    if (loop->heap_count == loop->heap_cap) {
        loop->heap_cap = loop->heap_cap > 0 ? loop->heap_cap * 2 : 64;
        loop->heap = mem_realloc(loop->heap, loop->heap_cap * sizeof(*loop->heap));
    }
    loop->heap[loop->heap_count++] = timer;
    heap_sift_up(loop, loop->heap_count - 1);
}

static void heap_remove(struct loop *loop, struct timer *timer)
{
    uint32_t at = timer->heap_index - 1;
    struct timer *last = loop->heap[--loop->heap_count];

    CHECK(at <= loop->heap_count && (at == loop->heap_count || loop->heap[at] == timer));
    timer->heap_index = 0;
    if (last == timer)
        return;
    heap_put(loop, at, last);
    heap_sift_up(loop, at);
    heap_sift_down(loop, last->heap_index - 1);
}

static void on_alarm(uv_timer_t *alarm);

/* The alarm may go off too early, never too late: moving it for each change would cost more. */
static void set_alarm(struct loop *loop)
{
    uint64_t first_at_ms, now_ms = uv_now(&loop->uv);

    if (loop->heap_count == 0 || loop->heap[0]->heap_at_ms >= loop->alarm_at_ms)
        return;
    first_at_ms = loop->heap[0]->heap_at_ms;
    loop->alarm_at_ms = first_at_ms;
    CHECK(uv_timer_start(&loop->alarm, on_alarm, first_at_ms > now_ms ? first_at_ms - now_ms : 0,
                         0) == 0);
}

static void on_alarm(uv_timer_t *alarm)
{
    struct loop *loop = alarm->data;
    uint64_t now_ms = uv_now(&loop->uv);

    loop->alarm_at_ms = UINT64_MAX;
    loop->is_in_timers = true;
    while (loop->heap_count > 0 && loop->heap[0]->heap_at_ms <= now_ms) {
        struct timer *timer = loop->heap[0];

        if (timer->at_ms > timer->heap_at_ms) {
            timer->heap_at_ms = timer->at_ms;
            heap_sift_down(loop, 0);
            continue;
        }
        heap_remove(loop, timer);
        timer->is_started = false;
        timer->on_timer(timer);
    }
    loop->is_in_timers = false;
    set_alarm(loop);
}

void timer_start(struct loop *loop, struct timer *timer, uint64_t delay_ms, timer_cb *on_timer)
{
    uint64_t at_ms, now_ms = uv_now(&loop->uv);

    CHECK(on_timer != NULL);
    if (__builtin_add_overflow(now_ms, delay_ms, &at_ms))
        at_ms = UINT64_MAX - 1;
    /* A timer that starts itself with no delay must not keep the loop from its sockets. */
    if (loop->is_in_timers && at_ms == now_ms)
        at_ms++;
    timer->on_timer = on_timer;
    timer->at_ms = at_ms;
    if (timer->is_started && at_ms >= timer->heap_at_ms)
        return;
    timer->heap_at_ms = at_ms;
    if (timer->is_started) {
        heap_sift_up(loop, timer->heap_index - 1);
    } else {
        timer->is_started = true;
        heap_insert(loop, timer);
    }
    if (!loop->is_in_timers)
        set_alarm(loop);
}

void timer_stop(struct loop *loop, struct timer *timer)
{
    if (!timer->is_started)
        return;
    timer->is_started = false;
    heap_remove(loop, timer);
}

/* Deferred work and the end of the tick. */

void loop_task_init(struct loop_task *task, loop_task_cb *run)
{
    list_node_init(&task->node);
    task->run = run;
}

void loop_defer(struct loop *loop, struct loop_task *task)
{
    loop_queue(&loop->tasks, task);
}

void loop_undefer(struct loop_task *task)
{
    list_remove(&task->node);
}

/* Runs what is listed now; what is added meanwhile stays for later. */
static void run_listed(struct list *list)
{
    struct list now;
    struct list_node *node;

    list_init(&now);
    list_splice(&now, list);
    while ((node = list_pop(&now)) != NULL) {
        struct loop_task *task = CONTAINER_OF(node, struct loop_task, node);

        task->run(task);
    }
}

void loop_flush_now(struct loop *loop)
{
    if (!list_is_empty(&loop->flush_now))
        run_listed(&loop->flush_now);
}

static bool has_work(const struct loop *loop)
{
    return !list_is_empty(&loop->tasks) || !list_is_empty(&loop->flush_now) ||
           !list_is_empty(&loop->flush_tick);
}

static void on_no_wait(uv_idle_t *idle)
{
    UNUSED(idle);
}

static void end_tick(struct loop *loop)
{
    for (int round = 0; round < TICK_MAX_ROUNDS && has_work(loop); round++) {
        if (!list_is_empty(&loop->tasks)) {
            run_listed(&loop->tasks);
        } else {
            run_listed(&loop->flush_now);
            run_listed(&loop->flush_tick);
        }
    }
    if (has_work(loop))
        uv_idle_start(&loop->no_wait, on_no_wait);
    else if (uv_is_active((uv_handle_t *)&loop->no_wait))
        uv_idle_stop(&loop->no_wait);
}

static void on_prepare(uv_prepare_t *prepare)
{
    end_tick(prepare->data);
}

static void on_check(uv_check_t *check)
{
    end_tick(check->data);
}

/* The mailbox is a stack that posters push to; the loop takes it whole and turns it round. */

static struct loop_message *take_mail(struct loop *loop)
{
    struct loop_message *taken = atomic_exchange(&loop->mailbox, NULL), *in_order = NULL;

    while (taken != NULL) {
        struct loop_message *next = taken->next;

        taken->next = in_order;
        in_order = taken;
        taken = next;
    }
    return in_order;
}

static void on_mail(uv_async_t *mail)
{
    struct loop *loop = mail->data;
    struct loop_message *message = take_mail(loop);

    while (message != NULL) {
        struct loop_message *next = message->next;

        message->run(loop, message);
        message = next;
    }
    if (loop->is_running && atomic_load(&loop->is_stop_wanted))
        uv_stop(&loop->uv);
}

void loop_post(struct loop *loop, struct loop_message *message)
{
    struct loop_message *head = atomic_load(&loop->mailbox);

    do
        message->next = head;
    while (!atomic_compare_exchange_weak(&loop->mailbox, &head, message));
    CHECK(uv_async_send(&loop->mail) == 0);
}

/* Signals. */

static void on_signal_number(uv_signal_t *handle, int signum)
{
    struct loop_signal *entry = handle->data;

    entry->on_signal(entry->owner, signum);
}

static void on_signal_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static void signal_close(struct loop_signal *entry)
{
    list_remove(&entry->node);
    uv_close((uv_handle_t *)&entry->handle, on_signal_closed);
}

static struct loop_signal *find_signal(struct loop *loop, int signum)
{
    LIST_EACH (&loop->signals, node) {
        struct loop_signal *entry = CONTAINER_OF(node, struct loop_signal, node);

        if (entry->signum == signum)
            return entry;
    }
    return NULL;
}

int loop_on_signal(struct loop *loop, int signum, loop_signal_cb *on_signal, void *owner)
{
    struct loop_signal *entry = find_signal(loop, signum);
    int error;

    if (on_signal == NULL) {
        if (entry != NULL)
            signal_close(entry);
        return 0;
    }
    if (entry != NULL) {
        entry->on_signal = on_signal;
        entry->owner = owner;
        return 0;
    }
    entry = mem_calloc(1, sizeof(*entry));
    *entry = (struct loop_signal){.on_signal = on_signal, .owner = owner, .signum = signum};
    list_node_init(&entry->node);
    error = uv_signal_init(&loop->uv, &entry->handle);
    if (error != 0) {
        free(entry);
        return error;
    }
    entry->handle.data = entry;
    list_append(&loop->signals, &entry->node);
    error = uv_signal_start(&entry->handle, on_signal_number, signum);
    if (error != 0)
        signal_close(entry);
    else
        uv_unref((uv_handle_t *)&entry->handle);
    return error;
}

/* Memory shared by the streams of a loop. */

char *loop_plain_buffer(struct loop *loop)
{
    if (loop->plain_buffer == NULL)
        loop->plain_buffer = mem_alloc(LOOP_READ_BUFFER_BYTES);
    return loop->plain_buffer;
}

void *loop_take_spare(struct loop *loop, size_t size)
{
    void *memory = loop->spare;

    if (memory == NULL)
        return mem_calloc(1, size);
    memcpy(&loop->spare, memory, sizeof(void *));
    loop->spare_count--;
    memset(memory, 0, size);
    return memory;
}

void loop_give_spare(struct loop *loop, void *memory)
{
    if (loop->spare_count >= SPARE_MAX) {
        free(memory);
        return;
    }
    memcpy(memory, &loop->spare, sizeof(void *));
    loop->spare = memory;
    loop->spare_count++;
}

/* The loop itself. */

static void open_helpers(struct loop *loop)
{
    uv_handle_t *helpers[] = {(uv_handle_t *)&loop->mail, (uv_handle_t *)&loop->alarm,
                              (uv_handle_t *)&loop->prepare, (uv_handle_t *)&loop->check,
                              (uv_handle_t *)&loop->no_wait};

    /* These four cannot fail: they only link the handle into the loop. */
    uv_timer_init(&loop->uv, &loop->alarm);
    uv_prepare_init(&loop->uv, &loop->prepare);
    uv_check_init(&loop->uv, &loop->check);
    uv_idle_init(&loop->uv, &loop->no_wait);
    for (size_t i = 0; i < COUNT_OF(helpers); i++) {
        helpers[i]->data = loop;
        uv_unref(helpers[i]);
    }
    uv_prepare_start(&loop->prepare, on_prepare);
    uv_check_start(&loop->check, on_check);
}

int loop_open(struct loop **ret_loop)
{
    struct loop *loop = mem_calloc(1, sizeof(*loop));
    int error = uv_loop_init(&loop->uv);

    if (error != 0) {
        free(loop);
        return error;
    }
    error = uv_async_init(&loop->uv, &loop->mail, on_mail);
    if (error != 0) {
        CHECK(uv_loop_close(&loop->uv) == 0);
        free(loop);
        return error;
    }
    loop->tag = LOOP_TAG;
    loop->alarm_at_ms = UINT64_MAX;
    list_init(&loop->tasks);
    list_init(&loop->flush_now);
    list_init(&loop->flush_tick);
    list_init(&loop->signals);
    arena_pool_init(&loop->arenas, ARENA_FREE_BLOCKS);
    loop->read_buffer = mem_alloc(LOOP_READ_BUFFER_BYTES);
    open_helpers(loop);
    *ret_loop = loop;
    return 0;
}

static void drop_mail(struct loop *loop)
{
    struct loop_message *message = take_mail(loop);

    while (message != NULL) {
        struct loop_message *next = message->next;

        if (message->on_drop != NULL)
            message->on_drop(loop, message);
        message = next;
    }
}

static void free_memory(struct loop *loop)
{
    while (loop->spare != NULL) {
        void *memory = loop->spare;

        memcpy(&loop->spare, memory, sizeof(void *));
        free(memory);
    }
    out_pool_clear(&loop->out_pool);
    arena_pool_clear(&loop->arenas);
    free(loop->heap);
    free(loop->read_buffer);
    free(loop->plain_buffer);
    loop->tag = 0;
    free(loop);
}

void loop_close(struct loop **place)
{
    struct loop *loop = TAKE(place);

    CHECK_TAG(loop, LOOP);
    CHECK(!loop->is_running && loop->owned_count == 0);
    drop_mail(loop);
    if (loop->resolve_cache_close != NULL)
        loop->resolve_cache_close(loop);
    /* What is closed may still linger, or wait for a thread: each of these ends by itself. */
    uv_ref((uv_handle_t *)&loop->mail);
    while (loop->open_count > 0 || has_work(loop))
        uv_run(&loop->uv, loop->open_count > 0 ? UV_RUN_ONCE : UV_RUN_NOWAIT);
    CHECK(loop->heap_count == 0);
    LIST_EACH (&loop->signals, node)
        signal_close(CONTAINER_OF(node, struct loop_signal, node));
    uv_close((uv_handle_t *)&loop->mail, NULL);
    uv_close((uv_handle_t *)&loop->alarm, NULL);
    uv_close((uv_handle_t *)&loop->prepare, NULL);
    uv_close((uv_handle_t *)&loop->check, NULL);
    uv_close((uv_handle_t *)&loop->no_wait, NULL);
    uv_run(&loop->uv, UV_RUN_DEFAULT);
    CHECK(uv_loop_close(&loop->uv) == 0);
    drop_mail(loop);
    free_memory(loop);
}

void loop_run(struct loop *loop)
{
    CHECK_TAG(loop, LOOP);
    CHECK(!loop->is_running);
    loop->is_running = true;
    uv_ref((uv_handle_t *)&loop->mail); /* so that waiting does not end for lack of sockets */
    while (!atomic_load(&loop->is_stop_wanted))
        uv_run(&loop->uv, UV_RUN_DEFAULT);
    atomic_store(&loop->is_stop_wanted, false);
    uv_unref((uv_handle_t *)&loop->mail);
    loop->is_running = false;
}

bool loop_turn(struct loop *loop)
{
    CHECK_TAG(loop, LOOP);
    uv_ref((uv_handle_t *)&loop->mail); /* uv_run() would not turn for timers and tasks alone */
    uv_run(&loop->uv, UV_RUN_NOWAIT);
    uv_unref((uv_handle_t *)&loop->mail);
    return uv_loop_alive(&loop->uv) != 0 || loop->open_count > 0 || loop->heap_count > 0 ||
           has_work(loop);
}

void loop_stop(struct loop *loop)
{
    atomic_store(&loop->is_stop_wanted, true);
    CHECK(uv_async_send(&loop->mail) == 0);
}

const char *loop_library_version(void)
{
    return uv_version_string();
}

struct uv_loop_s *loop_uv(struct loop *loop)
{
    return &loop->uv;
}

struct arena_pool *loop_arena_pool(struct loop *loop)
{
    return &loop->arenas;
}

uint64_t loop_now_ms(const struct loop *loop)
{
    return uv_now(&loop->uv);
}

static uint64_t read_clock_us(clockid_t clock)
{
    struct timespec now;

    CHECK(clock_gettime(clock, &now) == 0);
    return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}

uint64_t loop_clock_us(void)
{
    return read_clock_us(CLOCK_MONOTONIC);
}

uint64_t loop_boot_clock_us(void)
{
    return read_clock_us(CLOCK_BOOTTIME);
}

const char *loop_error_text(int error)
{
    return uv_strerror(error);
}

uint64_t loop_wall_clock_us(void)
{
    return read_clock_us(CLOCK_REALTIME);
}
