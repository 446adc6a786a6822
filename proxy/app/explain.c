#include "app/explain.h"

#include <netinet/in.h>
#include <time.h>
#include <unistd.h>

#include "app/cli.h"
#include "app/explain_live.h"
#include "base/arena.h"
#include "guard/limit.h"
#include "guard/lock_plan.h"
#include "http/http_parse.h"
#include "policy/policy.h"
#include "policy/router.h"

struct explained {
    struct arena arena;
    struct policy *policy;
    struct http_request head;
    struct facts facts;
    struct explain_live live;
    char client_text[INET6_ADDRSTRLEN + 8];
};

/* What stands in the line, before anything is read. */
static bool is_request_line(struct slice line)
{
    size_t space = slice_find(line, ' ');

    return space > 0 && line.len - space > 1;
}

static int complain(const char *what, const char *value)
{
    fprintf(stderr, "lockkeeper explain: %s: \"%s\"\n", what, value);
    return CLI_USAGE;
}

static struct slice find_header(const void *request, struct slice lowercase_name)
{
    return http_fields_find(&((const struct http_request *)request)->fields, lowercase_name);
}

static struct slice find_header_at(const void *request, struct slice lowercase_name, size_t number)
{
    const struct http_request *head = request;

    return http_fields_find_at(&head->fields, lowercase_name, number);
}

static bool is_header(struct slice text)
{
    size_t colon = slice_find(text, ':');

    return colon > 0 && colon < text.len;
}

static bool is_host(struct slice header)
{
    return slice_equal_nocase(slice_head(header, slice_find(header, ':')), SLICE("host"));
}

/* The bytes of it, as a client would send them. */
static struct slice write_head(struct arena *arena, const struct explain_request *request)
{
    struct slice head = arena_printf(arena, "%s HTTP/1.1\r\n", request->request_line);
    bool has_host = false;

    for (size_t i = 0; i < request->header_count; i++) {
        has_host |= is_host(slice_of(request->headers[i]));
        head = arena_printf(arena, "%.*s%s\r\n", SLICE_ARGS(head), request->headers[i]);
    }
    return arena_printf(arena, "%.*s%s\r\n", SLICE_ARGS(head),
                        has_host ? "" : "Host: localhost\r\n");
}

/* By the rules for real requests. */
static enum http_fault parse_head(struct explained *e, const struct explain_request *request)
{
    const struct policy_settings *settings = &e->policy->settings;
    const struct http_limits limits = {.max_header_bytes = (uint32_t)settings->max_header_bytes,
                                       .max_header_count = (uint32_t)settings->max_header_count,
                                       .max_target_bytes = (uint32_t)settings->max_target_bytes};
    struct slice head = write_head(&e->arena, request);
    struct http_scan scan = {.at = 0};
    size_t head_bytes = 0;
    enum http_fault fault = http_scan(&scan, HTTP_KIND_REQUEST, head, &limits, &head_bytes);

    if (fault == HTTP_FAULT_NONE && head_bytes != head.len)
        fault = HTTP_FAULT_SYNTAX;
    return fault != HTTP_FAULT_NONE ? fault
                                    : http_parse_request(head, &scan, &e->arena, &limits, &e->head);
}

static bool take_client(struct explained *e, const char *text)
{
    bool is_rfc7239 = e->policy->settings.forwarding == POLICY_FORWARDING_FORWARDED;
    struct slice forwarded =
        find_header(&e->head, is_rfc7239 ? SLICE("forwarded") : SLICE("x-forwarded-for"));
    struct in6_addr peer, client;

    if (!policy_parse_ip(slice_of(text), &peer))
        return false;
    policy_find_client(&e->policy->settings, &peer, &forwarded, forwarded.at != NULL, &client);
    policy_client_ip_text(&e->policy->settings, &client, e->client_text, sizeof(e->client_text));
    e->facts.client_ip = slice_of(e->client_text);
    return true;
}

static int complain_fault(enum http_fault fault, const char *request_line)
{
    char text[160];

    snprintf(text, sizeof(text), "it would be answered %u %s, as %s", http_fault_status(fault),
             http_fault_reason(fault), http_fault_text(fault));
    return complain(text, request_line);
}

/* Fill the facts; CLI_OK or what to exit with. */
static int take_request(struct explained *e, const struct explain_request *request)
{
    struct facts *facts = &e->facts;
    enum http_fault fault;

    for (size_t i = 0; i < request->header_count; i++)
        if (!is_header(slice_of(request->headers[i])))
            return complain("not a header, as in 'x-user-id: 7'", request->headers[i]);
    fault = parse_head(e, request);
    if (fault != HTTP_FAULT_NONE)
        return complain_fault(fault, request->request_line);
    facts->method = e->head.method;
    facts->scheme = e->policy->settings.tls_certificate != NULL ? SLICE("https") : SLICE("http");
    facts->host = e->head.host;
    facts->query = e->head.query.at != NULL ? e->head.query : SLICE("");
    facts->header = find_header;
    facts->header_at = find_header_at;
    facts->request = &e->head;
    facts->now_s = (uint64_t)time(NULL);
    if (!router_normalise_path(&e->arena, e->head.path, &facts->path))
        return complain("the path is malformed; it would be answered 400", request->request_line);
    if (e->policy->settings.escaped_slashes == POLICY_SLASHES_REFUSE &&
        router_has_escaped_slash(facts->path))
        return complain("the path has an escaped slash; escaped_slashes: refuse answers 400",
                        request->request_line);
    if (!take_client(e, request->client != NULL ? request->client : "127.0.0.1"))
        return complain("not an IP address", request->client);
    return CLI_OK;
}

static const char *algorithm_name(enum policy_algorithm algorithm)
{
    static const char *const names[] = {"token_bucket", "sliding_window", "sliding_log",
                                        "fixed_window"};

    return names[algorithm];
}

static void print_period(const struct policy_rate *rate, FILE *out)
{
    if (rate->period == POLICY_PERIOD_MONTH || rate->period == POLICY_PERIOD_YEAR)
        fprintf(out, "%llu/%s", (unsigned long long)rate->count,
                rate->period == POLICY_PERIOD_MONTH ? "month" : "year");
    else
        fprintf(out, "%llu per %g s", (unsigned long long)rate->count,
                (double)rate->period_us / 1e6);
}

static void print_limit(const struct limit_question *q, FILE *out)
{
    static const char *const missing_names[] = {"-", "skip", "deny", "shared"};
    static const char *const failure_names[] = {"allow", "deny", "local"};
    const struct policy_limit *limit = q->limit;

    fprintf(out, "  limit   %s: %s, ", limit->name, algorithm_name(limit->algorithm));
    print_period(&limit->rate, out);
    if (limit->algorithm == POLICY_TOKEN_BUCKET)
        fprintf(out, ", burst %llu", (unsigned long long)limit->burst);
    fprintf(out, ", cost %llu%s\n", (unsigned long long)q->cost,
            limit->mode == POLICY_SHADOW ? ", shadow (never denies)" : "");
    if (q->is_missing)
        fprintf(out, "          {%.*s} has no value: on_missing_key: %s\n", SLICE_ARGS(q->missing),
                missing_names[limit->on_missing_key]);
    if (q->store_key.at != NULL)
        fprintf(out, "          key %.*s\n", SLICE_ARGS(q->store_key));
    fprintf(out, "          on_store_failure: %s\n", failure_names[limit->on_store_failure]);
}

/* What limits ask alone, or, where a lock is needed too, the keys of both: these go as one call. */
static void print_store_call(struct explained *e, const struct limit_question *asked, size_t count,
                             const struct lock_plan *plan, FILE *out)
{
    size_t lock_count = plan != NULL ? plan->key_count : 0;
    struct limit_group group = {.questions = asked, .request_count = 1};
    struct store_call call = {.keys = NULL};

    if (count > 0)
        limit_set_call(&call, SLICE("CALL-ID"), &group, 1, count, 1, &e->arena);
    if (count + lock_count == 0)
        return;
    fprintf(out, "  store   EVALSHA %s %zu", lock_count > 0 ? "admit" : "limits",
            count + 3 * lock_count);
    for (size_t i = 0; i < count; i++)
        fprintf(out, " %.*s", SLICE_ARGS(call.keys[i]));
    for (size_t i = 0; i < lock_count; i++)
        for (const char *part = "hqr"; *part != '\0'; part++)
            fprintf(out, " %s:lock:{%.*s}:%c", e->policy->settings.store_key_prefix,
                    SLICE_ARGS(plan->keys[i]), *part);
    for (size_t i = 0; i < call.arg_count && lock_count == 0; i++)
        fprintf(out, " %.*s", SLICE_ARGS(call.args[i]));
    fputc('\n', out);
}

/* The lock a request would need, or NULL: it needs none, or is answered for want of a key. */
static const struct lock_plan *print_lock(struct explained *e, const struct policy_route *route,
                                          FILE *out, const char **ret_answer)
{
    const struct policy_lock *lock = route->lock;
    struct lock_plan *plan = arena_calloc(&e->arena, 1, sizeof(*plan));

    if (lock == NULL)
        return NULL;
    lock_plan_make(e->policy, route, &e->facts, false, &e->arena, plan);
    if (plan->kind == LOCK_PLAN_MISSING || plan->kind == LOCK_PLAN_SKIPPED) {
        fprintf(out, "  lock    {%.*s} has no value: on_missing_key: %s\n",
                SLICE_ARGS(plan->missing), plan->kind == LOCK_PLAN_SKIPPED ? "skip" : "deny");
        if (plan->kind == LOCK_PLAN_MISSING)
            *ret_answer = "400 missing-key";
        return NULL;
    }
    fprintf(out, "  lock    %s", plan->is_shared ? "shared" : "exclusive");
    for (size_t i = 0; i < plan->name_count; i++)
        fprintf(out, " %.*s", SLICE_ARGS(plan->names[i]));
    if (lock->permits > 1)
        fprintf(out, ", one of %llu permits", (unsigned long long)lock->permits);
    fprintf(out, ", waits up to %g s, lease %g s%s%s\n", (double)plan->wait_us / 1e6,
            (double)lock->lease_ms / 1e3,
            lock->fencing == POLICY_FENCING_INJECT ? ", Fencing-Token goes to the service" : "",
            lock->is_shadow ? ", shadow (never refuses)" : "");
    return plan;
}

/* What a request without a key or a token that must be there is answered; NULL: it is none. */
static const char *print_fence(struct explained *e, const struct policy_route *route, FILE *out)
{
    const struct policy_fence *fence = route->fence;
    struct slice key, missing;

    if (fence == NULL)
        return NULL;
    if (!lock_plan_key(fence->key, fence->on_missing_key, route, &e->facts, &e->arena, &key,
                       &missing)) {
        bool is_denied = fence->on_missing_key == POLICY_MISSING_DENY;

        fprintf(out, "  fence   {%.*s} has no value: on_missing_key: %s\n", SLICE_ARGS(missing),
                is_denied ? "deny" : "skip");
        return is_denied ? "400 missing-key" : NULL;
    }
    fprintf(out, "  fence   %.*s, token in %.*s%s\n", SLICE_ARGS(key), SLICE_ARGS(fence->header),
            fence->is_required ? " (required)" : "");
    e->live.is_fenced = true;
    return fence->is_required && find_header(&e->head, fence->header).at == NULL
               ? "428 missing-fencing-token"
               : NULL;
}

static bool is_asked(const struct limit_question *q)
{
    return !q->is_missing || q->limit->on_missing_key == POLICY_MISSING_SHARED;
}

static void print_answer(const char *answer, FILE *out)
{
    fprintf(out, "  answer  %s, without asking the store\n", answer);
}

static void print_guards(struct explained *e, const struct policy_route *route, FILE *out)
{
    struct limit_question *asked = arena_calloc(&e->arena, route->limit_count + 1, sizeof(*asked));
    const struct lock_plan *plan;
    size_t asked_count = 0;
    const char *answer;

    for (size_t i = 0; i < route->limit_count; i++) {
        struct limit_question *q = &asked[asked_count];

        limit_question(e->policy, route->limits[i], &e->facts, &e->arena, q);
        print_limit(q, out);
        if (is_asked(q)) {
            explain_live_limit(&e->live, q);
            asked_count++;
        } else if (route->limits[i]->on_missing_key == POLICY_MISSING_DENY) {
            print_answer("400 missing-key", out);
            return;
        }
    }
    if (route->limit_count == 0)
        fputs("  limits  none\n", out);
    answer = print_fence(e, route, out);
    plan = print_lock(e, route, out, &answer);
    if (answer != NULL) {
        print_answer(answer, out);
        return;
    }
    if (plan != NULL)
        explain_live_lock(&e->live, plan);
    print_store_call(e, asked, asked_count, plan, out);
    explain_live_end(&e->live, plan);
}

static void print_route(struct explained *e, FILE *out)
{
    const struct policy_route *route = router_match(e->policy->router, &e->facts);

    fprintf(out, "%.*s %.*s\n  client  %s\n", SLICE_ARGS(e->facts.method),
            SLICE_ARGS(e->facts.path), e->client_text);
    if (route == NULL) {
        fprintf(out, "  route   none: %s\n",
                e->policy->settings.on_no_route == POLICY_NO_ROUTE_FORWARD
                    ? "forwarded without limits"
                    : "refused with 404");
        return;
    }
    e->facts.route = slice_of(route->name);
    fprintf(out, "  route   %s (%s:%u)\n", route->name, route->file, route->line);
    for (size_t i = 0; i < e->facts.path_param_count; i++)
        fprintf(out, "          {path.%.*s} = %.*s\n", SLICE_ARGS(route->path_param_names[i]),
                SLICE_ARGS(e->facts.path_params[i]));
    explain_live_begin(&e->live, e->policy->hash_hex);
    print_guards(e, route, out);
}

static struct policy *load(const struct explain_request *request)
{
    struct policy_problems problems;
    struct policy *policy;

    policy_problems_init(&problems);
    policy = policy_load(request->paths, request->path_count, &problems);
    if (policy == NULL)
        policy_problems_print(&problems, stderr, isatty(2) == 1);
    policy_problems_clear(&problems);
    return policy;
}

/* False: nobody could be asked, which has been told. */
static bool set_live(struct explained *e, const struct explain_request *request, FILE *out)
{
    const char *admin = e->policy->settings.admin;

    e->live = (struct explain_live){.out = out, .arena = &e->arena, .address = request->admin};
    if (!request->is_live || request->admin != NULL)
        return true;
    e->live.address = admin;
    if (strcmp(admin, "off") != 0)
        return true;
    fputs("lockkeeper explain: the admin port is off in the policies; give --admin ADDRESS\n",
          stderr);
    return false;
}

int explain_run(const struct explain_request *request, FILE *out)
{
    struct explained e = {.policy = NULL};
    int code;

    if (!is_request_line(slice_of(request->request_line)))
        return complain("the last word must be a METHOD and a TARGET in quotes, as in 'GET "
                        "/orders?id=1'; it is",
                        request->request_line);
    e.policy = load(request);
    if (e.policy == NULL)
        return CLI_FAILED;
    arena_init(&e.arena, NULL);
    code = set_live(&e, request, out) ? take_request(&e, request) : CLI_FAILED;
    if (code == CLI_OK)
        print_route(&e, out);
    if (code == CLI_OK && e.live.problem != NULL) {
        fflush(out);
        fprintf(stderr, "lockkeeper explain: %s: %s\n", e.live.address, e.live.problem);
        code = CLI_FAILED;
    }
    arena_clear(&e.arena);
    policy_unref(&e.policy);
    return code;
}
