#include "policy/jwt.h"

#include <jansson.h>
#include <math.h>
#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <stdlib.h>

#define MIN_SECRET_BYTES 32u
#define MIN_RSA_BITS 2048
#define P256_BYTES 32 /* of each half of a signature */
/* The longest DER form of two 32-byte integers. */
#define P256_DER_MAX_BYTES 72

struct jwt_verifier {
    struct jwt_settings settings; /* its slices point into the copies below */
    char *secret, *issuer, *audience;
    EVP_PKEY *key; /* NULL for HS256 and when verify is off */
};

static const char *const algorithm_names[] = {
    [JWT_HS256] = "HS256", [JWT_RS256] = "RS256", [JWT_ES256] = "ES256"};

const char *jwt_status_text(enum jwt_status status)
{
#define JWT_STATUS_TEXT(id, text) [JWT_##id] = text,
    static const char *const texts[] = {JWT_STATUSES(JWT_STATUS_TEXT)};

    CHECK(status < JWT_STATUS_COUNT);
    return texts[status];
}

/* A copy owned by *ret_owned; absent stays absent. */
static struct slice own_copy(struct slice s, char **ret_owned)
{
    if (s.at == NULL)
        return SLICE_NONE;
    *ret_owned = mem_copy_slice(s);
    return slice_from(*ret_owned, s.len);
}

static const char *read_key(const struct jwt_settings *settings, EVP_PKEY **ret_key)
{
    BIO *bio;
    EVP_PKEY *key;
    char group[32] = "";
    size_t group_len = 0;
    const char *wrong = NULL;

    if (settings->public_key_pem.len == 0)
        return "RS256 and ES256 need a public key";
    if (settings->public_key_pem.len > 65536)
        return "the public key is longer than 64 KiB";
    bio = BIO_new_mem_buf(settings->public_key_pem.at, (int)settings->public_key_pem.len);
    CHECK(bio != NULL);
    key = PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL);
    BIO_free(bio);
    ERR_clear_error();
    if (key == NULL)
        return "the public key is not PEM (it begins with \"-----BEGIN PUBLIC KEY-----\")";
    if (settings->algorithm == JWT_RS256 && !EVP_PKEY_is_a(key, "RSA"))
        wrong = "RS256 needs an RSA public key";
    else if (settings->algorithm == JWT_RS256 && EVP_PKEY_get_bits(key) < MIN_RSA_BITS)
        wrong = "an RSA key needs at least 2048 bits";
    else if (settings->algorithm == JWT_ES256 &&
             (!EVP_PKEY_is_a(key, "EC") ||
              EVP_PKEY_get_group_name(key, group, sizeof(group), &group_len) != 1 ||
              strcmp(group, "prime256v1") != 0))
        wrong = "ES256 needs a public key on the curve P-256";
    if (wrong != NULL)
        EVP_PKEY_free(key);
    else
        *ret_key = key;
    return wrong;
}

const char *jwt_verifier_open(const struct jwt_settings *settings,
                              struct jwt_verifier **ret_verifier)
{
    struct jwt_verifier *verifier;
    EVP_PKEY *key = NULL;
    const char *wrong = NULL;

    if (settings->verify && settings->algorithm == JWT_HS256) {
        if (settings->secret.len < MIN_SECRET_BYTES)
            wrong = "HS256 needs a secret of at least 32 bytes";
    } else if (settings->verify) {
        wrong = read_key(settings, &key);
    }
    if (wrong != NULL)
        return wrong;
    verifier = mem_calloc(1, sizeof(*verifier));
    verifier->settings = *settings;
    verifier->settings.public_key_pem = SLICE_NONE;
    verifier->settings.secret = own_copy(settings->secret, &verifier->secret);
    verifier->settings.issuer = own_copy(settings->issuer, &verifier->issuer);
    verifier->settings.audience = own_copy(settings->audience, &verifier->audience);
    verifier->key = key;
    *ret_verifier = verifier;
    return NULL;
}

void jwt_verifier_close(struct jwt_verifier **verifier)
{
    struct jwt_verifier *closed = TAKE(verifier);

    if (closed == NULL)
        return;
    if (closed->secret != NULL)
        OPENSSL_cleanse(closed->secret, closed->settings.secret.len);
    free(closed->secret);
    free(closed->issuer);
    free(closed->audience);
    EVP_PKEY_free(closed->key);
    free(closed);
}

static int base64url_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '-' ? 62 : c == '_' ? 63 : -1;
}

/* Strict: no padding, no other bytes, no bits left over.  out: at least text.len * 3 / 4 bytes. */
static bool base64url_decode(struct slice text, unsigned char *out, size_t *ret_len)
{
    unsigned bits = 0, bit_count = 0;
    size_t len = 0;

    if (text.len % 4 == 1)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        int value = base64url_value(text.at[i]);

        if (value < 0)
            return false;
        bits = (bits << 6 | (unsigned)value) & 0xffffu;
        bit_count += 6;
        if (bit_count >= 8) {
            bit_count -= 8;
            out[len++] = (unsigned char)(bits >> bit_count);
        }
    }
    if ((bits & ((1u << bit_count) - 1)) != 0)
        return false;
    *ret_len = len;
    return true;
}

/* A JSON object in base64url, or NULL.  The caller gives it back. */
static json_t *decode_object(struct slice text, struct arena *arena)
{
    unsigned char *bytes = arena_alloc(arena, text.len);
    json_t *value;
    size_t len;

    if (!base64url_decode(text, bytes, &len))
        return NULL;
    value = json_loadb((const char *)bytes, len, JSON_REJECT_DUPLICATES, NULL);
    if (value != NULL && !json_is_object(value)) {
        json_decref(value);
        return NULL;
    }
    return value;
}

static bool hmac_matches(const struct jwt_verifier *verifier, struct slice signed_text,
                         const unsigned char *signature, size_t signature_len)
{
    unsigned char mac[EVP_MAX_MD_SIZE];
    unsigned mac_len = 0;
    struct slice secret = verifier->settings.secret;

    CHECK(HMAC(EVP_sha256(), secret.at, (int)secret.len, (const unsigned char *)signed_text.at,
               signed_text.len, mac, &mac_len) != NULL);
    return signature_len == mac_len && CRYPTO_memcmp(signature, mac, mac_len) == 0;
}

/* The two halves of an ES256 signature as the DER that OpenSSL wants; 0 when it is none. */
static size_t to_der(const unsigned char *signature, size_t signature_len,
                     unsigned char der[P256_DER_MAX_BYTES])
{
    ECDSA_SIG *sig;
    BIGNUM *r, *s;
    int len;

    if (signature_len != (size_t)2 * P256_BYTES)
        return 0;
    sig = ECDSA_SIG_new();
    r = BN_bin2bn(signature, P256_BYTES, NULL);
    s = BN_bin2bn(signature + P256_BYTES, P256_BYTES, NULL);
    CHECK(sig != NULL && r != NULL && s != NULL && ECDSA_SIG_set0(sig, r, s) == 1);
    len = i2d_ECDSA_SIG(sig, NULL);
    CHECK(len > 0 && len <= P256_DER_MAX_BYTES);
    i2d_ECDSA_SIG(sig, &der);
    ECDSA_SIG_free(sig);
    return (size_t)len;
}

static bool signature_matches(const struct jwt_verifier *verifier, struct slice signed_text,
                              struct slice encoded, struct arena *arena)
{
    unsigned char *signature = arena_alloc(arena, encoded.len), der[P256_DER_MAX_BYTES];
    size_t len;
    EVP_MD_CTX *ctx;
    bool matches;

    if (!base64url_decode(encoded, signature, &len))
        return false;
    if (verifier->settings.algorithm == JWT_HS256)
        return hmac_matches(verifier, signed_text, signature, len);
    if (verifier->settings.algorithm == JWT_ES256) {
        len = to_der(signature, len, der);
        signature = der;
        if (len == 0)
            return false;
    }
    ctx = EVP_MD_CTX_new();
    CHECK(ctx != NULL);
    matches = EVP_DigestVerifyInit(ctx, NULL, EVP_sha256(), NULL, verifier->key) == 1 &&
              EVP_DigestVerify(ctx, signature, len, (const unsigned char *)signed_text.at,
                               signed_text.len) == 1;
    EVP_MD_CTX_free(ctx);
    /* A TLS connection of this thread must not find our failure in the queue. */
    ERR_clear_error();
    return matches;
}

/* The header's word on the algorithm; a token that asks for extensions is not for us. */
static enum jwt_status check_header(const struct jwt_verifier *verifier, struct slice encoded,
                                    struct arena *arena)
{
    const char *expected = algorithm_names[verifier->settings.algorithm];
    json_t *header = decode_object(encoded, arena);
    enum jwt_status status = JWT_VALID;
    const char *algorithm;

    if (header == NULL)
        return JWT_MALFORMED;
    algorithm = json_string_value(json_object_get(header, "alg"));
    if (algorithm == NULL || json_object_get(header, "crit") != NULL)
        status = JWT_MALFORMED;
    else if (verifier->settings.verify && strcmp(algorithm, expected) != 0)
        status = JWT_WRONG_ALGORITHM;
    json_decref(header);
    return status;
}

static bool is_string(const json_t *value, struct slice expected)
{
    return json_is_string(value) &&
           slice_equal(slice_from(json_string_value(value), json_string_length(value)), expected);
}

static bool names_audience(const json_t *audience, struct slice expected)
{
    for (size_t i = 0; i < json_array_size(audience); i++) {
        if (is_string(json_array_get(audience, i), expected))
            return true;
    }
    return is_string(audience, expected);
}

/* Times may have fractions (RFC 7519, section 2, NumericDate); a claim of another type is refused.
 */
static enum jwt_status check_claims(const struct jwt_verifier *verifier, const json_t *claims,
                                    uint64_t now_s)
{
    const struct jwt_settings *settings = &verifier->settings;
    const json_t *expiry = json_object_get(claims, "exp"), *start = json_object_get(claims, "nbf");
    double now = (double)now_s, leeway = (double)settings->leeway_s;

    if ((expiry != NULL && !json_is_number(expiry)) || (start != NULL && !json_is_number(start)))
        return JWT_MALFORMED;
    /* A time nobody filled in must not make tokens immortal. */
    if (expiry != NULL && (now_s == 0 || now >= json_number_value(expiry) + leeway))
        return JWT_EXPIRED;
    if (start != NULL && now + leeway < json_number_value(start))
        return JWT_NOT_YET_VALID;
    if (settings->issuer.at != NULL && !is_string(json_object_get(claims, "iss"), settings->issuer))
        return JWT_WRONG_ISSUER;
    if (settings->audience.at != NULL &&
        !names_audience(json_object_get(claims, "aud"), settings->audience))
        return JWT_WRONG_AUDIENCE;
    return JWT_VALID;
}

/* The text of a claim in arena; at == NULL for null, arrays and objects. */
static struct slice claim_text(const json_t *value, struct arena *arena)
{
    switch (json_typeof(value)) {
    case JSON_STRING:
        return arena_copy(arena, slice_from(json_string_value(value), json_string_length(value)));
    case JSON_INTEGER:
        return arena_printf(arena, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    case JSON_REAL:
        /* 1.0 and 1 are the same number, so the same text. */
        if (fabs(json_real_value(value)) < 9e15 &&
            floor(json_real_value(value)) == json_real_value(value))
            return arena_printf(arena, "%lld", (long long)json_real_value(value));
        return arena_printf(arena, "%.17g", json_real_value(value));
    case JSON_TRUE:
        return SLICE("true");
    case JSON_FALSE:
        return SLICE("false");
    case JSON_NULL:
    case JSON_ARRAY:
    case JSON_OBJECT:
        break;
    }
    return SLICE_NONE;
}

static void copy_claims(json_t *object, struct jwt_claims *claims, struct arena *arena)
{
    struct jwt_claim *items = arena_calloc(arena, json_object_size(object), sizeof(*items));
    const char *name;
    json_t *value;

    claims->items = items;
    json_object_foreach(object, name, value)
    {
        struct slice text = claim_text(value, arena);

        if (text.at != NULL)
            items[claims->count++] =
                (struct jwt_claim){.name = arena_copy(arena, slice_of(name)), .value = text};
    }
}

/* "Bearer TOKEN", the scheme in any case; at == NULL otherwise. */
static struct slice bearer_token(struct slice authorization)
{
    struct slice scheme = SLICE("bearer ");

    if (authorization.len <= scheme.len ||
        !slice_equal_nocase(slice_head(authorization, scheme.len), scheme))
        return SLICE_NONE;
    return slice_trim(slice_skip(authorization, scheme.len));
}

static enum jwt_status read_token(const struct jwt_verifier *verifier, struct slice token,
                                  uint64_t now_s, struct arena *arena, struct jwt_claims *claims)
{
    struct slice rest = token, header, payload, signature, signed_text;
    enum jwt_status status;
    json_t *object;

    if (token.len > JWT_MAX_BYTES || !slice_split(&rest, '.', &header) ||
        !slice_split(&rest, '.', &payload) || !slice_split(&rest, '.', &signature) ||
        rest.at != NULL)
        return JWT_MALFORMED;
    status = check_header(verifier, header, arena);
    if (status != JWT_VALID)
        return status;
    signed_text = slice_head(token, header.len + 1 + payload.len);
    /* Nothing of the payload is looked at before this. */
    if (verifier->settings.verify && !signature_matches(verifier, signed_text, signature, arena))
        return JWT_BAD_SIGNATURE;
    object = decode_object(payload, arena);
    if (object == NULL)
        return JWT_MALFORMED;
    status = check_claims(verifier, object, now_s);
    if (status == JWT_VALID)
        copy_claims(object, claims, arena);
    json_decref(object);
    return status;
}

const struct jwt_claims *jwt_read(const struct jwt_verifier *verifier, struct slice authorization,
                                  uint64_t now_s, struct arena *arena)
{
    struct jwt_claims *claims = arena_calloc(arena, 1, sizeof(*claims));
    struct slice token = bearer_token(authorization);

    claims->status =
        token.len == 0 ? JWT_ABSENT : read_token(verifier, token, now_s, arena, claims);
    return claims;
}

struct slice jwt_claim_find(const struct jwt_claims *claims, struct slice name)
{
    for (size_t i = 0; i < claims->count; i++) {
        if (slice_equal(claims->items[i].name, name))
            return claims->items[i].value;
    }
    return SLICE_NONE;
}
