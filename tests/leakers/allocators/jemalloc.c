/* jemalloc's own functions. Resizing in place makes the block as large as was asked for, as far as it became that large. */
#include "leaker.h"
#include <jemalloc/jemalloc.h>

enum { MALLOCX, RALLOCX, XALLOCX, ALIGNED };

static struct site sites[] = {{"site_mallocx"}, {"site_rallocx"}, {"site_xallocx"}, {"site_aligned"}};

SITE void *site_mallocx(size_t n) { return mallocx(n, 0); }
SITE void *site_aligned(size_t n) { return mallocx(n, MALLOCX_ALIGN(512) | MALLOCX_ZERO); }
SITE void *site_rallocx(void *p, size_t n) { return rallocx(p, n, 0); }
SITE size_t site_xallocx(void *p, size_t n, size_t extra) { return xallocx(p, n, extra, 0); }

static void resize(void *p, size_t *n, struct site **site, size_t wanted, size_t extra, unsigned long *failed)
{
    size_t usable = site_xallocx(p, wanted, extra);
    if (usable < wanted) {
        ++*failed;
        return;
    }
    gave(*site, *n);
    *n = usable < wanted + extra ? usable : wanted + extra;
    *site = &sites[XALLOCX];
    took(*site, *n);
}

int main(void)
{
    unsigned long failed = 0;
    ready();
    for (int i = 0; i < 101; i++) {
        void *p = site_mallocx(1009);
        took(&sites[MALLOCX], 1009);
        if (i % 3 == 0) {
            dallocx(p, 0);
            gave(&sites[MALLOCX], 1009);
        } else if (i % 3 == 1) {
            sdallocx(p, 1009, 0);
            gave(&sites[MALLOCX], 1009);
        }
    }
    for (int i = 0; i < 103; i++) {
        void *p = site_mallocx(211);
        took(&sites[MALLOCX], 211);
        p = site_rallocx(p, 3001);
        gave(&sites[MALLOCX], 211);
        took(&sites[RALLOCX], 3001);
        CHECK(p != NULL);
        if (i % 2) {
            sdallocx(p, 3001, 0);
            gave(&sites[RALLOCX], 3001);
        }
    }
    for (int i = 0; i < 107; i++) {
        CHECK(site_aligned(1777) != NULL);
        took(&sites[ALIGNED], 1777);
    }
    for (int i = 0; i < 109; i++) {
        size_t n = 100;
        struct site *site = &sites[MALLOCX];
        void *p = site_mallocx(n);
        took(site, n);
        /* Within its class, beyond it, with room to spare, and smaller. */
        resize(p, &n, &site, 107, 0, &failed);
        resize(p, &n, &site, 5003, 0, &failed);
        resize(p, &n, &site, 101, 10007, &failed);
        resize(p, &n, &site, 11, 0, &failed);
        if (i % 2) {
            gave(site, n);
            dallocx(p, 0);
        }
    }
    for (int i = 0; i < 31; i++) {
        size_t n = 200003;
        struct site *site = &sites[MALLOCX];
        void *p = site_mallocx(n);
        took(site, n);
        /* A large block can really grow and shrink. */
        resize(p, &n, &site, 200009, 1000003, &failed);
        resize(p, &n, &site, 50021, 0, &failed);
        if (i % 2) {
            gave(site, n);
            sdallocx(p, sallocx(p, 0), 0);
        }
    }
    CHECK(failed > 0);
    print_sites(sites, COUNT(sites));
    print_stat("failed_calls", failed);
    print_stat("unknown_frees", 0);
    done();
    return 0;
}
