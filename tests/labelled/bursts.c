/*
 * A mail gateway: every second or so a bulk message comes, and the copies of its recipients are never freed.
 *
 * expect: copy_recipient = leaking
 * expect: read_message = churn|steady
 */
#include "labelled.h"

SITE char *copy_recipient(void) { return malloc(1000); }
SITE char *read_message(void) { return malloc(20000); }

int main(int argc, char **argv)
{
    begin(argc, argv);
    for (;;) {
        tick(between(0.6, 1.4));
        char *message = filled(read_message(), 20000);
        for (unsigned n = 20 + below(41); n > 0; n--)
            filled(copy_recipient(), 1000);
        free(message);
    }
}
