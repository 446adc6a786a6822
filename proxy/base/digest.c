#include "base/digest.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

static void digest(const EVP_MD *kind, struct slice data, unsigned char *ret_digest)
{
    CHECK(EVP_Digest(data.at != NULL ? data.at : "", data.len, ret_digest, NULL, kind, NULL) == 1);
}

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
    unsigned char bytes[EVP_MAX_MD_SIZE];

    digest(EVP_sha1(), data, bytes);
    hex(bytes, 20, ret_hex);
}

void digest_sha256(struct slice data, uint8_t ret_digest[32])
{
    unsigned char bytes[EVP_MAX_MD_SIZE];

    digest(EVP_sha256(), data, bytes);
    memcpy(ret_digest, bytes, 32);
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
