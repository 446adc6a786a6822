#include "policy/edge_fields.h"

#include "policy/policy.h"

const char *const edge_fields_proxy_choices[] = {"off", "trusted", "require", NULL};
const char *const edge_fields_proxy_help[] = {
    "none; such a header is a malformed request", "those of `trusted_proxies`, and no others",
    "those of `trusted_proxies`; all others are closed", NULL};

const char *const edge_fields_slash_choices[] = {"keep", "refuse", NULL};
const char *const edge_fields_slash_help[] = {
    "it separates nothing: for services that take it as a part of a segment",
    "answer 400: for services that decode before they route, and so see another path", NULL};
