/* The command line: lockkeeper run | check | explain | reload | drain | .... */
#ifndef APP_CLI_H
#define APP_CLI_H

/* Exit codes, for every command. */
enum cli_exit {
    CLI_OK = 0,
    CLI_FAILED = 1, /* bad policies; could not start; the running process said no, or nothing */
    CLI_USAGE = 2   /* the command line itself is wrong */
};

int cli_run(int argc, char **argv);

/* Says what is wrong with the line of this command, and how it is used.  Gives CLI_USAGE. */
int cli_usage_error(const char *command, const char *message);

#endif
