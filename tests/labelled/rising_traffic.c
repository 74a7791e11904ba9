/*
 * Traffic that grows to four times of what it was within the minute, of requests that take two seconds. More and more is
 * outstanding, so `growing` is right; but all of it is freed.
 *
 * expect: accept_request = growing|steady|churn|bounded
 */
#include "labelled.h"

SITE char *accept_request(void) { return malloc(1000); }

int main(int argc, char **argv)
{
    static struct held requests[2000];
    begin(argc, argv);
    for (;;) {
        double now = tick(0.02);
        expire(requests, COUNT(requests), now);
        for (unsigned n = poisson((20 + now) * 0.02); n > 0; n--)
            hold(requests, COUNT(requests), filled(accept_request(), 1000), now + exponential(2));
    }
}
