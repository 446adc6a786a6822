/* The low-level functions, for they are all that is needed: EVP asks the providers, and with them
 * comes a megabyte of tables that a process without TLS never looks at again. */
#define OPENSSL_SUPPRESS_DEPRECATED

#include "base/digest.h"

#include <openssl/crypto.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>

static void hex(const unsigned char *bytes, size_t count, char *ret_hex)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < count; i++) {
        ret_hex[2 * i] = digits[bytes[i] >> 4];
        ret_hex[2 * i + 1] = digits[bytes[i] & 15];
    }
    ret_hex[2 * count] = '\0';
}

void digest_sha1_hex(struct slice data, char ret_hex[41])
{
    unsigned char bytes[SHA_DIGEST_LENGTH];
    SHA_CTX context;

    CHECK(SHA1_Init(&context) == 1 && SHA1_Update(&context, data.at, data.len) == 1 &&
          SHA1_Final(bytes, &context) == 1);
    hex(bytes, sizeof(bytes), ret_hex);
}

void digest_sha256(struct slice data, uint8_t ret_digest[32])
{
    SHA256_CTX context;

    CHECK(SHA256_Init(&context) == 1 && SHA256_Update(&context, data.at, data.len) == 1 &&
          SHA256_Final(ret_digest, &context) == 1);
}

void digest_hmac_sha256(struct slice key, struct slice data, uint8_t ret_digest[32])
{
    unsigned int size = 32;

    CHECK(HMAC(EVP_sha256(), key.at != NULL ? key.at : "", (int)key.len,
               (const unsigned char *)(data.at != NULL ? data.at : ""), data.len, ret_digest,
               &size) != NULL);
}

void digest_short_hex(struct slice data, char ret_hex[33])
{
    uint8_t bytes[32];

    digest_sha256(data, bytes);
    hex(bytes, 16, ret_hex);
}

const char *digest_library_version(void)
{
    return OpenSSL_version(OPENSSL_VERSION);
}
