#include "app/version.h"

#include <jansson.h>

#include "app/gzip.h"
#include "base/digest.h"
#include "http/http_parse.h"
#include "net/loop.h"
#include "policy/yaml.h"
#include "store/embedded.h"
#include "store/reply.h"

const char *version_libuv(void)
{
    return loop_library_version();
}

const char *version_openssl(void)
{
    return digest_library_version();
}

void version_print(FILE *out)
{
    fprintf(out,
            "lockkeeper %s\n  compiler %s\n  libuv %s\n  llhttp %s\n  hiredis %s\n  libyaml %s\n"
            "  jansson %s\n  zlib %s\n  %s\n  %s\n",
            LOCKKEEPER_VERSION, __VERSION__, version_libuv(), http_parse_library_version(),
            reply_library_version(), yaml_library_version(), jansson_version_str(),
            gzip_library_version(), embedded_library_version(), version_openssl());
}
