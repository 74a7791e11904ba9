/*
 * Sessions last two seconds on average and end with a logout. One client in ten crashes instead, and its session is kept
 * for ever.
 *
 * expect: open_session = leaking
 */
#include "labelled.h"

SITE char *open_session(void) { return malloc(900); }

int main(int argc, char **argv)
{
    static struct held sessions[1000];
    begin(argc, argv);
    for (;;) {
        double now = tick(0.05);
        expire(sessions, COUNT(sessions), now);
        for (unsigned n = poisson(5); n > 0; n--) {
            char *session = filled(open_session(), 900);
            if (below(10) > 0)
                hold(sessions, COUNT(sessions), session, now + exponential(2));
        }
    }
}
