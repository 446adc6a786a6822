#include "unit/unit.h"

#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <stdio.h>

#include "policy/jwt.h"
#include "policy/template.h"

#define NOW_S 1700000000u
#define MAX_TOKEN 12000

static const char secret[] = "0123456789abcdef0123456789abcdef";

/* Made once: making an RSA key takes a while. */
struct keys {
    EVP_PKEY *rsa, *small_rsa, *ec, *other_ec, *p384;
};

static struct keys keys;

/* By another process, which is not slow when this one is, as under valgrind. */
static EVP_PKEY *make_rsa_key(const char *bits)
{
    char command[128];
    FILE *pem;
    EVP_PKEY *key;

    snprintf(command, sizeof(command),
             "openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:%s 2>/dev/null", bits);
    pem = popen(command, "r");
    if (pem == NULL)
        return NULL;
    key = PEM_read_PrivateKey(pem, NULL, NULL, NULL);
    pclose(pem);
    return key;
}

static int make_keys(void **state)
{
    UNUSED(state);
    keys.rsa = make_rsa_key("2048");
    keys.small_rsa = make_rsa_key("1024");
    keys.ec = EVP_EC_gen("P-256");
    keys.other_ec = EVP_EC_gen("P-256");
    keys.p384 = EVP_EC_gen("P-384");
    return keys.rsa == NULL || keys.small_rsa == NULL || keys.ec == NULL || keys.p384 == NULL;
}

static int free_keys(void **state)
{
    UNUSED(state);
    EVP_PKEY_free(keys.rsa);
    EVP_PKEY_free(keys.small_rsa);
    EVP_PKEY_free(keys.ec);
    EVP_PKEY_free(keys.other_ec);
    EVP_PKEY_free(keys.p384);
    return 0;
}

static struct slice pem_of(EVP_PKEY *key, char *out, size_t size)
{
    BIO *bio = BIO_new(BIO_s_mem());
    int len;

    assert_int_equal(PEM_write_bio_PUBKEY(bio, key), 1);
    len = BIO_read(bio, out, (int)size);
    BIO_free(bio);
    return slice_from(out, (size_t)len);
}

/* OpenSSL's base64, turned into base64url. */
static void append_base64url(char *out, const void *bytes, size_t len)
{
    char *at = out + strlen(out);

    EVP_EncodeBlock((unsigned char *)at, bytes, (int)len);
    for (; *at != '\0'; at++)
        *at = *at == '+' ? '-' : *at == '/' ? '_' : *at == '=' ? '\0' : *at;
}

static size_t sign(enum jwt_algorithm algorithm, EVP_PKEY *key, const char *text,
                   unsigned char *out)
{
    EVP_MD_CTX *ctx;
    unsigned char der[512];
    size_t len = sizeof(der);
    unsigned mac_len;

    if (algorithm == JWT_HS256) {
        HMAC(EVP_sha256(), secret, (int)strlen(secret), (const unsigned char *)text, strlen(text),
             out, &mac_len);
        return mac_len;
    }
    ctx = EVP_MD_CTX_new();
    assert_int_equal(EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, key), 1);
    assert_int_equal(EVP_DigestSign(ctx, der, &len, (const unsigned char *)text, strlen(text)), 1);
    EVP_MD_CTX_free(ctx);
    if (algorithm == JWT_ES256) {
        const unsigned char *at = der;
        ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &at, (long)len);

        BN_bn2binpad(ECDSA_SIG_get0_r(sig), out, 32);
        BN_bn2binpad(ECDSA_SIG_get0_s(sig), out + 32, 32);
        ECDSA_SIG_free(sig);
        return 64;
    }
    memcpy(out, der, len);
    return len;
}

/* "Bearer header.payload.signature" */
static void make_token(char *out, enum jwt_algorithm algorithm, EVP_PKEY *key, const char *header,
                       const char *payload)
{
    unsigned char signature[512];
    char *start = strcpy(out, "Bearer ") + 7;
    size_t len;

    append_base64url(out, header, strlen(header));
    strcat(out, ".");
    append_base64url(out, payload, strlen(payload));
    len = sign(algorithm, key, start, signature);
    strcat(out, ".");
    append_base64url(out, signature, len);
}

static struct jwt_verifier *open_hs256(void)
{
    struct jwt_settings settings = {
        .verify = true, .algorithm = JWT_HS256, .secret = slice_of(secret)};
    struct jwt_verifier *verifier;

    assert_null(jwt_verifier_open(&settings, &verifier));
    return verifier;
}

static enum jwt_status status_of(const struct jwt_verifier *verifier, const char *authorization)
{
    struct arena arena;
    const struct jwt_claims *claims;
    enum jwt_status status;

    arena_init(&arena, NULL);
    claims = jwt_read(verifier, slice_of(authorization), NOW_S, &arena);
    status = claims->status;
    if (status != JWT_VALID)
        assert_int_equal(claims->count, 0);
    arena_clear(&arena);
    return status;
}

#define HS256_HEADER "{\"alg\":\"HS256\",\"typ\":\"JWT\"}"

/* RFC 7515, appendix A.1. */
static void the_example_of_the_rfc_is_valid_until_it_expires(void **state)
{
    static const unsigned char key[] = {
        3,   35,  53, 75,  43,  15, 165, 188, 131, 126, 6,   101, 119, 123, 166, 143,
        90,  179, 40, 230, 240, 84, 201, 40,  169, 15,  132, 178, 210, 80,  46,  191,
        211, 251, 90, 146, 210, 6,  71,  239, 150, 138, 180, 195, 119, 98,  61,  34,
        61,  46,  33, 114, 5,   46, 79,  8,   192, 205, 154, 245, 103, 208, 128, 163};
    struct slice token = SLICE("Bearer eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9."
                               "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGx"
                               "lLmNvbS9pc19yb290Ijp0cnVlfQ."
                               "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
    struct jwt_settings settings = {.verify = true,
                                    .algorithm = JWT_HS256,
                                    .secret = slice_from((const char *)key, sizeof(key))};
    struct jwt_verifier *verifier;
    const struct jwt_claims *claims;
    struct arena arena;

    UNUSED(state);
    arena_init(&arena, NULL);
    assert_null(jwt_verifier_open(&settings, &verifier));
    claims = jwt_read(verifier, token, 1300819379, &arena);
    assert_int_equal(claims->status, JWT_VALID);
    assert_slice_equal(jwt_claim_find(claims, SLICE("iss")), SLICE("joe"));
    assert_slice_equal(jwt_claim_find(claims, SLICE("exp")), SLICE("1300819380"));
    assert_slice_equal(jwt_claim_find(claims, SLICE("http://example.com/is_root")), SLICE("true"));
    assert_int_equal(jwt_read(verifier, token, 1300819380, &arena)->status, JWT_EXPIRED);
    assert_int_equal(jwt_read(verifier, token, 0, &arena)->status, JWT_EXPIRED);
    arena_clear(&arena);
    jwt_verifier_close(&verifier);
    assert_null(verifier);
}

static void claims_become_text(void **state)
{
    static const struct {
        const char *name, *text; /* NULL: missing */
    } expected[] = {
        {"s", "seven"},  {"empty", ""},     {"n", "-7"},     {"big", "9007199254740993"},
        {"whole", "7"},  {"huge", "1e+18"}, {"real", "0.5"}, {"yes", "true"},
        {"no", "false"}, {"null", NULL},    {"list", NULL},  {"map", NULL},
        {"none", NULL},  {"S", NULL}};
    struct jwt_verifier *verifier = open_hs256();
    const struct jwt_claims *claims;
    char token[MAX_TOKEN];
    struct arena arena;

    UNUSED(state);
    arena_init(&arena, NULL);
    make_token(
        token, JWT_HS256, NULL, HS256_HEADER,
        "{\"s\":\"seven\",\"empty\":\"\",\"n\":-7,\"big\":9007199254740993,\"whole\":7.0,\"huge\":"
        "1e18,"
        "\"real\":0.5,\"yes\":true,\"no\":false,\"null\":null,\"list\":[1],\"map\":{\"s\":1}}");
    claims = jwt_read(verifier, slice_of(token), NOW_S, &arena);
    assert_int_equal(claims->status, JWT_VALID);
    for (size_t i = 0; i < COUNT_OF(expected); i++) {
        struct slice value = jwt_claim_find(claims, slice_of(expected[i].name));

        assert_int_equal(value.at == NULL, expected[i].text == NULL);
        assert_slice_equal(value, slice_of(expected[i].text));
    }
    arena_clear(&arena);
    jwt_verifier_close(&verifier);
}

static const struct {
    const char *header, *payload;
    enum jwt_status status;
} signed_cases[] = {
    {HS256_HEADER, "{}", JWT_VALID},
    {HS256_HEADER, "{\"exp\":1700000001}", JWT_VALID},
    {HS256_HEADER, "{\"exp\":1700000000}", JWT_EXPIRED},
    {HS256_HEADER, "{\"exp\":1700000000.5}", JWT_VALID},
    {HS256_HEADER, "{\"exp\":\"1900000000\"}", JWT_MALFORMED},
    {HS256_HEADER, "{\"nbf\":1700000000}", JWT_VALID},
    {HS256_HEADER, "{\"nbf\":1700000001}", JWT_NOT_YET_VALID},
    {HS256_HEADER, "{\"nbf\":null}", JWT_MALFORMED},
    {HS256_HEADER, "[]", JWT_MALFORMED},
    {HS256_HEADER, "{", JWT_MALFORMED},
    {HS256_HEADER, "{} {}", JWT_MALFORMED},
    {HS256_HEADER, "{\"sub\":\"a\",\"sub\":\"b\"}", JWT_MALFORMED},
    {HS256_HEADER, "{\"sub\":\"a\\u0000b\"}", JWT_MALFORMED},
    {HS256_HEADER, "{\"sub\":\"\xff\"}", JWT_MALFORMED},
    {"{\"alg\":\"none\"}", "{}", JWT_WRONG_ALGORITHM},
    {"{\"alg\":\"None\"}", "{}", JWT_WRONG_ALGORITHM},
    {"{\"alg\":\"hs256\"}", "{}", JWT_WRONG_ALGORITHM},
    {"{\"alg\":\"HS512\"}", "{}", JWT_WRONG_ALGORITHM},
    {"{\"alg\":\"RS256\"}", "{}", JWT_WRONG_ALGORITHM},
    {"{\"alg\":7}", "{}", JWT_MALFORMED},
    {"{\"typ\":\"JWT\"}", "{}", JWT_MALFORMED},
    {"{\"alg\":\"HS256\",\"alg\":\"none\"}", "{}", JWT_MALFORMED},
    {"{\"alg\":\"HS256\",\"crit\":[\"b64\"],\"b64\":false}", "{}", JWT_MALFORMED},
    {"\"HS256\"", "{}", JWT_MALFORMED},
};

static void signed_tokens_are_judged(void **state)
{
    struct jwt_verifier *verifier = open_hs256();

    UNUSED(state);
    for (size_t i = 0; i < COUNT_OF(signed_cases); i++) {
        char token[MAX_TOKEN];
        enum jwt_status status;

        make_token(token, JWT_HS256, NULL, signed_cases[i].header, signed_cases[i].payload);
        status = status_of(verifier, token);
        if (status != signed_cases[i].status)
            fail_msg("%s %s: %s", signed_cases[i].header, signed_cases[i].payload,
                     jwt_status_text(status));
    }
    jwt_verifier_close(&verifier);
}

static void every_changed_byte_is_noticed(void **state)
{
    struct jwt_verifier *verifier = open_hs256();
    char token[MAX_TOKEN];

    UNUSED(state);
    make_token(token, JWT_HS256, NULL, HS256_HEADER, "{\"sub\":\"somebody\",\"role\":\"user\"}");
    assert_int_equal(status_of(verifier, token), JWT_VALID);
    for (size_t i = 7; token[i] != '\0'; i++) {
        char was = token[i];

        token[i] = was == 'A' ? 'B' : 'A';
        assert_int_not_equal(status_of(verifier, token), JWT_VALID);
        token[i] = '=';
        assert_int_not_equal(status_of(verifier, token), JWT_VALID);
        token[i] = was;
    }
    for (size_t len = strlen(token) - 1; len > 0; len--) {
        token[len] = '\0';
        assert_int_not_equal(status_of(verifier, token), JWT_VALID);
    }
    jwt_verifier_close(&verifier);
}

/* The last digit of a 32-byte signature has two bits to spare: only one spelling is right. */
static void a_signature_has_one_spelling(void **state)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    struct jwt_verifier *verifier = open_hs256();
    char token[MAX_TOKEN], *last, right;

    UNUSED(state);
    make_token(token, JWT_HS256, NULL, HS256_HEADER, "{}");
    last = &token[strlen(token) - 1];
    right = *last;
    for (const char *digit = digits; *digit != '\0'; digit++) {
        *last = *digit;
        assert_int_equal(status_of(verifier, token),
                         *digit == right ? JWT_VALID : JWT_BAD_SIGNATURE);
    }
    jwt_verifier_close(&verifier);
}

static void other_shapes_are_refused(void **state)
{
    struct jwt_verifier *verifier = open_hs256();
    char token[MAX_TOKEN], changed[MAX_TOKEN + 16];

    UNUSED(state);
    assert_int_equal(status_of(verifier, NULL), JWT_ABSENT);
    assert_int_equal(status_of(verifier, ""), JWT_ABSENT);
    assert_int_equal(status_of(verifier, "Bearer"), JWT_ABSENT);
    assert_int_equal(status_of(verifier, "Bearer  "), JWT_ABSENT);
    assert_int_equal(status_of(verifier, "Basic dTpw"), JWT_ABSENT);
    assert_int_equal(status_of(verifier, "Bearer x"), JWT_MALFORMED);
    assert_int_equal(status_of(verifier, "Bearer ..."), JWT_MALFORMED);
    assert_int_equal(status_of(verifier, "Bearer .."), JWT_MALFORMED);
    make_token(token, JWT_HS256, NULL, HS256_HEADER, "{\"a\":1}");
    snprintf(changed, sizeof(changed), "bEARER   %s ", token + 7);
    assert_int_equal(status_of(verifier, changed), JWT_VALID);
    snprintf(changed, sizeof(changed), "%s=", token);
    assert_int_equal(status_of(verifier, changed), JWT_BAD_SIGNATURE);
    snprintf(changed, sizeof(changed), "%s.", token);
    assert_int_equal(status_of(verifier, changed), JWT_MALFORMED);
    *strrchr(token, '.') = '\0';
    assert_int_equal(status_of(verifier, token), JWT_MALFORMED);
    strcat(token, ".");
    assert_int_equal(status_of(verifier, token), JWT_BAD_SIGNATURE);
    memset(changed, 'A', JWT_MAX_BYTES + 8);
    memcpy(changed, "Bearer A.A.", 11);
    changed[JWT_MAX_BYTES + 8] = '\0';
    assert_int_equal(status_of(verifier, changed), JWT_MALFORMED);
    jwt_verifier_close(&verifier);
}

/* A public key is no secret: whoever knows it must not sign with it as if it were one. */
static void public_keys_verify_their_own_algorithm_alone(void **state)
{
    char rsa_pem[2048], ec_pem[2048], token[MAX_TOKEN];
    struct jwt_settings rsa_settings = {.verify = true, .algorithm = JWT_RS256};
    struct jwt_settings ec_settings = {.verify = true, .algorithm = JWT_ES256};
    struct jwt_verifier *rsa, *ec;

    UNUSED(state);
    rsa_settings.public_key_pem = pem_of(keys.rsa, rsa_pem, sizeof(rsa_pem));
    ec_settings.public_key_pem = pem_of(keys.ec, ec_pem, sizeof(ec_pem));
    assert_null(jwt_verifier_open(&rsa_settings, &rsa));
    assert_null(jwt_verifier_open(&ec_settings, &ec));
    make_token(token, JWT_RS256, keys.rsa, "{\"alg\":\"RS256\"}", "{\"sub\":\"1\"}");
    assert_int_equal(status_of(rsa, token), JWT_VALID);
    assert_int_equal(status_of(ec, token), JWT_WRONG_ALGORITHM);
    make_token(token, JWT_ES256, keys.ec, "{\"alg\":\"ES256\"}", "{\"sub\":\"1\"}");
    assert_int_equal(status_of(ec, token), JWT_VALID);
    assert_int_equal(status_of(rsa, token), JWT_WRONG_ALGORITHM);
    token[strlen(token) - 3] = token[strlen(token) - 3] == 'A' ? 'B' : 'A';
    assert_int_equal(status_of(ec, token), JWT_BAD_SIGNATURE);
    make_token(token, JWT_ES256, keys.other_ec, "{\"alg\":\"ES256\"}", "{\"sub\":\"1\"}");
    assert_int_equal(status_of(ec, token), JWT_BAD_SIGNATURE);
    make_token(token, JWT_HS256, NULL, "{\"alg\":\"HS256\"}", "{\"sub\":\"1\"}");
    assert_int_equal(status_of(rsa, token), JWT_WRONG_ALGORITHM);
    make_token(token, JWT_HS256, NULL, "{\"alg\":\"ES256\"}", "{\"sub\":\"1\"}");
    assert_int_equal(status_of(ec, token), JWT_BAD_SIGNATURE);
    jwt_verifier_close(&rsa);
    jwt_verifier_close(&ec);
}

/* Zeros pass naive checks of r and s. */
static void a_signature_of_zeros_is_refused(void **state)
{
    char pem[2048], token[MAX_TOKEN];
    unsigned char zeros[64] = {0};
    struct jwt_settings settings = {.verify = true, .algorithm = JWT_ES256};
    struct jwt_verifier *verifier;

    UNUSED(state);
    settings.public_key_pem = pem_of(keys.ec, pem, sizeof(pem));
    assert_null(jwt_verifier_open(&settings, &verifier));
    make_token(token, JWT_ES256, keys.ec, "{\"alg\":\"ES256\"}", "{}");
    strrchr(token, '.')[1] = '\0';
    append_base64url(token, zeros, sizeof(zeros));
    assert_int_equal(status_of(verifier, token), JWT_BAD_SIGNATURE);
    jwt_verifier_close(&verifier);
}

static void issuer_audience_and_leeway_are_checked(void **state)
{
    struct jwt_settings settings = {.verify = true,
                                    .secret = slice_of(secret),
                                    .issuer = SLICE("me"),
                                    .audience = SLICE("shop"),
                                    .leeway_s = 60};
    static const struct {
        const char *payload;
        enum jwt_status status;
    } cases[] = {
        {"{\"iss\":\"me\",\"aud\":\"shop\"}", JWT_VALID},
        {"{\"iss\":\"me\",\"aud\":[\"x\",\"shop\"]}", JWT_VALID},
        {"{\"iss\":\"me\",\"aud\":[\"x\"]}", JWT_WRONG_AUDIENCE},
        {"{\"iss\":\"me\",\"aud\":{\"shop\":1}}", JWT_WRONG_AUDIENCE},
        {"{\"iss\":\"me\"}", JWT_WRONG_AUDIENCE},
        {"{\"iss\":\"you\",\"aud\":\"shop\"}", JWT_WRONG_ISSUER},
        {"{\"aud\":\"shop\"}", JWT_WRONG_ISSUER},
        {"{\"iss\":\"me\",\"aud\":\"shop\",\"exp\":1699999941}", JWT_VALID},
        {"{\"iss\":\"me\",\"aud\":\"shop\",\"exp\":1699999940}", JWT_EXPIRED},
        {"{\"iss\":\"me\",\"aud\":\"shop\",\"nbf\":1700000060}", JWT_VALID},
        {"{\"iss\":\"me\",\"aud\":\"shop\",\"nbf\":1700000061}", JWT_NOT_YET_VALID},
    };
    struct jwt_verifier *verifier;

    UNUSED(state);
    assert_null(jwt_verifier_open(&settings, &verifier));
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        char token[MAX_TOKEN];

        make_token(token, JWT_HS256, NULL, HS256_HEADER, cases[i].payload);
        assert_int_equal(status_of(verifier, token), cases[i].status);
    }
    jwt_verifier_close(&verifier);
}

static void without_verification_only_the_signature_is_free(void **state)
{
    struct jwt_settings settings = {.verify = false};
    struct jwt_verifier *verifier;
    char token[MAX_TOKEN];

    UNUSED(state);
    assert_null(jwt_verifier_open(&settings, &verifier));
    make_token(token, JWT_ES256, keys.other_ec, "{\"alg\":\"ES256\"}", "{\"sub\":\"1\"}");
    assert_int_equal(status_of(verifier, token), JWT_VALID);
    make_token(token, JWT_HS256, NULL, HS256_HEADER, "{\"exp\":1}");
    assert_int_equal(status_of(verifier, token), JWT_EXPIRED);
    make_token(token, JWT_HS256, NULL, HS256_HEADER, "[]");
    assert_int_equal(status_of(verifier, token), JWT_MALFORMED);
    jwt_verifier_close(&verifier);
}

static void unfit_keys_are_refused_at_once(void **state)
{
    char small[2048], p384[2048], rsa[2048], ec[2048];
    struct slice pems[] = {SLICE_NONE,
                           SLICE("nonsense"),
                           pem_of(keys.small_rsa, small, sizeof(small)),
                           pem_of(keys.p384, p384, sizeof(p384)),
                           pem_of(keys.rsa, rsa, sizeof(rsa)),
                           pem_of(keys.ec, ec, sizeof(ec))};
    const struct {
        struct jwt_settings settings;
        const char *wrong;
    } cases[] = {
        {{.verify = true, .algorithm = JWT_HS256, .secret = SLICE_INIT("short")},
         "HS256 needs a secret of at least 32 bytes"},
        {{.verify = true, .algorithm = JWT_HS256}, "HS256 needs a secret of at least 32 bytes"},
        {{.verify = true, .algorithm = JWT_RS256}, "RS256 and ES256 need a public key"},
        {{.verify = true, .algorithm = JWT_RS256, .public_key_pem = pems[1]},
         "the public key is not PEM "
         "(it begins with \"-----BEGIN PUBLIC KEY-----\")"},
        {{.verify = true, .algorithm = JWT_RS256, .public_key_pem = pems[2]},
         "an RSA key needs at least 2048 bits"},
        {{.verify = true, .algorithm = JWT_RS256, .public_key_pem = pems[5]},
         "RS256 needs an RSA public key"},
        {{.verify = true, .algorithm = JWT_ES256, .public_key_pem = pems[3]},
         "ES256 needs a public key on the curve P-256"},
        {{.verify = true, .algorithm = JWT_ES256, .public_key_pem = pems[4]},
         "ES256 needs a public key on the curve P-256"},
    };

    UNUSED(state);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct jwt_verifier *verifier = NULL;

        assert_string_equal(jwt_verifier_open(&cases[i].settings, &verifier), cases[i].wrong);
        assert_null(verifier);
    }
}

struct request {
    const char *authorization;
    unsigned look_ups;
};

static struct slice find_header(const void *request, struct slice name)
{
    const struct request *const *asked = request;
    struct request *counted = (struct request *)(uintptr_t)*asked;

    counted->look_ups++;
    return slice_equal(name, SLICE("authorization")) ? slice_of((*asked)->authorization)
                                                     : SLICE_NONE;
}

static void templates_read_a_token_once_per_request(void **state)
{
    struct jwt_verifier *verifier = open_hs256();
    char token[MAX_TOKEN];
    struct request request = {token, 0}, *asked = &request;
    const struct jwt_claims *seen = NULL;
    struct facts facts = {
        .header = find_header, .request = &asked, .now_s = NOW_S, .jwt_seen = &seen};
    struct template_error error;
    struct template *template;
    struct slice value, missing;
    struct arena arena;

    UNUSED(state);
    arena_init(&arena, NULL);
    make_token(token, JWT_HS256, NULL, HS256_HEADER, "{\"sub\":\"u-1\",\"tenant\":7}");
    template = template_compile(&arena, SLICE("{jwt.tenant}:{jwt.sub}"), NULL, 0, verifier, &error);
    assert_true(template_uses_jwt(template) && template_can_miss(template));
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(template_render(template, &facts, &arena, &value, &missing), TEMPLATE_OK);
        assert_slice_equal(value, SLICE("7:u-1"));
    }
    assert_int_equal(request.look_ups, 1);
    /* Without a place to remember it, each claim is read anew. */
    facts.jwt_seen = NULL;
    assert_int_equal(template_render(template, &facts, &arena, &value, &missing), TEMPLATE_OK);
    assert_int_equal(request.look_ups, 3);
    token[strlen(token) - 2] ^= 1;
    assert_int_equal(template_render(template, &facts, &arena, &value, &missing), TEMPLATE_MISSING);
    assert_slice_equal(missing, SLICE("jwt.tenant"));
    arena_clear(&arena);
    jwt_verifier_close(&verifier);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_example_of_the_rfc_is_valid_until_it_expires),
        cmocka_unit_test(claims_become_text),
        cmocka_unit_test(signed_tokens_are_judged),
        cmocka_unit_test(every_changed_byte_is_noticed),
        cmocka_unit_test(a_signature_has_one_spelling),
        cmocka_unit_test(other_shapes_are_refused),
        cmocka_unit_test(public_keys_verify_their_own_algorithm_alone),
        cmocka_unit_test(a_signature_of_zeros_is_refused),
        cmocka_unit_test(issuer_audience_and_leeway_are_checked),
        cmocka_unit_test(without_verification_only_the_signature_is_free),
        cmocka_unit_test(unfit_keys_are_refused_at_once),
        cmocka_unit_test(templates_read_a_token_once_per_request),
    };

    return cmocka_run_group_tests(tests, make_keys, free_keys);
}
