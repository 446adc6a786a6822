#include "serve/trailers.h"

void trailers_add(struct trailers **place, struct slice piece, struct arena *arena)
{
    struct trailers *trailers = *place;

    if (trailers == NULL)
        trailers = *place = arena_calloc(arena, 1, sizeof(*trailers));
    if (trailers->len + piece.len > trailers->cap) {
        size_t cap = (trailers->len + piece.len) * 2;
        char *text = arena_alloc(arena, cap);

        if (trailers->len > 0)
            memcpy(text, trailers->text, trailers->len);
        trailers->text = text;
        trailers->cap = cap;
    }
    memcpy(trailers->text + trailers->len, piece.at, piece.len);
    trailers->len += piece.len;
}

static bool is_listed(const struct policy_settings *settings, struct slice name)
{
    for (size_t i = 0; i < settings->trailer_count; i++)
        if (slice_equal_nocase(settings->trailers[i], name))
            return true;
    return false;
}

size_t trailers_allowed(const struct trailers *trailers, const struct policy_settings *settings,
                        struct arena *arena, struct http_field **ret_fields)
{
    struct slice rest = slice_from(trailers->text, trailers->len), line;
    size_t count = 0, line_count = 0;

    for (size_t i = 0; i < rest.len; i++)
        line_count += rest.at[i] == '\n';
    *ret_fields = arena_alloc(arena, (line_count + 1) * sizeof(**ret_fields));
    while (rest.at != NULL && slice_split(&rest, '\n', &line)) {
        size_t colon = slice_find(line, ':');

        if (line.len == 0 || !is_listed(settings, slice_head(line, colon)))
            continue;
        CHECK(line.at[line.len - 1] == '\r');
        line.len--;
        (*ret_fields)[count++] = (struct http_field){
            .name = slice_head(line, colon), .value = slice_trim(slice_skip(line, colon + 1))};
    }
    return count;
}

bool trailers_are_wanted(const struct http_request *head)
{
    struct slice rest, coding;

    if (head->minor == 0 || head->fields.first[HTTP_FIELD_TE] == 0)
        return false;
    for (size_t i = head->fields.first[HTTP_FIELD_TE] - 1u; i < head->fields.count; i++) {
        if (head->fields.items[i].id != HTTP_FIELD_TE)
            continue;
        rest = head->fields.items[i].value;
        while (slice_split(&rest, ',', &coding))
            if (slice_equal_nocase(slice_trim(coding), SLICE("trailers")))
                return true;
    }
    return false;
}

void trailers_announce(struct http_fields *fields, const struct policy_settings *settings,
                       struct arena *arena)
{
    struct http_field *first = NULL;
    struct slice rest, name;
    size_t room = 0;
    char *start, *out;

    for (size_t i = 0; i < settings->trailer_count; i++)
        room += settings->trailers[i].len + 2;
    start = out = arena_alloc(arena, room + 1);
    /* Each name of the list once, in the order of the list. */
    for (size_t i = 0; i < settings->trailer_count; i++) {
        bool is_announced = false;

        for (size_t j = 0; j < fields->count && !is_announced; j++) {
            if (fields->items[j].id != HTTP_FIELD_TRAILER)
                continue;
            first = first != NULL ? first : &fields->items[j];
            rest = fields->items[j].value;
            while (slice_split(&rest, ',', &name))
                is_announced |= slice_equal_nocase(slice_trim(name), settings->trailers[i]);
        }
        if (!is_announced)
            continue;
        if (out > start) {
            memcpy(out, ", ", 2);
            out += 2;
        }
        memcpy(out, settings->trailers[i].at, settings->trailers[i].len);
        out += settings->trailers[i].len;
    }
    if (out == start)
        return;
    first->value = slice_from(start, (size_t)(out - start));
    first->is_dropped = false;
}
