/*
 * Sessions of 8 s on average in equilibrium, in service for a while when it is traced: those from before end one after the
 * other, and others take their places.
 *
 * expect: login = steady|churn|bounded
 * before: 8
 */
#include "labelled.h"

SITE char *login(void) { return malloc(1700); }

int main(int argc, char **argv)
{
    static struct held sessions[1000];
    begin(argc, argv);
    for (int i = 0; i < 160; i++)
        hold(sessions, COUNT(sessions), filled(login(), 1700), exponential(8));
    for (;;) {
        double now = tick(0.05);
        expire(sessions, COUNT(sessions), now);
        for (unsigned n = poisson(20 * 0.05); n > 0; n--)
            hold(sessions, COUNT(sessions), filled(login(), 1700), now + exponential(8));
    }
}
