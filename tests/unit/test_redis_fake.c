/* A connection to a server that misbehaves: a thread that reads commands as Redis does, answers the
 * handshake, and then says what the case wants. */
#include "unit/redis_fixture.h"

#include <pthread.h>
#include <stdatomic.h>

#include "store/redis_conn.h"

#define TIMEOUT_MS 100u

enum fake_end { FAKE_CLOSE, FAKE_HOLD };

struct fake_case {
    const char *name;
    const char *greeting;       /* said before anything was asked; NULL: nothing */
    const char *handshake;      /* the answer to every command of the handshake; NULL: as Redis */
    const char *answer;         /* to the first script call; NULL: none */
    enum fake_end end;          /* then */
    unsigned close_after_count; /* commands of the handshake; 0: all are answered */
    bool is_ready_first;        /* the handshake succeeds */
    enum store_result result;   /* of the call, when it does */
    bool is_lost;               /* the connection is given up */
};

/* For a connection that subscribes: what follows on the SUBSCRIBE. */
struct push_case {
    const char *name;
    const char *answer;
    bool is_ready;          /* subscribed */
    unsigned message_count; /* that come, each "hello" */
    bool is_lost;           /* the connection is given up */
};

struct fake {
    const struct fake_case *fake_case;
    const char *push; /* the answer to SUBSCRIBE */
    char dir[64], path[96], url[128];
    int listener, stop_pipe[2];
    pthread_t thread;
    atomic_uint accepted_count;
};

/* --- the server's side --- */

struct fake_reader {
    int fd, stop_fd;
    size_t start, end;
    char bytes[16384];
};

/* One byte, or -1 when the client is gone or the test is over. */
static int next_byte(struct fake_reader *reader)
{
    struct pollfd fds[2] = {{.fd = reader->fd, .events = POLLIN},
                            {.fd = reader->stop_fd, .events = POLLIN}};
    ssize_t got;

    if (reader->start < reader->end)
        return reader->bytes[reader->start++];
    if (poll(fds, 2, -1) < 0 || (fds[1].revents & POLLIN) != 0)
        return -1;
    got = read(reader->fd, reader->bytes, sizeof(reader->bytes));
    if (got <= 0)
        return -1;
    reader->start = 1;
    reader->end = (size_t)got;
    return reader->bytes[0];
}

static long next_number(struct fake_reader *reader, char mark)
{
    long value = 0;
    int c = next_byte(reader);

    if (c < 0 || c != mark)
        return -1;
    while ((c = next_byte(reader)) >= '0' && c <= '9')
        value = value * 10 + (c - '0');
    return c == '\r' && next_byte(reader) == '\n' ? value : -1;
}

/* The first word of the next command; false when there is none. */
static bool next_command(struct fake_reader *reader, char word[32])
{
    long parts = next_number(reader, '*');

    for (long part = 0; part < parts; part++) {
        long len = next_number(reader, '$');

        if (len < 0)
            return false;
        for (long i = 0; i < len + 2; i++) {
            int c = next_byte(reader);

            if (c < 0)
                return false;
            if (part == 0 && i < 31)
                word[i] = i < len ? (char)c : '\0';
        }
    }
    return parts > 0;
}

static void say(int fd, const char *text)
{
    size_t len = text != NULL ? strlen(text) : 0;

    if (len > 0 && send(fd, text, len, MSG_NOSIGNAL) < 0)
        return; /* the client has left: it may */
}

static void serve(struct fake *fake, int fd)
{
    const struct fake_case *c = fake->fake_case;
    struct fake_reader *reader = calloc(1, sizeof(*reader));
    char word[32];
    unsigned count = 0;

    reader->fd = fd;
    reader->stop_fd = fake->stop_pipe[0];
    say(fd, c->greeting);
    while (next_command(reader, word)) {
        bool is_call = strncmp(word, "EVAL", 4) == 0;

        count++;
        if (strcmp(word, "SUBSCRIBE") == 0)
            say(fd, fake->push);
        else if (!is_call)
            say(fd, c->handshake != NULL ? c->handshake : "+OK\r\n");
        else
            say(fd, c->answer);
        if (c->end == FAKE_CLOSE && (is_call || count == c->close_after_count))
            break;
    }
    free(reader);
}

static void *fake_run(void *argument)
{
    struct fake *fake = argument;

    for (;;) {
        struct pollfd fds[2] = {{.fd = fake->listener, .events = POLLIN},
                                {.fd = fake->stop_pipe[0], .events = POLLIN}};
        int fd;

        if (poll(fds, 2, -1) < 0 || (fds[1].revents & POLLIN) != 0)
            return NULL;
        fd = accept(fake->listener, NULL, NULL);
        if (fd < 0)
            continue;
        atomic_fetch_add(&fake->accepted_count, 1);
        serve(fake, fd);
        close(fd);
    }
}

static void fake_open(struct fake *fake, const struct fake_case *c, const char *push)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    *fake = (struct fake){.fake_case = c, .push = push};
    strcpy(fake->dir, "/tmp/lockkeeper-test-XXXXXX");
    assert_non_null(mkdtemp(fake->dir));
    snprintf(fake->path, sizeof(fake->path), "%s/fake.sock", fake->dir);
    snprintf(fake->url, sizeof(fake->url), "unix://%s", fake->path);
    memcpy(address.sun_path, fake->path, strlen(fake->path) + 1);
    fake->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fake->listener, (const struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(fake->listener, 10), 0);
    assert_int_equal(pipe2(fake->stop_pipe, O_CLOEXEC), 0);
    assert_int_equal(pthread_create(&fake->thread, NULL, fake_run, fake), 0);
}

static void fake_close(struct fake *fake)
{
    assert_int_equal(write(fake->stop_pipe[1], "x", 1), 1);
    pthread_join(fake->thread, NULL);
    close(fake->listener);
    close(fake->stop_pipe[0]);
    close(fake->stop_pipe[1]);
    unlink(fake->path);
    assert_int_equal(rmdir(fake->dir), 0);
}

/* --- our side --- */

struct client {
    struct fake fake;
    struct loop *loop;
    struct redis_conn *conn;
    struct store_call call;
    enum store_result result;
    unsigned ready_count, lost_count, done_count;
    uint64_t started_at_us, took_us;
    unsigned accepted_wanted;
};

static const struct script *get_script(enum script_id id)
{
    static const struct script script = {"fake", SLICE_INIT("return 1"),
                                         "e0e1f9fabfc9d4800c877a703b823ac0578ff8db"};

    UNUSED(id);
    return &script;
}

static void on_ready(void *owner)
{
    struct client *client = owner;

    client->ready_count++;
    if (client->ready_count > 1)
        return;
    client->call = (struct store_call){.script = SCRIPT_LIMITS};
    client->started_at_us = loop_clock_us();
    client->result = redis_conn_eval(client->conn, &client->call);
    assert_int_equal(client->result, STORE_PENDING);
}

static void on_lost(void *owner)
{
    struct client *client = owner;

    client->lost_count++;
    assert_false(client->call.is_pending);
}

static void on_done(void *owner, struct store_call *call, enum store_result result,
                    const struct reply *reply)
{
    struct client *client = owner;

    UNUSED(reply);
    assert_ptr_equal(call, &client->call);
    client->result = result;
    client->took_us = loop_clock_us() - client->started_at_us;
    client->done_count++;
}

static void on_caught_up(void *owner)
{
    UNUSED(owner);
}

static const struct redis_conn_events events = {
    .on_ready = on_ready, .on_lost = on_lost, .on_done = on_done, .on_caught_up = on_caught_up};

static bool is_done(void *context)
{
    return ((struct client *)context)->done_count > 0;
}

static bool has_tried_again(void *context)
{
    struct client *client = context;

    return atomic_load(&client->fake.accepted_count) >= client->accepted_wanted;
}

static const struct fake_case fake_cases[] = {
    {"good", NULL, NULL, ":1\r\n", FAKE_HOLD, 0, true, STORE_OK, false},
    {"busy", NULL, NULL, "-BUSY Redis is busy\r\n", FAKE_HOLD, 0, true, STORE_REFUSED, false},
    {"silent", NULL, NULL, NULL, FAKE_HOLD, 0, true, STORE_UNKNOWN, true},
    {"closed at the call", NULL, NULL, NULL, FAKE_CLOSE, 0, true, STORE_UNKNOWN, true},
    {"half a reply", NULL, NULL, "$10\r\nhalf", FAKE_CLOSE, 0, true, STORE_UNKNOWN, true},
    {"half and silent", NULL, NULL, "*3\r\n:1\r\n$9\r\nabc", FAKE_HOLD, 0, true, STORE_UNKNOWN,
     true},
    {"not the protocol", NULL, NULL, "HTTP/1.1 200 OK\r\n\r\n", FAKE_HOLD, 0, true, STORE_UNKNOWN,
     true},
    {"bad integer", NULL, NULL, ":12x\r\n", FAKE_HOLD, 0, true, STORE_UNKNOWN, true},
    {"too deep", NULL, NULL, "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n",
     FAKE_HOLD, 0, true, STORE_UNKNOWN, true},
    {"too many elements", NULL, NULL, "*2000000000\r\n", FAKE_HOLD, 0, true, STORE_UNKNOWN, true},
    {"a promise of gigabytes", NULL, NULL, "$9000000000\r\nabc", FAKE_HOLD, 0, true, STORE_UNKNOWN,
     true},
    {"one reply too many", NULL, NULL, ":1\r\n:2\r\n", FAKE_HOLD, 0, true, STORE_OK, true},
    {"NOSCRIPT for ever", NULL, NULL, "-NOSCRIPT No matching script\r\n", FAKE_HOLD, 0, true,
     STORE_REFUSED, false},
    {"closed at once", NULL, NULL, NULL, FAKE_CLOSE, 1, false, STORE_PENDING, false},
    {"closed in the handshake", NULL, NULL, NULL, FAKE_CLOSE, 3, false, STORE_PENDING, false},
    {"a greeting", "-ERR max number of clients reached\r\n", NULL, NULL, FAKE_CLOSE, 1, false,
     STORE_PENDING, false},
    {"protected", "-DENIED Redis is running in protected mode\r\n", NULL, NULL, FAKE_CLOSE, 1,
     false, STORE_PENDING, false},
    {"loading", NULL, "-LOADING Redis is loading the dataset in memory\r\n", NULL, FAKE_HOLD, 0,
     false, STORE_PENDING, false},
    {"garbage in the handshake", NULL, "\x01\x02\x03", NULL, FAKE_HOLD, 0, false, STORE_PENDING,
     false},
    {"silent in the handshake", NULL, "", NULL, FAKE_HOLD, 0, false, STORE_PENDING, false},
    {"odd answers to the handshake", NULL, "*2\r\n$-1\r\n:1\r\n", ":1\r\n", FAKE_HOLD, 0, true,
     STORE_OK, false},
};

static void run_case(const struct fake_case *c)
{
    struct client client = {.result = STORE_PENDING};
    struct redis_conn_settings settings = {.timeout_ms = TIMEOUT_MS,
                                           .connect_timeout_ms = 300,
                                           .max_pending = 10,
                                           .get_script = get_script};

    fake_open(&client.fake, c, NULL);
    settings.url = client.fake.url;
    assert_int_equal(loop_open(&client.loop), 0);
    client.conn = redis_conn_open(client.loop, &settings, &events, &client, NULL);
    if (c->is_ready_first) {
        assert_true(wait_until(client.loop, is_done, &client, 2000));
        assert_int_equal(client.result, c->result);
        assert_true(client.took_us < (TIMEOUT_MS + 250) * 1000);
    }
    /* Where the connection is given up, the next attempt follows by itself. */
    client.accepted_wanted = !c->is_ready_first ? 3 : c->is_lost ? 2 : 1;
    assert_true(wait_until(client.loop, has_tried_again, &client, 6000));
    assert_int_equal(client.ready_count > 0, c->is_ready_first);
    assert_int_equal(client.lost_count > 0, c->is_lost);
    assert_int_equal(client.done_count, c->is_ready_first);
    redis_conn_close(&client.conn, 0);
    loop_close(&client.loop);
    fake_close(&client.fake);
}

static void every_misbehaviour_ends_the_call_in_time(void **state)
{
    UNUSED(state);
    for (size_t i = 0; i < COUNT_OF(fake_cases); i++) {
        print_message("%s\n", fake_cases[i].name);
        run_case(&fake_cases[i]);
    }
}

/* --- messages --- */

#define SUBSCRIBED "*3\r\n$9\r\nsubscribe\r\n$2\r\nch\r\n:1\r\n"
#define HELLO "*3\r\n$7\r\nmessage\r\n$2\r\nch\r\n$5\r\nhello\r\n"

static const struct push_case push_cases[] = {
    {"good", SUBSCRIBED HELLO HELLO, true, 2, false},
    {"another channel", SUBSCRIBED "*3\r\n$7\r\nmessage\r\n$2\r\nco\r\n$5\r\nworld\r\n" HELLO, true,
     1, false},
    {"no channel", SUBSCRIBED "*3\r\n$7\r\nmessage\r\n$-1\r\n$5\r\nworld\r\n" HELLO, true, 1,
     false},
    {"unsubscribed by the server",
     SUBSCRIBED HELLO "*3\r\n$11\r\nunsubscribe\r\n$2\r\nch\r\n:0\r\n" HELLO, true, 1, true},
    {"an answer to nothing", SUBSCRIBED HELLO "+OK\r\n", true, 1, true},
    {"a pong to nothing", SUBSCRIBED HELLO "*2\r\n$4\r\npong\r\n$0\r\n\r\n", true, 1, true},
    {"not a push", SUBSCRIBED HELLO "*3\r\n:1\r\n:2\r\n:3\r\n", true, 1, true},
    {"an empty array", SUBSCRIBED HELLO "*0\r\n", true, 1, true},
    {"not the protocol", SUBSCRIBED HELLO "HTTP/1.1 200 OK\r\n\r\n", true, 1, true},
    {"refused", "-NOPERM this user has no permissions to access the channel\r\n", false, 0, false},
    {"not subscribed", "+OK\r\n" HELLO, false, 0, false},
    {"silent", NULL, false, 0, false},
};

struct hearer {
    struct client client; /* its fake, its loop and its connection */
    unsigned message_count, messages_wanted;
};

static void on_push_ready(void *owner)
{
    ((struct hearer *)owner)->client.ready_count++;
}

static void on_push_lost(void *owner)
{
    ((struct hearer *)owner)->client.lost_count++;
}

static void on_push(void *owner, struct slice message)
{
    struct hearer *hearer = owner;

    assert_slice_equal(message, SLICE("hello"));
    hearer->message_count++;
}

static const struct redis_conn_events push_events = {
    .on_ready = on_push_ready, .on_lost = on_push_lost, .on_message = on_push};

static bool has_heard(void *context)
{
    struct hearer *hearer = context;

    return hearer->message_count >= hearer->messages_wanted;
}

static void run_push_case(const struct push_case *c)
{
    static const struct fake_case server = {.end = FAKE_HOLD};
    struct hearer hearer = {.messages_wanted = c->message_count};
    struct client *client = &hearer.client;
    struct redis_conn_settings settings = {.timeout_ms = TIMEOUT_MS,
                                           .connect_timeout_ms = 300,
                                           .max_pending = 10,
                                           .get_script = get_script,
                                           .channel = SLICE("ch")};

    fake_open(&client->fake, &server, c->answer);
    settings.url = client->fake.url;
    assert_int_equal(loop_open(&client->loop), 0);
    client->conn = redis_conn_open(client->loop, &settings, &push_events, &hearer, NULL);
    assert_true(wait_until(client->loop, has_heard, &hearer, 2000));
    client->accepted_wanted = c->is_lost || !c->is_ready ? 2 : 1;
    assert_true(wait_until(client->loop, has_tried_again, client, 6000));
    assert_int_equal(client->ready_count > 0, c->is_ready);
    assert_int_equal(client->lost_count > 0, c->is_lost);
    /* As many from each connection; of the newest perhaps not all yet. */
    assert_true(hearer.message_count <= c->message_count * client->fake.accepted_count);
    redis_conn_close(&client->conn, 0);
    loop_close(&client->loop);
    fake_close(&client->fake);
}

static void only_messages_of_the_channel_come(void **state)
{
    UNUSED(state);
    for (size_t i = 0; i < COUNT_OF(push_cases); i++) {
        print_message("%s\n", push_cases[i].name);
        run_push_case(&push_cases[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_misbehaviour_ends_the_call_in_time),
        cmocka_unit_test(only_messages_of_the_channel_come),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
