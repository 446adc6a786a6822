#include "app/certificates.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/arena.h"
#include "base/log.h"
#include "net/tls.h"
#include "policy/policy.h"

#define CERTIFICATES_TAG 0x63657274u /* "cert" */
#define FILES_PER_CONTEXT 3

/* What tells whether a file was replaced.  A ConfigMap or Secret is replaced by a new link, which
 * stat() follows. */
struct watched_file {
    const char *path; /* of the policy */
    dev_t device;
    ino_t inode;
    off_t size;
    struct timespec changed_at;
};

struct certificates {
    uint32_t tag;
    atomic_uint reference_count;
    struct policy *policy; /* whose paths are watched */
    struct tls_context *listener;
    struct tls_context **upstreams;
    struct watched_file *files;
    size_t file_count;
};

static void look_at(const char *path, struct watched_file *ret_file)
{
    struct stat status;

    *ret_file = (struct watched_file){.path = path};
    if (stat(path, &status) != 0)
        return;
    ret_file->device = status.st_dev;
    ret_file->inode = status.st_ino;
    ret_file->size = status.st_size;
    ret_file->changed_at = status.st_mtim;
}

static void watch(struct certificates *c, const char *path)
{
    if (path != NULL)
        look_at(path, &c->files[c->file_count++]);
}

/* Files are looked at before they are read: a change in between is seen later, not never. */
static struct tls_context *open_context(struct certificates *c, const struct tls_options *options,
                                        const char *what)
{
    struct tls_context *context;
    char error[256];

    watch(c, options->certificate_file);
    watch(c, options->key_file);
    watch(c, options->ca_file);
    context = tls_context_open(options, error, sizeof(error));
    if (context == NULL)
        log_error(NULL, "cannot use TLS", LOG_STR("where", what), LOG_STR("error", error));
    return context;
}

static bool needs_tls(const struct policy_upstream *upstream)
{
    for (size_t i = 0; i < upstream->address_count; i++)
        if (upstream->addresses[i].is_tls)
            return true;
    return false;
}

static bool open_upstream(struct certificates *c, const struct policy_upstream *upstream)
{
    const struct tls_options options = {.certificate_file = upstream->tls_certificate,
                                        .key_file = upstream->tls_key,
                                        .ca_file = upstream->tls_ca_file,
                                        .skip_verify = !upstream->tls_verify,
                                        .alpn = "http/1.1"};

    if (!needs_tls(upstream))
        return true;
    c->upstreams[upstream->index] = open_context(c, &options, upstream->name);
    return c->upstreams[upstream->index] != NULL;
}

static bool open_listener(struct certificates *c, const struct policy_settings *settings)
{
    const struct tls_options options = {.is_server = true,
                                        .certificate_file = settings->tls_certificate,
                                        .key_file = settings->tls_key,
                                        .ca_file = settings->tls_client_ca,
                                        .alpn = "http/1.1"};

    if (settings->tls_certificate == NULL)
        return true;
    c->listener = open_context(c, &options, "listen");
    return c->listener != NULL;
}

struct certificates *certificates_open(const struct policy *policy)
{
    struct certificates *c = mem_calloc(1, sizeof(*c));
    size_t count = policy->upstream_count;
    bool is_good;

    c->tag = CERTIFICATES_TAG;
    atomic_init(&c->reference_count, 1);
    c->policy = policy_ref((struct policy *)(uintptr_t)policy);
    c->upstreams = mem_calloc(count, sizeof(struct tls_context *));
    c->files = mem_calloc((count + 1) * FILES_PER_CONTEXT, sizeof(*c->files));
    is_good = open_listener(c, &policy->settings);
    for (size_t i = 0; i < count; i++)
        is_good &= open_upstream(c, policy->upstreams[i]);
    if (!is_good)
        certificates_unref(&c);
    return c;
}

struct certificates *certificates_ref(struct certificates *c)
{
    CHECK_TAG(c, CERTIFICATES);
    atomic_fetch_add_explicit(&c->reference_count, 1, memory_order_relaxed);
    return c;
}

void certificates_unref(struct certificates **place)
{
    struct certificates *c = TAKE(place);

    CHECK_TAG(c, CERTIFICATES);
    if (atomic_fetch_sub_explicit(&c->reference_count, 1, memory_order_acq_rel) > 1)
        return;
    for (size_t i = 0; i < c->policy->upstream_count; i++)
        if (c->upstreams[i] != NULL)
            tls_context_unref(&c->upstreams[i]);
    if (c->listener != NULL)
        tls_context_unref(&c->listener);
    policy_unref(&c->policy);
    free(c->upstreams);
    free(c->files);
    c->tag = 0;
    free(c);
}

struct tls_context *const *certificates_upstreams(const struct certificates *c)
{
    CHECK_TAG(c, CERTIFICATES);
    return c->upstreams;
}

struct tls_context *certificates_listener(const struct certificates *c)
{
    CHECK_TAG(c, CERTIFICATES);
    return c->listener;
}

bool certificates_have_changed(const struct certificates *c)
{
    CHECK_TAG(c, CERTIFICATES);
    for (size_t i = 0; i < c->file_count; i++) {
        const struct watched_file *was = &c->files[i];
        struct watched_file is;

        look_at(was->path, &is);
        if (is.device != was->device || is.inode != was->inode || is.size != was->size ||
            is.changed_at.tv_sec != was->changed_at.tv_sec ||
            is.changed_at.tv_nsec != was->changed_at.tv_nsec)
            return true;
    }
    return false;
}
