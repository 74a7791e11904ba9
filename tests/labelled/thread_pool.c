/*
 * Four workers take jobs from a queue. Those that resize an image, one in ten, leave their scratch block behind.
 *
 * expect: resize_scratch = leaking
 * expect: job_result = churn|steady
 * rate: resize_scratch = 2560
 */
#include "labelled.h"
#include <pthread.h>
#include <semaphore.h>

static sem_t jobs;
static unsigned taken;

SITE char *resize_scratch(void) { return malloc(256); }
SITE char *job_result(void) { return malloc(1500); }

static void *work(void *unused)
{
    (void)unused;
    for (;;) {
        while (sem_wait(&jobs)) {
        }
        char *result = filled(job_result(), 1500);
        if (__atomic_fetch_add(&taken, 1, __ATOMIC_RELAXED) % 10 == 0)
            filled(resize_scratch(), 256);
        free(result);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t worker;
    begin(argc, argv);
    sem_init(&jobs, 0, 0);
    for (int i = 0; i < 4; i++)
        CHECK(pthread_create(&worker, NULL, work, NULL) == 0);
    for (;;) {
        tick(0.01);
        sem_post(&jobs);
    }
}
