/* What this build is made of. */
#ifndef APP_VERSION_H
#define APP_VERSION_H

#include <stdio.h>

void version_print(FILE *out);
/* "1.44.2" and the like; static. */
const char *version_libuv(void);
const char *version_openssl(void);

#endif
