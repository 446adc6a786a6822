#include "serve/gate.h"

#include "base/check.h"

/* A short last piece is held as a whole; of a long one the last byte is enough. */
#define HELD_BYTES 4096u
#define MAX_HELD_BYTES (1024u * 1024)

void gate_init(struct gate *gate)
{
    *gate = (struct gate){.left_bytes = UINT64_MAX};
    buf_init(&gate->body, MAX_HELD_BYTES);
    buf_init(&gate->upload, MAX_HELD_BYTES);
}

void gate_clear(struct gate *gate)
{
    buf_clear(&gate->body);
    buf_clear(&gate->upload);
}

static bool ends_with_head(const struct http_response *head, bool is_head_request)
{
    return is_head_request || head->status == 204 || head->status == 304 ||
           head->body == HTTP_BODY_NONE ||
           (head->body == HTTP_BODY_LENGTH && head->content_length == 0);
}

bool gate_take_head(struct gate *gate, const struct http_response *head, bool is_head_request)
{
    bool is_end = ends_with_head(head, is_head_request);

    if (!is_end && head->body == HTTP_BODY_LENGTH)
        gate->left_bytes = head->content_length;
    if (!gate->is_paused && !is_end)
        return true;
    gate->head = head;
    return false;
}

static void hold(struct gate *gate, struct slice data)
{
    /* The service is not read while anything but the end is held. */
    if (!buf_append(&gate->body, data))
        UNREACHED();
}

struct slice gate_take_body(struct gate *gate, struct slice data)
{
    size_t held = 0;

    if (gate->left_bytes != UINT64_MAX) {
        gate->left_bytes -= data.len < gate->left_bytes ? data.len : gate->left_bytes;
        if (gate->left_bytes == 0)
            held = data.len <= HELD_BYTES ? data.len : 1;
    }
    if (gate->is_paused || gate->head != NULL)
        held = data.len;
    if (held > 0)
        hold(gate, slice_skip(data, data.len - held));
    return slice_head(data, data.len - held);
}
