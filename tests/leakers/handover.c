/* Blocks that one thread allocates and another frees, in three hands. */
#include "leaker.h"
#include <pthread.h>

enum { GIVEN, PASSED };

static struct site sites[] = {{"given"}, {"passed"}};

SITE void *given(size_t n) { return malloc(n); }
SITE void *passed(void *p, size_t n) { return realloc(p, n); }

#define BLOCKS 5003

/* Large enough that nobody has to wait for room. */
static struct queue {
    pthread_mutex_t lock;
    pthread_cond_t filled;
    struct block blocks[BLOCKS];
    int in, out;
} queues[2] = {
    {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, {{0}}, 0, 0},
    {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, {{0}}, 0, 0},
};

static void put(struct queue *queue, struct block b)
{
    pthread_mutex_lock(&queue->lock);
    queue->blocks[queue->in++] = b;
    pthread_cond_signal(&queue->filled);
    pthread_mutex_unlock(&queue->lock);
}

static struct block get(struct queue *queue)
{
    pthread_mutex_lock(&queue->lock);
    while (queue->out == queue->in)
        pthread_cond_wait(&queue->filled, &queue->lock);
    struct block b = queue->blocks[queue->out++];
    pthread_mutex_unlock(&queue->lock);
    return b;
}

static void *maker(void *argument)
{
    (void)argument;
    for (int i = 0; i < BLOCKS; i++) {
        size_t n = 17 + (size_t)(i % 13) * 101;
        struct block b = {given(n), n, &sites[GIVEN]};
        CHECK(b.p != NULL);
        took(b.site, n);
        put(&queues[0], b);
    }
    return NULL;
}

static void *passer(void *argument)
{
    (void)argument;
    for (int i = 0; i < BLOCKS; i++) {
        struct block b = get(&queues[0]);
        if (i % 5 == 0) {
            size_t n = b.n * 3;
            void *p = passed(b.p, n);
            CHECK(p != NULL);
            gave(b.site, b.n);
            b = (struct block){p, n, &sites[PASSED]};
            took(b.site, n);
        }
        put(&queues[1], b);
    }
    return NULL;
}

static void *taker(void *argument)
{
    (void)argument;
    for (int i = 0; i < BLOCKS; i++) {
        struct block b = get(&queues[1]);
        if (i % 7) {
            gave(b.site, b.n);
            free(b.p);
        }
    }
    return NULL;
}

int main(void)
{
    pthread_t threads[3];
    ready();
    CHECK(pthread_create(&threads[0], NULL, maker, NULL) == 0);
    CHECK(pthread_create(&threads[1], NULL, passer, NULL) == 0);
    CHECK(pthread_create(&threads[2], NULL, taker, NULL) == 0);
    for (int i = 0; i < 3; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    print_sites(sites, COUNT(sites));
    done();
    return 0;
}
