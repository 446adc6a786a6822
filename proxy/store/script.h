/* The scripts of lua/, embedded at build time, with the SHA-1 that EVALSHA needs.  What a script
 * takes and gives is written in lua/README.md. */
#ifndef STORE_SCRIPT_H
#define STORE_SCRIPT_H

#include "base/slice.h"

/* X(enumerator, file stem in lua/).  Files may share parts: a line "-- @include name" is replaced
 * by lua/name.lua when the script is embedded. */
#define SCRIPT_LIST(X)                                                                             \
    X(LIMITS, limits)                                                                              \
    X(PRESENCE, presence)                                                                          \
    X(ADMIT, admit)                                                                                \
    X(RENEW, renew)                                                                                \
    X(RELEASE, release)                                                                            \
    X(FENCE, fence)                                                                                \
    X(BREAK, break)                                                                                \
    X(LOCK_SHOW, lock_show)                                                                        \
    X(PEEK, peek)                                                                                  \
    X(FORGET, forget)

#define SCRIPT_ENUM(id, stem) SCRIPT_##id,
enum script_id { SCRIPT_LIST(SCRIPT_ENUM) SCRIPT_COUNT };

struct script {
    const char *name; /* file stem */
    struct slice text;
    const char *sha1_hex; /* 40 digits */
};

/* Thread-safe; the SHA-1s are computed once. */
const struct script *script_get(enum script_id id);

#endif
