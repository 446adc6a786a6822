/* What the port for operators shows of the policies in force. */
#ifndef APP_ADMIN_CONFIG_H
#define APP_ADMIN_CONFIG_H

struct port_exchange;

/* Endpoints (port_cb; owner is a struct admin).  /config: the policies with their defaults, without
 * secrets.  /routes: the routes in the order in which they are tried, with what they have answered.
 */
void admin_config_answer(void *owner, struct port_exchange *exchange);
void admin_config_answer_routes(void *owner, struct port_exchange *exchange);

#endif
