/*
 * One function that copies strings for everyone: for a moment, for a request, for a session. The heap gets holes; nothing
 * leaks.
 *
 * expect: copy_string = steady|churn|bounded
 */
#include "labelled.h"

SITE char *copy_string(size_t n) { return malloc(n); }

int main(int argc, char **argv)
{
    static struct held strings[3000];
    static const double lifetimes[] = {0.01, 0.01, 0.01, 0.3, 0.3, 2, 10};
    begin(argc, argv);
    for (;;) {
        double now = tick(0.02);
        expire(strings, COUNT(strings), now);
        for (unsigned n = poisson(150 * 0.02); n > 0; n--) {
            size_t size = 8 << below(8);
            double life = exponential(lifetimes[below(COUNT(lifetimes))]);
            hold(strings, COUNT(strings), filled(copy_string(size), size), now + life);
        }
    }
}
