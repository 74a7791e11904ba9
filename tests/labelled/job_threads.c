/*
 * A thread for each job, with a buffer of its own, joined when it is done.
 *
 * expect: job_buffer = churn|steady
 */
#include "labelled.h"
#include <pthread.h>

SITE char *job_buffer(void) { return malloc(12000); }

static void *job(void *unused)
{
    (void)unused;
    char *buffer = filled(job_buffer(), 12000);
    usleep(20000 + below(60000));
    free(buffer);
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t jobs[4];
    begin(argc, argv);
    for (unsigned started = 0;; started++) {
        tick(0.04);
        if (started >= COUNT(jobs))
            CHECK(pthread_join(jobs[started % COUNT(jobs)], NULL) == 0);
        CHECK(pthread_create(&jobs[started % COUNT(jobs)], NULL, job, NULL) == 0);
    }
}
