/*
 * The planted leaks. Compiled into a program; as a library, it is loaded by Python's ctypes and by Node as an addon.
 */
#include "planted.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* Functions that stay ones of their own, and whose blocks nobody has afterwards. */
#define SITE __attribute__((noipa))

SITE void planted_small(void) { memset(malloc(1009), 1, 1009); }
SITE void planted_middle(void) { memset(calloc(1, 2003), 1, 2003); }
SITE void planted_large(void) { memset(realloc(NULL, 4001), 1, 4001); }

static const struct {
    void (*leak)(void);
    unsigned blocks;
} sites[] = {{planted_small, 2003}, {planted_middle, 1009}, {planted_large, 503}};

#define SITES (sizeof sites / sizeof *sites)

void planted_until(double share)
{
    static unsigned leaked[SITES];
    for (size_t i = 0; i < SITES; i++)
        for (; leaked[i] < sites[i].blocks && leaked[i] < share * sites[i].blocks; leaked[i]++)
            sites[i].leak();
}

/*
 * As an addon of Node: a function of one number. The few declarations that this takes are here, since Node's headers are
 * in a package that nothing else needs; they are those of Node-API 1, which does not change. Weak, because Python has none.
 */
typedef struct napi_env_ *napi_env;
typedef struct napi_value_ *napi_value;
typedef struct napi_callback_info_ *napi_callback_info;
typedef napi_value (*napi_callback)(napi_env, napi_callback_info);

#define WEAK __attribute__((weak))
WEAK int napi_create_function(napi_env, const char *, size_t, napi_callback, void *, napi_value *);
WEAK int napi_get_cb_info(napi_env, napi_callback_info, size_t *, napi_value *, napi_value *, void **);
WEAK int napi_get_value_double(napi_env, napi_value, double *);

static napi_value call(napi_env env, napi_callback_info info)
{
    size_t count = 1;
    napi_value argument;
    double share;
    if (napi_get_cb_info(env, info, &count, &argument, NULL, NULL) == 0 && count == 1 &&
        napi_get_value_double(env, argument, &share) == 0)
        planted_until(share);
    return NULL;
}

napi_value napi_register_module_v1(napi_env env, napi_value exports)
{
    napi_value function;
    return napi_create_function(env, "plantedUntil", strlen("plantedUntil"), call, NULL, &function) == 0 ? function : exports;
}
