/*
 * Collects events for seven seconds, sends them, and frees them all: a sawtooth.
 *
 * expect: record_event = steady|churn|bounded
 */
#include "labelled.h"

SITE char *record_event(void) { return malloc(150); }

int main(int argc, char **argv)
{
    static char *events[4000];
    size_t n = 0;
    begin(argc, argv);
    for (unsigned round = 1;; round++) {
        tick(0.05);
        for (unsigned more = poisson(60 * 0.05); more > 0; more--)
            events[n++] = filled(record_event(), 150);
        if (round % 140 == 0)
            while (n > 0)
                free(events[--n]);
    }
}
