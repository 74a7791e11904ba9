/*
 * The last 600 lines of a log, each freed when a new one takes its place.
 *
 * expect: log_line = bounded|steady|churn
 */
#include "labelled.h"

SITE char *log_line(size_t n) { return malloc(n); }

int main(int argc, char **argv)
{
    static char *lines[600];
    begin(argc, argv);
    for (unsigned line = 0;; line++) {
        tick(1.0 / 80);
        size_t n = 40 + below(160);
        free(lines[line % COUNT(lines)]);
        lines[line % COUNT(lines)] = filled(log_line(n), n);
    }
}
