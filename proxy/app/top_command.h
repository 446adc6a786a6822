/* The command line of `lockkeeper top`. */
#ifndef APP_TOP_COMMAND_H
#define APP_TOP_COMMAND_H

/* argv[0] is the command's name.  Gives an exit code (enum cli_exit). */
int top_command_run(int argc, char **argv);

#endif
