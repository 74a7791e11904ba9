/*
 * A time series is made for each pair of route and status that is met. The common ones come at once, a rare one now and
 * then: after a minute there may be one more, but there are only 120.
 *
 * expect: new_series = bounded|steady|start-up|growing
 */
#include "labelled.h"

SITE char *new_series(void) { return malloc(900); }

int main(int argc, char **argv)
{
    static char *series[120];
    begin(argc, argv);
    for (;;) {
        tick(1.0 / 100);
        unsigned which = (unsigned)(COUNT(series) * pow(share(), 6));
        if (!series[which])
            series[which] = filled(new_series(), 900);
    }
}
