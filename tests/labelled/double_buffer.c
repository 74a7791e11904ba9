/*
 * Builds the next scene while one is shown; then they change places, and the old one is freed.
 *
 * expect: new_shape = steady|churn
 */
#include "labelled.h"

enum { MOST = 300 };

SITE char *new_shape(void) { return malloc(250); }

int main(int argc, char **argv)
{
    static char *scenes[2][MOST];
    begin(argc, argv);
    for (unsigned frame = 0;; frame++) {
        char **next_scene = scenes[frame % 2], **shown = scenes[(frame + 1) % 2];
        for (unsigned n = 200 + below(100), i = 0; i < n; i++) {
            next_scene[i] = filled(new_shape(), 250);
            if (i % 10 == 0)
                tick(0.05);
        }
        for (unsigned i = 0; i < MOST; i++) {
            free(shown[i]);
            shown[i] = NULL;
        }
    }
}
