/* The commands that ask a running process: drain, reload, healthcheck. */
#ifndef APP_REMOTE_H
#define APP_REMOTE_H

#include "base/check.h"

/* argv[0] is the command's name.  Each gives an exit code (enum cli_exit); *ret_usage is set when
 * the command line is wrong. */
int remote_drain(int argc, char **argv, const char **ret_usage);
int remote_reload(int argc, char **argv, const char **ret_usage);
int remote_healthcheck(int argc, char **argv, const char **ret_usage);

#endif
