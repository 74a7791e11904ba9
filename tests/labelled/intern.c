/*
 * Interns the names that it meets. There are 3,000, some common and some rare, and most of a minute shows all but the last of
 * them.
 *
 * expect: intern_name = bounded
 */
#include "labelled.h"

SITE char *intern_name(size_t n) { return malloc(n); }

int main(int argc, char **argv)
{
    static char *names[3000];
    begin(argc, argv);
    for (;;) {
        tick(1.0 / 100);
        for (int i = 0; i < 4; i++) {
            unsigned name = (unsigned)(COUNT(names) * pow(share(), 1.5));
            size_t n = 6 + name % 40;
            if (!names[name])
                names[name] = filled(intern_name(n), n);
        }
    }
}
