/* One leak. With an argument it does not end by its protocol, but by itself, right after its work. */
#include "leaker.h"

static struct site sites[] = {{"simple_leak"}};

SITE void *simple_leak(size_t n) { return malloc(n); }

int main(int count, char **arguments)
{
    (void)arguments;
    ready();
    for (int i = 0; i < 101; i++) {
        CHECK(simple_leak(1009) != NULL);
        took(&sites[0], 1009);
    }
    print_sites(sites, COUNT(sites));
    if (count > 1) {
        say("done\n");
        return 0;
    }
    done();
    return 0;
}
