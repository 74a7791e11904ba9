/*
 * An error path that is taken once a second leaves its buffer behind, among a thousand requests that do not. A cache that
 * fills up in some minutes could look the same until then, so a minute need not be enough to tell.
 *
 * expect: read_request = leaking|growing
 */
#include "labelled.h"

SITE char *read_request(void) { return malloc(2000); }

SITE int handle(char *request)
{
    if (below(1000) == 0)
        return -1;
    free(request);
    return 0;
}

int main(int argc, char **argv)
{
    begin(argc, argv);
    for (;;) {
        tick(0.01);
        char *requests[10];
        for (int i = 0; i < 10; i++)
            requests[i] = filled(read_request(), 2000);
        for (int i = 0; i < 10; i++)
            handle(requests[i]);
    }
}
