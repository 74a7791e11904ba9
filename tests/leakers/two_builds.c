/* A program before and after a leak was fixed: with FIXED, what was leaked is freed and closed, something else is kept, and
 * everything is at other lines and addresses. */
#include "leaker.h"
#include <fcntl.h>

static struct site sites[] = {{"fixed_later"}, {"kept"}, {"kept_more"}, {"kept_later"}};

#ifdef FIXED
/* Something else that comes first, so that what follows is elsewhere. */
SITE long padding(long n)
{
    volatile long sum = 0;
    for (long i = 0; i < n; i++)
        sum += i * n;
    return sum;
}

SITE void *kept_later(size_t n) { return malloc(n); }
#endif

SITE void *fixed_later(size_t n) { return malloc(n); }
SITE void *kept(size_t n) { return malloc(n); }
SITE void *kept_more(size_t n) { return malloc(n); }
SITE int open_report(void) { return open("/dev/null", O_RDONLY | O_CLOEXEC); }

SITE void serve(void)
{
    int more = 13;
#ifdef FIXED
    CHECK(padding(7) > 0);
    more = 17;
    CHECK(kept_later(2003) != NULL);
    took(&sites[3], 2003);
#endif
    for (int i = 0; i < 101; i++) {
        void *p = fixed_later(1009);
        CHECK(p != NULL);
        took(&sites[0], 1009);
#ifdef FIXED
        free(p);
        gave(&sites[0], 1009);
#endif
    }
    CHECK(kept(4001) != NULL);
    took(&sites[1], 4001);
    for (int i = 0; i < more; i++) {
        CHECK(kept_more(31) != NULL);
        took(&sites[2], 31);
    }
    for (int i = 0; i < 7; i++) {
        int fd = open_report();
        CHECK(fd >= 0);
#ifdef FIXED
        close(fd);
#endif
    }
}

int main(void)
{
    ready();
    serve();
    print_sites(sites, COUNT(sites));
    done();
    return 0;
}
