/* The command line: lockkeeper run | check | explain | schema | version | help. */
#ifndef APP_CLI_H
#define APP_CLI_H

/* Exit codes, for every command. */
enum cli_exit {
    CLI_OK = 0,
    CLI_FAILED = 1, /* bad policies; could not start */
    CLI_USAGE = 2   /* the command line itself is wrong */
};

int cli_run(int argc, char **argv);

#endif
