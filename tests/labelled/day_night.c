/*
 * Load by day and night, a day of 24 s, with much less by night; requests take a second or two.
 *
 * expect: open_request = steady|churn|bounded
 */
#include "labelled.h"

SITE char *open_request(void) { return malloc(1300); }

int main(int argc, char **argv)
{
    static struct held requests[2000];
    begin(argc, argv);
    for (;;) {
        double now = tick(0.02);
        double load = 100 * (1.05 - cos(now / 24 * 2 * M_PI));
        expire(requests, COUNT(requests), now);
        for (unsigned n = poisson(load * 0.02); n > 0; n--)
            hold(requests, COUNT(requests), filled(open_request(), 1300), now + exponential(1.5));
    }
}
