#include "app/version.h"

#include "app/gzip.h"
#include "base/digest.h"
#include "net/loop.h"
#include "store/embedded.h"

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
    fprintf(out, "lockkeeper %s\n  compiler %s\n  libuv %s\n  %s\n  %s\n  zlib %s\n",
            LOCKKEEPER_VERSION, __VERSION__, version_libuv(), embedded_library_version(),
            version_openssl(), gzip_library_version());
}
