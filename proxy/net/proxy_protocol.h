/* The header that a load balancer puts before a connection's own bytes to say who its client is:
 * HAProxy's PROXY protocol, versions 1 and 2
 * (https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt).  Pure; stream_preface.c does the
 * reading.
 *
 * Strict where the document leaves room: version 1 has single spaces, no leading zeros and at most
 * 107 bytes; reserved commands and families of version 2 are refused, as are TLVs that do not fill
 * the header exactly, and a header of more than PROXY_PROTOCOL_MAX_BYTES.  A CRC32c, when there is
 * one, must be right.  All other TLVs are skipped. */
#ifndef NET_PROXY_PROTOCOL_H
#define NET_PROXY_PROTOCOL_H

#include "base/slice.h"
#include "net/socket.h"

#define PROXY_PROTOCOL_MAX_BYTES 4096u

enum proxy_protocol_status {
    PROXY_PROTOCOL_MORE, /* all bytes belong to the header, and it is not complete */
    PROXY_PROTOCOL_DONE,
    PROXY_PROTOCOL_BAD
};

enum proxy_protocol_kind {
    PROXY_PROTOCOL_LOCAL,  /* the connection is the sender's own: a health check */
    PROXY_PROTOCOL_HIDDEN, /* relayed for somebody whose address is not told, or is no IP address */
    PROXY_PROTOCOL_SOURCE  /* relayed for source */
};

struct proxy_protocol_header {
    size_t len; /* bytes of the header; what follows is the connection's own */
    enum proxy_protocol_kind kind;
    union socket_address source;
};

/* bytes: all that has come so far.  On BAD *ret_reason says why: proxy-header-malformed, -too-long,
 * -checksum or -missing (static). */
MUST_USE enum proxy_protocol_status proxy_protocol_parse(struct slice bytes,
                                                         struct proxy_protocol_header *ret_header,
                                                         const char **ret_reason);

#endif
