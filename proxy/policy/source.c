#include "policy/source.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

struct slice source_line(const struct source *source, unsigned line)
{
    struct slice rest = source->text, text = SLICE_NONE;

    for (unsigned at = 1; at <= line; at++)
        if (!slice_split(&rest, '\n', &text))
            return SLICE("");
    if (text.len > 0 && text.at[text.len - 1] == '\r')
        text.len--;
    return text;
}

/* Bytes 10xxxxxx continue a character of UTF-8. */
static bool continues_character(char byte)
{
    return ((unsigned char)byte & 0xC0) == 0x80;
}

struct source_mark source_mark_at(const struct source *source, size_t offset)
{
    struct source_mark mark = {source, 1, 1, 1};

    for (size_t i = 0; i < offset && i < source->text.len; i++) {
        if (source->text.at[i] == '\n') {
            mark.line++;
            mark.column = 1;
        } else if (!continues_character(source->text.at[i])) {
            mark.column++;
        }
    }
    return mark;
}

/* The descriptor is open; its size may differ from what stat said, so the read decides. */
static const char *read_open_file(struct arena *arena, int fd, size_t max_bytes,
                                  struct slice *ret_text)
{
    char *bytes = arena_alloc(arena, max_bytes + 1);
    size_t len = 0;

    while (len <= max_bytes) {
        ssize_t got = read(fd, bytes + len, max_bytes + 1 - len);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return arena_printf(arena, "cannot be read: %s", strerror(errno)).at;
        if (got == 0)
            break;
        len += (size_t)got;
    }
    if (len > max_bytes)
        return arena_printf(arena, "is too large: at most %zu bytes are read", max_bytes).at;
    *ret_text = slice_from(bytes, len);
    return NULL;
}

const char *source_read(struct arena *arena, const char *path, size_t max_bytes,
                        struct slice *ret_text)
{
    struct stat status;
    const char *problem;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    if (fd < 0)
        return arena_printf(arena, "cannot be opened: %s", strerror(errno)).at;
    /* A pipe or a device could block or never end. */
    if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) {
        problem = "is not a regular file";
    } else if (status.st_size > (off_t)max_bytes) {
        problem = arena_printf(arena, "is too large: at most %zu bytes are read", max_bytes).at;
    } else {
        /* One byte more than stat says, at least, so that a file that grows is noticed. */
        size_t room = (size_t)status.st_size + 4096;

        problem = read_open_file(arena, fd, room < max_bytes ? room : max_bytes, ret_text);
    }
    close(fd);
    return problem;
}
