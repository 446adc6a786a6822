/* A reply to a script, from either engine, and the reader that makes replies from what Redis sends.
 */
#ifndef STORE_REPLY_H
#define STORE_REPLY_H

#include <stdint.h>

#include "base/arena.h"
#include "base/check.h"
#include "base/slice.h"

enum reply_type { REPLY_NIL, REPLY_INTEGER, REPLY_STRING, REPLY_STATUS, REPLY_ERROR, REPLY_ARRAY };

/* All memory belongs to the store and is lent until the next call into it. */
struct reply {
    enum reply_type type;
    int64_t integer;
    struct slice text; /* string, status, error */
    const struct reply *elements;
    size_t element_count;
};

/* What an error reply means.  X(enumerator, how the text begins, what the operator should know).
 * The first entry that fits wins. */
#define REPLY_ERRORS(X)                                                                            \
    X(NOSCRIPT, "NOSCRIPT", "the store does not have the script")                                  \
    X(WRONGPASS, "WRONGPASS", "the store does not accept this user and password")                  \
    X(NOAUTH, "NOAUTH", "the store wants a password and its URL has none")                         \
    X(NOPERM, "NOPERM", "the store's user lacks the right to run this command")                    \
    X(DENIED, "DENIED", "the store is in protected mode: it wants a password or a bind address")   \
    X(LOADING, "LOADING", "the store is still loading its data")                                   \
    X(BUSY, "BUSY", "the store is busy with a slow script")                                        \
    X(MASTERDOWN, "MASTERDOWN", "the store is a replica that has lost its master")                 \
    X(READONLY, "READONLY", "the store is a read-only replica: the URL must name the master")      \
    X(MISCONF, "MISCONF", "the store refuses writes because it cannot save its data to disk")      \
    X(OOM, "OOM", "the store is out of memory (maxmemory) and refuses writes")                     \
    X(NOREPLICAS, "NOREPLICAS", "the store refuses writes: too few replicas are connected")        \
    X(MOVED, "MOVED", "the store is a cluster, but its URL names a single server")                 \
    X(ASK, "ASK", "the store is a cluster, but its URL names a single server")                     \
    X(CROSSSLOT, "CROSSSLOT", "the store is a cluster, but its URL names a single server")         \
    X(CLUSTERDOWN, "CLUSTERDOWN", "the store is a cluster and is down")                            \
    X(MAXCLIENTS, "ERR max number of clients", "the store has too many clients (maxclients)")      \
    X(NO_PASSWORD, "ERR AUTH <password> called without",                                           \
      "its URL has a password, the store has none")                                                \
    X(DB_RANGE, "ERR DB index is out of range", "the store has no database of this number")        \
    X(DB_INVALID, "ERR invalid DB index", "the store has no database of this number")              \
    X(STATE, "LKSTATE",                                                                            \
      "a key of the store holds something that Lockkeeper has not written there")                  \
    X(WRONGTYPE, "WRONGTYPE",                                                                      \
      "a key of the store holds something that Lockkeeper has not written there")                  \
    X(OTHER, "", "the store answered with an error")

#define REPLY_ERROR_ENUM(id, prefix, text) REPLY_ERROR_##id,
enum reply_error { REPLY_ERRORS(REPLY_ERROR_ENUM) REPLY_ERROR_COUNT };

/* Also finds the code that older servers wrap: "ERR Error running script ...: -OOM ...". */
enum reply_error reply_error_class(struct slice text);
/* What the operator should know; static. */
const char *reply_error_text(enum reply_error error);

/* Turns bytes into replies.  Nothing is allocated per reply once it has warmed up.  Bounded: a
 * reply may be max_bytes long on the wire, hold REPLY_MAX_ELEMENTS elements in all, and nest
 * 7 deep; anything beyond is a broken connection. */
#define REPLY_MAX_ELEMENTS (64u * 1024)

struct reply_reader;

enum reply_progress {
    REPLY_MORE,  /* all bytes are used up; more are needed for the next reply */
    REPLY_ONE,   /* one reply is ready */
    REPLY_BROKEN /* not the protocol, or beyond the bounds: the reader is of no use any more */
};

/* pool may be NULL; it must outlive the reader. */
struct reply_reader *reply_reader_open(struct arena_pool *pool, size_t max_bytes);
void reply_reader_close(struct reply_reader **reader);

/* Takes bytes from the front of *data.  The reply is lent until the next call. */
MUST_USE enum reply_progress reply_reader_next(struct reply_reader *reader, struct slice *data,
                                               const struct reply **ret_reply);
/* Why it is broken; lent. */
const char *reply_reader_error(const struct reply_reader *reader);
/* "0.14.1"; static. */
const char *reply_library_version(void);

#endif
