/*
 * A server that links every request into a list for debugging, which nobody reads or cuts.
 *
 * expect: keep_request = leaking
 * expect: parse = churn|steady
 * rate: keep_request = 20480
 */
#include "labelled.h"

struct request {
    struct request *before;
    char body[504];
};

static struct request *all;

SITE struct request *keep_request(void) { return malloc(sizeof(struct request)); }
SITE char *parse(size_t n) { return malloc(n); }

int main(int argc, char **argv)
{
    begin(argc, argv);
    for (;;) {
        tick(1.0 / 40);
        char *parsed = filled(parse(100 + below(900)), 100);
        struct request *request = filled(keep_request(), sizeof *request);
        request->before = all;
        all = request;
        free(parsed);
    }
}
