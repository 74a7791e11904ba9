/* A leak below a function that gets a hostile name after it was compiled. */
#include "leaker.h"

static struct site sites[] = {{"take"}};

SITE void *take(size_t n) { return malloc(n); }

SITE void *renamed(size_t n)
{
    void *p = take(n);
    __asm__ volatile("" ::"r"(p) : "memory");
    return p;
}

int main(void)
{
    ready();
    for (int i = 0; i < 17; i++) {
        CHECK(renamed(211) != NULL);
        took(&sites[0], 211);
    }
    print_sites(sites, COUNT(sites));
    done();
    return 0;
}
