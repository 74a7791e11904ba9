/*
 * 300 users at any time, who stay for 15 s on average; who leaves is followed by another. The server begins with as many,
 * from its last run.
 *
 * expect: new_session = steady|churn|bounded
 */
#include "labelled.h"

SITE char *new_session(void) { return malloc(1100); }

int main(int argc, char **argv)
{
    static struct held sessions[1000];
    begin(argc, argv);
    for (int i = 0; i < 300; i++)
        hold(sessions, COUNT(sessions), filled(new_session(), 1100), exponential(15));
    for (;;) {
        double now = tick(0.05);
        expire(sessions, COUNT(sessions), now);
        for (unsigned n = poisson(20 * 0.05); n > 0; n--)
            hold(sessions, COUNT(sessions), filled(new_session(), 1100), now + exponential(15));
    }
}
