#include "policy/jwt_fields.h"

#include "policy/checks.h"
#include "policy/types.h"

static const char *const jwt_choices[] = {"hs256", "rs256", "es256", NULL};
static const char *const jwt_help[] = {"HMAC with SHA-256, a shared secret",
                                       "RSA, at least 2048 bits", "ECDSA on P-256", NULL};

static const struct schema_field fields[] = {
    {.name = "secret",
     .type = &schema_string,
     SCHEMA_FIELD(types_jwt_record, secret),
     .is_secret = true,
     .min = 1,
     .default_note = "-",
     .help = "shared secret of at least 32 bytes (HS256)",
     .example = "${file:/run/secrets/jwt}"},
    {.name = "public_key_file",
     .type = &schema_string,
     SCHEMA_FIELD(types_jwt_record, public_key_file),
     .min = 1,
     .default_note = "-",
     .help = "PEM file with the issuer's public key (RS256, ES256), relative to the policy file",
     .example = "issuer.pem"},
    {.name = "algorithm",
     .type = &schema_enum,
     SCHEMA_FIELD(types_jwt_record, algorithm),
     .choices = jwt_choices,
     .choice_help = jwt_help,
     .default_note = "`hs256` with `secret`, `rs256` with `public_key_file`",
     .help = "the one algorithm that is accepted"},
    {.name = "verify",
     .type = &schema_bool,
     SCHEMA_FIELD(types_jwt_record, verify),
     .default_text = "true",
     .help = "`false` takes claims without looking at the signature: only behind something that "
             "has verified it"},
    {.name = "issuer",
     .type = &schema_string,
     SCHEMA_FIELD(types_jwt_record, issuer),
     .min = 1,
     .default_note = "any",
     .help = "`iss` must be this"},
    {.name = "audience",
     .type = &schema_string,
     SCHEMA_FIELD(types_jwt_record, audience),
     .min = 1,
     .default_note = "any",
     .help = "`aud` must be or contain this"},
    {.name = "leeway",
     .type = &schema_duration_ms,
     SCHEMA_FIELD(types_jwt_record, leeway_ms),
     .default_text = "30s",
     .max = 3600000,
     .help = "clock difference allowed for `exp` and `nbf`"},
};

const struct schema_section jwt_fields_section = {
    .name = "jwt",
    .title = "jwt",
    .help =
        "How bearer tokens are checked before `{jwt.CLAIM}` believes them. Give one of `secret`, "
        "`public_key_file` and `verify: false`.",
    .fields = fields,
    .field_count = COUNT_OF(fields),
    .finish = checks_jwt};
