/* Reads the admin port again and again.  Signals come by a descriptor, so that nothing happens
 * behind the loop's back: the terminal is put back as it was on every way out. */
#include "app/top.h"

#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

#include "app/ask.h"
#include "app/cli.h"
#include "app/top_screen.h"
#include "app/top_view.h"
#include "base/buf.h"
#include "net/loop.h"

#define ANSWER_TIMEOUT_MS 3000
#define PAGE_COLUMNS 100
#define LISTED_ONCE 10
/* What the lists of a screen could show at most. */
#define LISTED 30

struct top {
    const struct top_options *options;
    struct arena arena; /* of the view */
    struct top_sample before, now;
    bool has_before;
    struct top_view view;
    int signal_fd;
    bool is_raw;
    struct termios saved;
};

/* ---- reading ---- */

static const char *ask(const struct top *top, const char *target, struct buf *body)
{
    const struct ask question = {.address = top->options->address,
                                 .method = "GET",
                                 .target = target,
                                 .timeout_ms = ANSWER_TIMEOUT_MS};
    unsigned status;
    const char *problem;

    buf_clear(body);
    problem = ask_port(&question, &status, body);
    if (problem != NULL)
        return problem;
    return status == 200 ? NULL : "the process refused to answer";
}

typedef void take_cb(struct top_view *view, const struct json_t *value, struct arena *arena);

static const char *take_json(struct top *top, const char *target, take_cb *take, struct buf *body)
{
    const char *problem = ask(top, target, body);
    json_t *value;

    if (problem != NULL)
        return problem;
    value = json_loadb(buf_slice(body).at, buf_len(body), 0, NULL);
    if (value == NULL)
        return "the answer is no JSON";
    take(&top->view, value, &top->arena);
    json_decref(value);
    return NULL;
}

static const char *read_metrics(struct top *top, struct buf *body)
{
    const char *problem = ask(top, "/metrics", body);

    if (problem != NULL)
        return problem;
    top->before = top->now;
    top_sample_read(buf_slice(body), loop_clock_us(), &top->now);
    top_view_compare(&top->view, top->has_before ? &top->before : &top->now, &top->now);
    top->has_before = true;
    return NULL;
}

/* Reads everything anew; the problem, if there is one, is in the view. */
static bool read_all(struct top *top)
{
    unsigned listed = top->options->is_once ? LISTED_ONCE : LISTED;
    char limits[40], locks[40];
    const char *problem;
    struct buf body;

    buf_init(&body, ASK_MAX_ANSWER_BYTES);
    arena_clear(&top->arena);
    top->view = (struct top_view){.address = top_view_escape(&top->arena, top->options->address)};
    snprintf(limits, sizeof(limits), "/limits?count=%u", listed);
    snprintf(locks, sizeof(locks), "/locks?count=%u", listed);
    problem = take_json(top, "/", top_view_take_about, &body);
    if (problem == NULL && top->view.state[0] == '\0')
        problem = ASK_STRANGER;
    if (problem == NULL)
        problem = read_metrics(top, &body);
    if (problem == NULL)
        problem = take_json(top, limits, top_view_take_limits, &body);
    if (problem == NULL)
        problem = take_json(top, locks, top_view_take_locks, &body);
    buf_clear(&body);
    top->view.problem = problem;
    return problem == NULL;
}

/* ---- one page ---- */

static void write_page(const struct top *top, const struct top_screen *screen)
{
    struct buf page;

    buf_init(&page, TOP_SCREEN_MAX_BYTES);
    top_screen_draw(screen, &top->view, &page);
    fwrite(buf_slice(&page).at, 1, buf_len(&page), stdout);
    fflush(stdout);
    buf_clear(&page);
}

static int run_once(struct top *top)
{
    const struct top_screen screen = {.columns = PAGE_COLUMNS};
    bool is_good = read_all(top);

    if (is_good) {
        /* Rates need two readings. */
        poll(NULL, 0, (int)top->options->interval_ms);
        is_good = read_all(top);
    }
    if (!is_good) {
        fprintf(stderr, "lockkeeper top: %s: %s\n", top->view.address, top->view.problem);
        return CLI_FAILED;
    }
    if (top->options->as_json) {
        json_t *value = top_view_json(&top->view);

        json_dumpf(value, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
        putchar('\n');
        json_decref(value);
    } else {
        write_page(top, &screen);
    }
    return CLI_OK;
}

/* ---- a terminal ---- */

static void say(const char *escape)
{
    fputs(escape, stdout);
    fflush(stdout);
}

/* The other screen, without echo and without a cursor. */
static void enter_terminal(struct top *top)
{
    struct termios raw = top->saved;

    raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    raw.c_cc[VMIN] = 0;
    raw.c_cc[VTIME] = 0;
    top->is_raw = tcsetattr(STDIN_FILENO, TCSAFLUSH, &raw) == 0;
    say("\x1b[?1049h\x1b[?25l\x1b[2J");
}

static void leave_terminal(struct top *top)
{
    say("\x1b[?25h\x1b[?1049l");
    if (top->is_raw)
        (void)!tcsetattr(STDIN_FILENO, TCSAFLUSH, &top->saved);
    top->is_raw = false;
}

static void draw(const struct top *top)
{
    struct winsize size = {.ws_row = 24, .ws_col = 80};
    struct top_screen screen = {.is_terminal = true};

    (void)!ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
    screen.rows = size.ws_row > 0 ? size.ws_row : 24;
    screen.columns = size.ws_col > 0 ? size.ws_col : 80;
    write_page(top, &screen);
}

static bool open_signals(struct top *top)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP, SIGWINCH, SIGTSTP, SIGCONT};
    sigset_t set;

    sigemptyset(&set);
    for (size_t i = 0; i < COUNT_OF(numbers); i++)
        sigaddset(&set, numbers[i]);
    if (sigprocmask(SIG_BLOCK, &set, NULL) != 0)
        return false;
    top->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    return top->signal_fd >= 0;
}

/* False: it is over. */
static bool take_signals(struct top *top)
{
    struct signalfd_siginfo info;

    while (read(top->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        switch (info.ssi_signo) {
        case SIGTSTP:
            leave_terminal(top);
            (void)!raise(SIGSTOP);
            break;
        case SIGCONT:
            if (!top->is_raw)
                enter_terminal(top);
            draw(top);
            break;
        case SIGWINCH:
            say("\x1b[2J");
            draw(top);
            break;
        default:
            return false;
        }
    }
    return true;
}

/* False: it is over.  *ret_is_due: somebody wants to see it now. */
static bool take_keys(bool *ret_is_due)
{
    char keys[64];
    ssize_t count = read(STDIN_FILENO, keys, sizeof(keys));

    if (count <= 0)
        return count < 0 && (errno == EAGAIN || errno == EINTR);
    for (ssize_t i = 0; i < count; i++) {
        if (keys[i] == 'q' || keys[i] == 'Q' || keys[i] == 3 /* Ctrl-C */)
            return false;
        *ret_is_due |= keys[i] == ' ' || keys[i] == '\n' || keys[i] == '\r';
    }
    return true;
}

/* Until it is time to read again; false: it is over. */
static bool wait_for(struct top *top, uint64_t until_us)
{
    bool is_due = false;

    while (!is_due) {
        struct pollfd fds[2] = {{.fd = STDIN_FILENO, .events = POLLIN},
                                {.fd = top->signal_fd, .events = POLLIN}};
        uint64_t now_us = loop_clock_us();

        if (now_us >= until_us)
            return true;
        if (poll(fds, 2, (int)((until_us - now_us + 999) / 1000)) < 0 && errno != EINTR)
            return false;
        if (fds[1].revents != 0 && !take_signals(top))
            return false;
        if (fds[0].revents != 0 && !take_keys(&is_due))
            return false;
    }
    return true;
}

static int run_live(struct top *top)
{
    uint64_t due_us = loop_clock_us();

    if (tcgetattr(STDIN_FILENO, &top->saved) != 0 || !open_signals(top)) {
        fprintf(stderr, "lockkeeper top: %s\n", strerror(errno));
        return CLI_FAILED;
    }
    enter_terminal(top);
    do {
        (void)read_all(top);
        draw(top);
        due_us += top->options->interval_ms * 1000;
        /* Not to catch up after a stop or a slow answer. */
        if (due_us < loop_clock_us())
            due_us = loop_clock_us() + top->options->interval_ms * 1000;
    } while (wait_for(top, due_us));
    leave_terminal(top);
    close(top->signal_fd);
    return CLI_OK;
}

int top_run(const struct top_options *options)
{
    struct top_options chosen = *options;
    struct top top = {.options = &chosen};
    int code;

    chosen.is_once |= chosen.as_json || isatty(STDOUT_FILENO) != 1 || isatty(STDIN_FILENO) != 1;
    arena_init(&top.arena, NULL);
    code = chosen.is_once ? run_once(&top) : run_live(&top);
    arena_clear(&top.arena);
    return code;
}
