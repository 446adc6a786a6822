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

#endif
