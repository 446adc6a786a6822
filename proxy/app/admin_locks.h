/* /locks of the admin port: who holds and who waits, in this process or over all of them, and the
 * forced release of a lock whose holder is stuck.  Each is a port_cb whose owner is a struct admin.
 */
#ifndef APP_ADMIN_LOCKS_H
#define APP_ADMIN_LOCKS_H

struct port_exchange;

/* GET /locks?count=N: what requests of this process hold and wait for.  With ?key=KEY: who holds
 * that lock and who waits for it over all processes of the store, as the store has it; ?shadow=true
 * for those that only watch. */
void admin_locks_list(void *owner, struct port_exchange *exchange);
/* DELETE /locks?key=KEY, or /locks/KEY: everybody who holds it is out, its fence refuses their
 * tokens from now on, and the queue goes on. */
void admin_locks_break(void *owner, struct port_exchange *exchange);

#endif
