/* The command line: lockkeeper run | check | explain | schema | version | help. */
#ifndef APP_COMMANDS_H
#define APP_COMMANDS_H

/* Exit codes, for every command. */
enum commands_exit {
    COMMANDS_OK = 0,
    COMMANDS_FAILED = 1, /* bad policies; could not start */
    COMMANDS_USAGE = 2   /* the command line itself is wrong */
};

int commands_run(int argc, char **argv);

#endif
