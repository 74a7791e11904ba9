/* What exec.c becomes: it opens nothing, not even a library. */
#include "leaker.h"

int main(void)
{
    done();
    return 0;
}
