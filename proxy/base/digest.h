/* Message digests by OpenSSL. */
#ifndef BASE_DIGEST_H
#define BASE_DIGEST_H

#include <stdint.h>

#include "base/slice.h"

void digest_sha1_hex(struct slice data, char ret_hex[41]);
void digest_sha256(struct slice data, uint8_t ret_digest[32]);
/* Keyed with key (RFC 2104). */
void digest_hmac_sha256(struct slice key, struct slice data, uint8_t ret_digest[32]);
/* The first 16 bytes of SHA-256 in hex: for names that must not collide. */
void digest_short_hex(struct slice data, char ret_hex[33]);

/* "OpenSSL 3.0.15 3 Sep 2024": of the library in use. */
const char *digest_library_version(void);

#endif
