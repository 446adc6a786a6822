#include "app/policy_watch.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/digest.h"
#include "base/log.h"
#include "net/folder_watch.h"
#include "net/loop.h"
#include "policy/policy.h"

#define POLICY_WATCH_TAG 0x50574348u /* "PWCH" */
#define MAX_FOLDERS 32               /* others are looked at by time alone */
#define MAX_PRINT_BYTES (4u << 20)
#define MAX_MOUNTINFO_LINE 8192

struct folder {
    char *path;
    dev_t device;
    ino_t inode;
    struct folder_watch *watch; /* NULL: could not be opened, ... */
    bool is_told;               /* ... which is in the log */
};

/* What was seen of some files. */
struct print {
    char hex[33];
};

struct policy_watch {
    uint32_t tag;
    struct loop *loop;
    const char *const *paths;
    size_t path_count;
    void (*on_change)(void *owner);
    void *owner;
    char **inputs;
    size_t input_count;
    struct print seen_paths, seen_inputs;
    struct folder folders[MAX_FOLDERS];
    size_t folder_count;
    struct timer poll_timer, settle_timer;
    uint64_t event_at_ms; /* the first that has not been looked into */
};

/* Looking. */

static void print_file(struct buf *print, const char *path)
{
    struct stat status;

    /* Too much to remember is as good as a change that is not seen: SIGHUP remains. */
    if (stat(path, &status) != 0)
        (void)!buf_printf(print, "%s -\n", path);
    else
        (void)!buf_printf(print, "%s %ju %ju %ju %ju.%09ld\n", path, (uintmax_t)status.st_dev,
                          (uintmax_t)status.st_ino, (uintmax_t)status.st_size,
                          (uintmax_t)status.st_mtim.tv_sec, status.st_mtim.tv_nsec);
}

static void print_folder(struct buf *print, const char *path)
{
    struct dirent **entries;
    int count = scandir(path, &entries, NULL, alphasort);

    (void)!buf_printf(print, "%s %d\n", path, count < 0);
    for (int i = 0; i < count; i++) {
        char file[4096];

        if (policy_is_file_name(entries[i]->d_name) &&
            (size_t)snprintf(file, sizeof(file), "%s/%s", path, entries[i]->d_name) < sizeof(file))
            print_file(print, file);
        free(entries[i]);
    }
    if (count >= 0)
        free(entries);
}

static struct print print_all(const char *const *paths, size_t count)
{
    struct print result = {.hex = ""};
    struct buf print;

    buf_init(&print, MAX_PRINT_BYTES);
    for (size_t i = 0; i < count; i++) {
        struct stat status;

        if (stat(paths[i], &status) == 0 && S_ISDIR(status.st_mode))
            print_folder(&print, paths[i]);
        else
            print_file(&print, paths[i]);
    }
    digest_short_hex(buf_slice(&print), result.hex);
    buf_clear(&print);
    return result;
}

static struct print print_inputs(const struct policy_watch *w)
{
    return print_all((const char *const *)w->inputs, w->input_count);
}

static bool differs(const struct print *a, const struct print *b)
{
    return strcmp(a->hex, b->hex) != 0;
}

void policy_watch_look(struct policy_watch *w)
{
    CHECK_TAG(w, POLICY_WATCH);
    w->seen_paths = print_all(w->paths, w->path_count);
    w->seen_inputs = print_inputs(w);
}

/* Folders. */

static void on_event(void *owner);

static void close_folder(struct folder *f)
{
    if (f->watch != NULL)
        folder_watch_close(&f->watch);
}

/* Opens what is not open, and anew what stands where the old one was. */
static void watch_folder(struct policy_watch *w, struct folder *f)
{
    struct stat status;
    int error;

    if (stat(f->path, &status) != 0) {
        close_folder(f);
        return;
    }
    if (f->watch != NULL && f->device == status.st_dev && f->inode == status.st_ino)
        return;
    close_folder(f);
    f->device = status.st_dev;
    f->inode = status.st_ino;
    error = folder_watch_open(w->loop, f->path, on_event, w, &f->watch);
    if (error != 0 && !f->is_told)
        log_warn(NULL, "cannot watch a folder: its files are looked at every 10 seconds",
                 LOG_STR("folder", f->path), LOG_STR("error", strerror(-error)));
    f->is_told = error != 0;
}

static void watch_folders(struct policy_watch *w)
{
    for (size_t i = 0; i < w->folder_count; i++)
        watch_folder(w, &w->folders[i]);
}

static void add_folder(struct policy_watch *w, struct slice path)
{
    for (size_t i = 0; i < w->folder_count; i++)
        if (slice_equal(slice_of(w->folders[i].path), path))
            return;
    if (w->folder_count < MAX_FOLDERS)
        w->folders[w->folder_count++] = (struct folder){.path = mem_copy_slice(path)};
}

static struct slice folder_of(struct slice path)
{
    const char *slash;

    while (path.len > 1 && path.at[path.len - 1] == '/')
        path.len--;
    slash = memrchr(path.at, '/', path.len);
    if (slash == NULL)
        return SLICE(".");
    return slash > path.at ? slice_head(path, (size_t)(slash - path.at)) : SLICE("/");
}

static bool is_link(struct slice path)
{
    char *text = mem_copy_slice(path);
    struct stat status;
    bool result = lstat(text, &status) == 0 && S_ISLNK(status.st_mode);

    free(text);
    return result;
}

/* And the one around it, where a link leads to the folder and may lead elsewhere one day. */
static void add_folders_of(struct policy_watch *w, const char *path)
{
    struct stat status;
    bool is_folder = stat(path, &status) == 0 && S_ISDIR(status.st_mode);
    struct slice folder = is_folder ? slice_of(path) : folder_of(slice_of(path));

    while (folder.len > 1 && folder.at[folder.len - 1] == '/')
        folder.len--;
    add_folder(w, folder);
    if (is_link(folder))
        add_folder(w, folder_of(folder));
}

static void clear_folders(struct policy_watch *w)
{
    for (size_t i = 0; i < w->folder_count; i++) {
        close_folder(&w->folders[i]);
        free(w->folders[i].path);
    }
    w->folder_count = 0;
}

static void clear_inputs(struct policy_watch *w)
{
    for (size_t i = 0; i < w->input_count; i++)
        free(w->inputs[i]);
    free(w->inputs);
    w->inputs = NULL;
    w->input_count = 0;
}

void policy_watch_follow(struct policy_watch *w, const struct policy *policy)
{
    size_t count = 0;

    CHECK_TAG(w, POLICY_WATCH);
    clear_inputs(w);
    for (const struct policy_input *input = policy->inputs; input != NULL; input = input->next)
        count++;
    w->inputs = mem_calloc(count + 1, sizeof(*w->inputs));
    for (const struct policy_input *input = policy->inputs; input != NULL; input = input->next)
        w->inputs[w->input_count++] = mem_strdup(input->path);
    w->seen_inputs = print_inputs(w);
    clear_folders(w);
    for (size_t i = 0; i < w->path_count; i++)
        add_folders_of(w, w->paths[i]);
    for (size_t i = 0; i < w->input_count; i++)
        add_folders_of(w, w->inputs[i]);
    watch_folders(w);
}

/* When to look. */

static void look_and_tell(struct policy_watch *w)
{
    struct print paths = print_all(w->paths, w->path_count), inputs = print_inputs(w);
    bool has_changed = differs(&paths, &w->seen_paths) || differs(&inputs, &w->seen_inputs);

    w->event_at_ms = 0;
    w->seen_paths = paths;
    w->seen_inputs = inputs;
    watch_folders(w);
    if (has_changed)
        w->on_change(w->owner);
}

static void on_settle_timer(struct timer *timer)
{
    struct policy_watch *w = CONTAINER_OF(timer, struct policy_watch, settle_timer);

    CHECK_TAG(w, POLICY_WATCH);
    look_and_tell(w);
}

static void on_event(void *owner)
{
    struct policy_watch *w = owner;
    uint64_t now_ms = loop_now_ms(w->loop), left_ms;

    CHECK_TAG(w, POLICY_WATCH);
    if (!w->settle_timer.is_started)
        w->event_at_ms = now_ms;
    left_ms = w->event_at_ms + POLICY_WATCH_MAX_SETTLE_MS > now_ms
                  ? w->event_at_ms + POLICY_WATCH_MAX_SETTLE_MS - now_ms
                  : 0;
    timer_start(w->loop, &w->settle_timer,
                left_ms < POLICY_WATCH_SETTLE_MS ? left_ms : POLICY_WATCH_SETTLE_MS,
                on_settle_timer);
}

static void on_poll_timer(struct timer *timer)
{
    struct policy_watch *w = CONTAINER_OF(timer, struct policy_watch, poll_timer);

    CHECK_TAG(w, POLICY_WATCH);
    timer_start(w->loop, timer, POLICY_WATCH_MS, on_poll_timer);
    if (!w->settle_timer.is_started)
        look_and_tell(w);
}

struct policy_watch *policy_watch_open(struct loop *loop, const char *const *paths,
                                       size_t path_count, void (*on_change)(void *owner),
                                       void *owner)
{
    struct policy_watch *w = mem_calloc(1, sizeof(*w));

    w->tag = POLICY_WATCH_TAG;
    w->loop = loop;
    w->paths = paths;
    w->path_count = path_count;
    w->on_change = on_change;
    w->owner = owner;
    timer_start(loop, &w->poll_timer, POLICY_WATCH_MS, on_poll_timer);
    return w;
}

void policy_watch_close(struct policy_watch **place)
{
    struct policy_watch *w = TAKE(place);

    CHECK_TAG(w, POLICY_WATCH);
    timer_stop(w->loop, &w->poll_timer);
    timer_stop(w->loop, &w->settle_timer);
    clear_folders(w);
    clear_inputs(w);
    w->tag = 0;
    free(w);
}

/* mountinfo writes space, tab, newline and backslash in octal (proc(5)). */
static void decode_octal(char *text)
{
    char *to = text;

    for (const char *at = text; *at != '\0'; to++) {
        if (at[0] == '\\' && at[1] >= '0' && at[1] <= '3' && at[2] >= '0' && at[2] <= '7' &&
            at[3] >= '0' && at[3] <= '7') {
            *to = (char)((at[1] - '0') * 64 + (at[2] - '0') * 8 + (at[3] - '0'));
            at += 4;
        } else {
            *to = *at++;
        }
    }
    *to = '\0';
}

bool policy_watch_is_mount(const char *file)
{
    char line[MAX_MOUNTINFO_LINE], point[MAX_MOUNTINFO_LINE];
    char *real = realpath(file, NULL);
    FILE *mounts = fopen("/proc/self/mountinfo", "re");
    bool is_mount = false;

    while (real != NULL && mounts != NULL && !is_mount &&
           fgets(line, sizeof(line), mounts) != NULL) {
        if (sscanf(line, "%*s %*s %*s %*s %8191s", point) != 1)
            continue;
        decode_octal(point);
        is_mount = strcmp(point, real) == 0;
    }
    if (mounts != NULL)
        fclose(mounts);
    free(real);
    return is_mount;
}
