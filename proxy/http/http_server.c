/* The connections of one worker as a whole. */
#include "http/http_conn_private.h"

/* For the first request of a new connection, while draining. */
#define FRESH_MS 1000

void http_server_init(struct http_server *server, struct loop *loop,
                      const struct http_conn_events *events, void *env)
{
    *server = (struct http_server){.loop = loop, .events = events, .env = env};
    list_init(&server->active);
    list_init(&server->idle);
    list_init(&server->dead);
}

void http_server_accept(struct http_server *server, struct stream *stream)
{
    http_conn_open(server, stream);
}

void http_server_drain(struct http_server *server)
{
    server->is_draining = true;
    LIST_EACH (&server->idle, node) {
        struct http_conn *conn = CONTAINER_OF(node, struct http_conn, node);

        /* A client takes the end of a connection between two requests for what it is, and asks
         * again; one that has just connected would take it for a failure. */
        if (conn->request_number == 0)
            http_conn_start_timer(conn, FRESH_MS);
        else
            http_conn_finish(conn);
    }
}

bool http_server_shed(struct http_server *server)
{
    struct list_node *node = list_first(&server->idle);

    if (node != NULL) {
        http_conn_abort(CONTAINER_OF(node, struct http_conn, node));
        return true;
    }
    /* Of some only a part of the head has come. */
    LIST_EACH (&server->active, other) {
        struct http_conn *conn = CONTAINER_OF(other, struct http_conn, node);

        if (!http_conn_is_handled(conn)) {
            http_conn_abort(conn);
            return true;
        }
    }
    return false;
}

void http_server_close(struct http_server *server)
{
    struct list_node *node;

    while ((node = list_first(&server->active)) != NULL ||
           (node = list_first(&server->idle)) != NULL) {
        struct http_conn *conn = CONTAINER_OF(node, struct http_conn, node);

        if (http_conn_is_handled(conn))
            http_conn_tell_gone(conn, HTTP_GONE_SHUTDOWN);
        http_conn_abort(conn);
    }
    while ((node = list_first(&server->dead)) != NULL)
        http_conn_free(CONTAINER_OF(node, struct http_conn, node));
}
