/* Assertions that stay on in release builds, and the small macros every file uses.
 *
 * A failed CHECK is a bug in Lockkeeper, never bad input: it prints where and aborts. */
#ifndef BASE_CHECK_H
#define BASE_CHECK_H

#include <stddef.h>

#define MUST_USE __attribute__((warn_unused_result))
#define PRINTF_LIKE(format_at, first_at) __attribute__((format(printf, format_at, first_at)))
#define UNUSED(x) ((void)(x))
#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* What a macro stands for, as text. */
#define TEXT_OF(macro) TEXT_OF_(macro)
#define TEXT_OF_(text) #text

_Noreturn void check_failed(const char *condition, const char *file, int line);

#define CHECK(condition)                                                                           \
    (__builtin_expect(!!(condition), 1) ? (void)0 : check_failed(#condition, __FILE__, __LINE__))

#define UNREACHED() check_failed("reached", __FILE__, __LINE__)

/* A typed object starts its life with tag = NAME_TAG and ends it with tag = 0, so that a stale or
 * wrong pointer is caught where it is used.  Each NAME_TAG is a 4-letter constant, unique in the
 * tree (make lint checks). */
#define CHECK_TAG(object, NAME) CHECK((object) != NULL && (object)->tag == NAME##_TAG)

/* Read a pointer and set the place it was in to NULL: ownership moves to the caller. */
#define TAKE(place)                                                                                \
    __extension__({                                                                                \
        __typeof__(*(place)) taken_ = *(place);                                                    \
        *(place) = NULL;                                                                           \
        taken_;                                                                                    \
    })

#define CONTAINER_OF(pointer, type, member)                                                        \
    ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

#endif
