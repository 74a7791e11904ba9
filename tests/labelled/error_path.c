/*
 * Ten thousand requests a second; one in a thousand takes an error path that returns without freeing its buffer.
 *
 * expect: read_request = leaking
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
        char *requests[100];
        for (int i = 0; i < 100; i++)
            requests[i] = filled(read_request(), 2000);
        for (int i = 0; i < 100; i++)
            handle(requests[i]);
    }
}
