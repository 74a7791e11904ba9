/*
 * An idle daemon whose health check forgets its answer, a page every 0.7 s.
 *
 * expect: health_check = leaking
 * rate: health_check = 5851
 */
#include "labelled.h"

SITE char *health_check(void) { return malloc(4096); }

int main(int argc, char **argv)
{
    char *answer;
    begin(argc, argv);
    for (;;) {
        tick(0.7);
        answer = filled(health_check(), 4096);
        CHECK(answer[0] == 0x5a);
    }
}
