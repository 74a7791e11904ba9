/*
 * Leaks a block for each order, and orders come by day and night: a day takes 20 s. Three days are few to tell a load that
 * comes and goes from a rate that declines.
 *
 * expect: place_order = leaking|growing
 * expect: quote = churn|steady|bounded
 */
#include "labelled.h"

SITE char *place_order(void) { return malloc(400); }
SITE char *quote(void) { return malloc(3000); }

int main(int argc, char **argv)
{
    static struct held quotes[500];
    begin(argc, argv);
    for (;;) {
        double now = tick(0.02);
        double load = 30 * (1.1 + sin(now / 20 * 2 * M_PI)) * 0.02;
        expire(quotes, COUNT(quotes), now);
        for (unsigned n = poisson(load); n > 0; n--) {
            filled(place_order(), 400);
            hold(quotes, COUNT(quotes), filled(quote(), 3000), now + exponential(0.5));
        }
    }
}
