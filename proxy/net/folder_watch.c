#include "net/folder_watch.h"

#include <stdlib.h>

#include "net/loop_private.h"

#define FOLDER_WATCH_TAG 0x46575443u /* "FWTC" */

struct folder_watch {
    uint32_t tag;
    uv_fs_event_t handle;
    struct loop *loop;
    void (*on_change)(void *owner); /* NULL: closed */
    void *owner;
};

static void on_event(uv_fs_event_t *handle, const char *name, int events, int status)
{
    struct folder_watch *w = handle->data;

    UNUSED(name);
    UNUSED(events);
    UNUSED(status); /* an error is worth a look, too */
    CHECK_TAG(w, FOLDER_WATCH);
    if (w->on_change != NULL)
        w->on_change(w->owner);
}

static void on_closed(uv_handle_t *handle)
{
    struct folder_watch *w = handle->data;

    CHECK_TAG(w, FOLDER_WATCH);
    w->loop->open_count--;
    w->tag = 0;
    free(w);
}

int folder_watch_open(struct loop *loop, const char *path, void (*on_change)(void *owner),
                      void *owner, struct folder_watch **ret_watch)
{
    struct folder_watch *w = mem_calloc(1, sizeof(*w));
    int error = uv_fs_event_init(&loop->uv, &w->handle);

    CHECK(error == 0); /* it only links the handle into the loop */
    w->tag = FOLDER_WATCH_TAG;
    w->handle.data = w;
    w->loop = loop;
    loop->open_count++;
    error = uv_fs_event_start(&w->handle, on_event, path, 0);
    if (error != 0) {
        uv_close((uv_handle_t *)&w->handle, on_closed);
        return error;
    }
    uv_unref((uv_handle_t *)&w->handle);
    w->on_change = on_change;
    w->owner = owner;
    loop->owned_count++;
    *ret_watch = w;
    return 0;
}

void folder_watch_close(struct folder_watch **place)
{
    struct folder_watch *w = TAKE(place);

    CHECK_TAG(w, FOLDER_WATCH);
    w->on_change = NULL;
    w->loop->owned_count--;
    uv_close((uv_handle_t *)&w->handle, on_closed);
}
