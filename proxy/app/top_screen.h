/* Draws what `lockkeeper top` shows as lines of text. */
#ifndef APP_TOP_SCREEN_H
#define APP_TOP_SCREEN_H

#include "app/top_view.h"
#include "base/buf.h"

struct top_screen {
    unsigned columns, rows; /* rows 0: as many as there is to say */
    bool is_terminal;       /* draws over what is there, and marks headings */
};

/* Appends the page to out, which must have room for it: TOP_SCREEN_MAX_BYTES. */
#define TOP_SCREEN_MAX_BYTES ((size_t)4 * 1024 * 1024)
void top_screen_draw(const struct top_screen *screen, const struct top_view *view, struct buf *out);

#endif
