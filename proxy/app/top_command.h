/* The command line of `lockkeeper top`. */
#ifndef APP_TOP_COMMAND_H
#define APP_TOP_COMMAND_H

/* argv[0] is the command's name.  Gives an exit code (enum cli_exit); *ret_usage is set when the
 * command line is wrong. */
int top_command_run(int argc, char **argv, const char **ret_usage);

#endif
