/*
 * A queue between a producer and a consumer that stands still for six of twenty seconds (its database is away) and catches up
 * afterwards.
 *
 * expect: enqueue = steady|churn|bounded
 */
#include "labelled.h"

SITE char *enqueue(void) { return malloc(500); }

int main(int argc, char **argv)
{
    static char *messages[1 << 14];
    unsigned head = 0, tail = 0;
    begin(argc, argv);
    for (;;) {
        double now = tick(0.01);
        for (unsigned n = poisson(0.8); n > 0; n--)
            messages[tail++ % COUNT(messages)] = filled(enqueue(), 500);
        for (unsigned most = fmod(now, 20) < 8 || fmod(now, 20) > 14 ? 2 : 0; most > 0 && head != tail; most--)
            free(messages[head++ % COUNT(messages)]);
    }
}
