/*
 * Compiles each of its 800 templates when it is first used. Use spreads from the front page to all others within 25 s, and
 * then everything is compiled.
 *
 * expect: compile_template = bounded
 */
#include "labelled.h"

SITE char *compile_template(size_t n) { return malloc(n); }

int main(int argc, char **argv)
{
    static char *templates[800];
    begin(argc, argv);
    for (;;) {
        double now = tick(1.0 / 200);
        unsigned known = now < 25 ? 20 + (unsigned)(now / 25 * 780) : 800, which = below(known);
        size_t n = 500 + which * 3;
        if (!templates[which])
            templates[which] = filled(compile_template(n), n);
    }
}
