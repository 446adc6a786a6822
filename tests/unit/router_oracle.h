/* The router's rules once more, as simply as they can be said: one route after the other, templates
 * byte by byte with backtracking, paths by whole-string passes.  Slow, and shares no code with
 * proxy/policy; the unit test and the fuzzer compare the two. */
#ifndef TESTS_ROUTER_ORACLE_H
#define TESTS_ROUTER_ORACLE_H

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy/router.h"

#define ORACLE_MAX_PATH 4096

/* Does path (terminated) match what is left of the template?  Captures go to found. */
static inline bool oracle_path_matches(const char *template, const char *path, struct slice *found,
                                       size_t *found_count)
{
    const char *close;
    size_t before = *found_count;

    if (*template == '\0')
        return *path == '\0';
    if (*template != '{')
        return *template == *path &&
               oracle_path_matches(template + 1, path + 1, found, found_count);
    close = strchr(template, '}');
    if (close[-1] == '.') {
        found[(*found_count)++] = slice_of(path);
        return *path != '\0';
    }
    for (size_t len = 1; path[len - 1] != '\0' && path[len - 1] != '/'; len++) {
        *found_count = before;
        found[(*found_count)++] = slice_from(path, len);
        if (oracle_path_matches(close + 1, path + len, found, found_count))
            return true;
    }
    *found_count = before;
    return false;
}

static inline bool oracle_host_matches(const char *pattern, const char *host)
{
    size_t tail = strlen(pattern) - 1, len = strlen(host);

    if (pattern[0] != '*')
        return strcasecmp(pattern, host) == 0;
    return len > tail && strcasecmp(host + len - tail, pattern + 1) == 0;
}

static inline bool oracle_route_matches(const struct policy_route *route, const struct facts *facts,
                                        struct slice *found, size_t *found_count)
{
    char host[256], path[ORACLE_MAX_PATH], template[ORACLE_MAX_PATH];
    bool host_fits = route->host_count == 0, method_fits = route->method_count == 0;

    snprintf(host, sizeof(host), "%.*s", SLICE_ARGS(facts->host));
    snprintf(path, sizeof(path), "%.*s", SLICE_ARGS(facts->path));
    snprintf(template, sizeof(template), "%.*s", SLICE_ARGS(route->path));
    for (size_t i = 0; i < route->host_count; i++)
        host_fits |= oracle_host_matches(route->hosts[i].at, host);
    for (size_t i = 0; i < route->method_count; i++) {
        method_fits |= slice_equal(route->methods[i], facts->method);
        method_fits |= slice_equal(route->methods[i], SLICE("GET")) &&
                       slice_equal(facts->method, SLICE("HEAD"));
    }
    for (size_t i = 0; i < route->header_count; i++) {
        struct slice value = facts->header(facts->request, route->headers[i].name);

        if (value.at == NULL ||
            (route->headers[i].value.at != NULL && !slice_equal(value, route->headers[i].value)))
            return false;
    }
    if (strcmp(template, "*") == 0 && !slice_equal(facts->method, SLICE("OPTIONS")))
        return false;
    *found_count = 0;
    if (!host_fits || !method_fits)
        return false;
    if (template[0] == '\0')
        return true;
    if (!oracle_path_matches(template, path, found, found_count))
        return false;
    for (size_t i = 0; i < *found_count; i++)
        found[i].at = facts->path.at + (found[i].at - path);
    return true;
}

static inline const struct policy_route *oracle_match(const struct policy_route *const *routes,
                                                      size_t route_count, const struct facts *facts,
                                                      struct slice *found, size_t *found_count)
{
    for (size_t i = 0; i < route_count; i++) {
        if (oracle_route_matches(routes[i], facts, found, found_count))
            return routes[i];
    }
    *found_count = 0;
    return NULL;
}

/* Everything encoded, as "%XX" for each byte but the slashes; false when malformed. */
static inline bool oracle_encode_all(struct slice path, char *out)
{
    *out = '\0';
    for (size_t i = 0; i < path.len; i++) {
        unsigned byte = (unsigned char)path.at[i];

        if (byte <= ' ' || byte > '~' || byte == '\\' || byte == '?' || byte == '#')
            return false;
        if (byte == '/') {
            strcat(out, "/");
            continue;
        }
        if (byte == '%') {
            char digits[3] = "";

            if (i + 2 >= path.len || !isxdigit((unsigned char)path.at[i + 1]) ||
                !isxdigit((unsigned char)path.at[i + 2]))
                return false;
            memcpy(digits, path.at + i + 1, 2);
            byte = (unsigned)strtoul(digits, NULL, 16);
            if (byte == 0)
                return false;
            i += 2;
        }
        sprintf(out + strlen(out), "%%%02X", byte);
    }
    return path.len > 0 && path.at[0] == '/';
}

/* Replace the first from behind at by to (not longer); false when there is none. */
static inline bool oracle_replace(char *text, const char *from, const char *to)
{
    char *at = strstr(text, from);

    if (at == NULL)
        return false;
    memmove(at + strlen(to), at + strlen(from), strlen(at + strlen(from)) + 1);
    memcpy(at, to, strlen(to));
    return true;
}

/* "/x/../" to "/" for the first ".." in text. */
static inline bool oracle_remove_dots(char *text)
{
    char *dots = strstr(text, "/%2E%2E/"), *start = dots;

    if (dots == NULL)
        return false;
    while (start > text && *--start != '/')
        ;
    memmove(start, dots + 7, strlen(dots + 7) + 1);
    return true;
}

/* out: ORACLE_MAX_PATH bytes, path at most a quarter of that. */
static inline bool oracle_normalise(struct slice path, char *out)
{
    char text[ORACLE_MAX_PATH + 8];
    bool is_folder;
    size_t len = 0;

    if (slice_equal(path, SLICE("*")))
        return strcpy(out, "*") != NULL;
    if (!oracle_encode_all(path, text))
        return false;
    len = strlen(text);
    /* A last segment of dots is a folder: "/a/.." is "/". */
    is_folder = text[len - 1] == '/' || strcmp(text + len - (len > 3 ? 4 : 0), "/%2E") == 0 ||
                strcmp(text + len - (len > 6 ? 7 : 0), "/%2E%2E") == 0;
    strcat(text, "/");
    while (oracle_replace(text, "//", "/"))
        ;
    while (oracle_replace(text, "/%2E/", "/"))
        ;
    while (oracle_remove_dots(text))
        ;
    if (!is_folder)
        text[strlen(text) - 1] = '\0';
    for (len = 0; *text != '\0' && text[len] != '\0';) {
        unsigned byte;

        if (sscanf(text + len, "%%%2X", &byte) == 1 &&
            (isalnum((int)byte) ||
             (byte < 128 && strchr("-._~!$&'()*+,;=:@", (int)byte) != NULL))) {
            char plain[2] = {(char)byte, '\0'};

            memmove(text + len + 1, text + len + 3, strlen(text + len + 3) + 1);
            text[len] = plain[0];
            len++;
        } else {
            len += text[len] == '%' ? 3 : 1;
        }
    }
    return strcpy(out, text) != NULL;
}

#endif
