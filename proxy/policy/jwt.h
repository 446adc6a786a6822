/* Claims of JSON Web Tokens (RFC 7519) in compact form, for {jwt.CLAIM}.
 *
 * A verifier takes one algorithm, so a token cannot choose a weaker one: "none" and every other
 * "alg" are refused, as are "crit" headers, tokens over JWT_MAX_BYTES, duplicate JSON names and
 * base64url with padding or stray bits.  "exp" and "nbf" are checked when present.  With verify off
 * the signature is not looked at: right only behind something that has verified the token. */
#ifndef POLICY_JWT_H
#define POLICY_JWT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/slice.h"

#define JWT_MAX_BYTES 8192

enum jwt_algorithm { JWT_HS256, JWT_RS256, JWT_ES256 };

struct jwt_settings {
    bool verify;
    enum jwt_algorithm algorithm;
    struct slice secret;         /* HS256: at least 32 bytes */
    struct slice public_key_pem; /* RS256 (at least 2048 bits) and ES256 (P-256): the PEM text */
    struct slice issuer;         /* "iss" must be this; at == NULL: any */
    struct slice audience;       /* "aud" must be or contain this; at == NULL: any */
    uint64_t leeway_s;           /* allowed clock difference for exp and nbf */
};

struct jwt_verifier;

/* NULL and *ret_verifier, or a sentence that says what is wrong (static).  Copies what it needs.
 * A verifier never changes, so any thread may use it. */
MUST_USE const char *jwt_verifier_open(const struct jwt_settings *settings,
                                       struct jwt_verifier **ret_verifier);
/* *verifier becomes NULL; legal when it is. */
void jwt_verifier_close(struct jwt_verifier **verifier);

/* Why a token counts or does not. */
#define JWT_STATUSES(X)                                                                            \
    X(VALID, "valid")                                                                              \
    X(ABSENT, "no bearer token")                                                                   \
    X(MALFORMED, "not a well-formed token")                                                        \
    X(WRONG_ALGORITHM, "signed with another algorithm than the policy names")                      \
    X(BAD_SIGNATURE, "the signature does not match")                                               \
    X(EXPIRED, "expired")                                                                          \
    X(NOT_YET_VALID, "not valid yet")                                                              \
    X(WRONG_ISSUER, "issued by somebody else")                                                     \
    X(WRONG_AUDIENCE, "meant for another audience")
#define JWT_STATUS_ENUM(id, text) JWT_##id,
enum jwt_status { JWT_STATUSES(JWT_STATUS_ENUM) JWT_STATUS_COUNT };
const char *jwt_status_text(enum jwt_status status);

struct jwt_claim {
    struct slice name, value;
};

/* All claims that are strings, numbers or booleans; none unless status is JWT_VALID. */
struct jwt_claims {
    enum jwt_status status;
    const struct jwt_claim *items;
    size_t count;
};

/* authorization: value of the Authorization field, or at == NULL.  The result lives in arena. */
const struct jwt_claims *jwt_read(const struct jwt_verifier *verifier, struct slice authorization,
                                  uint64_t now_s, struct arena *arena);

/* The claim's text, or at == NULL. */
struct slice jwt_claim_find(const struct jwt_claims *claims, struct slice name);

#endif
