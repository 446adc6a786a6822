/* The commands that ask a running process: drain, reload, healthcheck. */
#ifndef APP_REMOTE_H
#define APP_REMOTE_H

#include <stddef.h>

struct arena;

/* argv[0] is the command's name.  Each gives an exit code (enum cli_exit). */
int remote_drain(int argc, char **argv);
int remote_reload(int argc, char **argv);
int remote_healthcheck(int argc, char **argv);

/* Where these policies (none: the defaults) have the port that option gives, "--admin" or
 * "--metrics"; in arena.  NULL: it cannot be told, which has been said. */
const char *remote_find_address(const char *command, const char *option, const char *const *paths,
                                size_t path_count, struct arena *arena);

#endif
