/* /limits of the admin port: what each limit has decided and about whom, the state of one key, and
 * forgetting it.  Each is a port_cb whose owner is a struct admin. */
#ifndef APP_ADMIN_LIMITS_H
#define APP_ADMIN_LIMITS_H

struct port_exchange;

/* GET /limits?count=N: every limit with its N top keys of each kind. */
void admin_limits_list(void *owner, struct port_exchange *exchange);
/* GET /limits/ROUTE/LIMIT: that limit alone.  With ?key=VALUE (or ?shared=true; neither for a limit
 * without a key): what it would answer that key now, with ?cost=N if need be. */
void admin_limits_get(void *owner, struct port_exchange *exchange);
/* DELETE /limits/ROUTE/LIMIT?key=VALUE: forgets what the key has used. */
void admin_limits_forget(void *owner, struct port_exchange *exchange);

#endif
