/* Calls that give nothing: too large, overflowing, badly aligned; blocks of no bytes; free(NULL). */
#include "leaker.h"
#include <errno.h>
#include <malloc.h>

enum { GOOD, EMPTY, EMPTY_ALIGNED };

static struct site sites[] = {{"good"}, {"empty"}, {"empty_aligned"}};

/* Not known to the compiler. */
static volatile size_t huge = PTRDIFF_MAX, bad_alignment = 3, zero;

SITE void *good(size_t n) { return malloc(n); }
SITE void *empty(void) { return malloc(zero); }
SITE void *too_large(size_t n) { return malloc(n); }
SITE void *overflowing(size_t n, size_t size) { return calloc(n, size); }
SITE void *too_large_array(size_t n, size_t size) { return reallocarray(NULL, n, size); }
SITE void *too_large_aligned(size_t n) { return aligned_alloc(64, n); }
SITE int badly_aligned(void **out) { return posix_memalign(out, bad_alignment, 1009); }
SITE int too_large_posix(void **out, size_t n) { return posix_memalign(out, 64, n); }
SITE void *empty_aligned(void)
{
    void *p = NULL;
    CHECK(posix_memalign(&p, 64, zero) == 0);
    return p;
}

int main(void)
{
    unsigned long failed = 0, nulls = 0;
    ready();
    /* What a failed posix_memalign leaves in its result is the address of a block that exists. */
    void *out = good(1013);
    CHECK(out != NULL);
    took(&sites[GOOD], 1013);
    void *const before = out;
    for (int i = 0; i < 11; i++, failed++)
        CHECK(badly_aligned(&out) == EINVAL && out == before);
    for (int i = 0; i < 13; i++, failed++)
        CHECK(too_large_posix(&out, huge) == ENOMEM && out == before);
    for (int i = 0; i < 17; i++, failed++)
        CHECK(too_large(huge) == NULL && errno == ENOMEM);
    for (int i = 0; i < 19; i++, failed++)
        CHECK(overflowing(huge, 3) == NULL);
    for (int i = 0; i < 23; i++, failed++)
        CHECK(too_large_array(huge, 5) == NULL);
    for (int i = 0; i < 29; i++, failed++)
        CHECK(too_large_aligned(huge) == NULL);
    for (int i = 0; i < 31; i++, nulls++)
        free(NULL);
    for (int i = 0; i < 37; i++) {
        void *p = empty();
        CHECK(p != NULL);
        took(&sites[EMPTY], 0);
        if (i % 3 == 0) {
            free(p);
            gave(&sites[EMPTY], 0);
        }
    }
    for (int i = 0; i < 41; i++) {
        void *p = empty_aligned();
        CHECK(p != NULL);
        took(&sites[EMPTY_ALIGNED], 0);
        if (i % 3 == 0) {
            free(p);
            gave(&sites[EMPTY_ALIGNED], 0);
        }
    }
    for (int i = 0; i < 43; i++) {
        CHECK(good(1009) != NULL);
        took(&sites[GOOD], 1009);
    }
    print_sites(sites, COUNT(sites));
    print_stat("failed_calls", failed);
    print_stat("null_frees", nulls);
    print_stat("unknown_frees", 0);
    done();
    return 0;
}
