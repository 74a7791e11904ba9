/*
 * Threads that open and close as fast as they can: `race SECONDS`. No lock orders one thread's calls and another's, so
 * that a number is closed by one and given to the next at the same moment. What is open at the end is known all the
 * same, as each number is of one of these sorts:
 * - given by the kernel (the lowest free one): whoever was given it is the only one to close it, or keeps it;
 * - in a range that one thread alone copies onto;
 * - in a range that all copy onto and close at will: at the end one call for each number, from one site, replaces
 *   whatever is there. So all that was opened there before is closed, whoever did it.
 */
#include "fd.h"
#include <pthread.h>
#include <sys/un.h>
#include <time.h>

#define THREADS 8
#define KEPT 13
#define SHARED 600
#define SHARED_COUNT 31
#define OWN 700
#define OWN_COUNT 5

static const char *const FILE_PATH = "/proc/self/exe";

FD_SITE(churned_file, (void), open(FILE_PATH, O_RDONLY | O_CLOEXEC))
FD_SITE(churned_pipe, (int ends[2]), pipe2(ends, O_CLOEXEC))
FD_SITE(churned_pair, (int ends[2]), socketpair(AF_UNIX, SOCK_STREAM, 0, ends))
FD_SITE(churned_copy, (int fd), dup(fd))
FD_SITE(shared_copy, (int fd, int to), dup2(fd, to))
FD_SITE(shared_copy3, (int fd, int to), dup3(fd, to, O_CLOEXEC))
FD_SITE(own_copy, (int fd, int to), dup2(fd, to))
FD_SITE(sealed, (int fd, int to), dup2(fd, to))
FD_SITE(a_listener, (void), socket(AF_UNIX, SOCK_STREAM, 0))
FD_SITE(a_client, (void), socket(AF_UNIX, SOCK_STREAM, 0))
FD_SITE(an_accepted, (int fd), accept4(fd, NULL, NULL, SOCK_CLOEXEC))

/* A site for each thread, of another sort of call for every other one. */
#define KEEPER(n, kind, call) \
    FD_SITE(kept_by_##n, (int fd), ((void)fd, call)) \
    static const char *const kind_by_##n = kind;
KEEPER(0, "file", open(FILE_PATH, O_RDONLY))
KEEPER(1, "eventfd", (int)syscall(SYS_eventfd2, 0, 0))
KEEPER(2, "udp", socket(AF_INET, SOCK_DGRAM, 0))
KEEPER(3, "file", dup(fd))
KEEPER(4, "memfd", (int)syscall(SYS_memfd_create, "kept", 0))
KEEPER(5, "device", open("/dev/null", O_RDWR))
KEEPER(6, "unix", socket(AF_UNIX, SOCK_DGRAM, 0))
KEEPER(7, "directory", openat(AT_FDCWD, "/", O_RDONLY | O_DIRECTORY))

struct keeper {
    struct fd_site *site;
    int (*call)(int fd);
    const char *const *kind;
};
#define KEEPER_OF(n) {&at_kept_by_##n, kept_by_##n, &kind_by_##n}
static const struct keeper keepers[THREADS] = {KEEPER_OF(0), KEEPER_OF(1), KEEPER_OF(2), KEEPER_OF(3),
                                               KEEPER_OF(4), KEEPER_OF(5), KEEPER_OF(6), KEEPER_OF(7)};

struct thread {
    pthread_t id;
    int index;
    int own_listener;
    struct sockaddr_un address;
    socklen_t size;
    int kept[KEPT];
    unsigned long own_opened;
};

static int stop_ms, first_fd;

static int elapsed_ms(void)
{
    static struct timespec begun;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    if (begun.tv_sec == 0)
        begun = now;
    return (int)((now.tv_sec - begun.tv_sec) * 1000 + (now.tv_nsec - begun.tv_nsec) / 1000000);
}

static void count(unsigned long *counter) { __atomic_fetch_add(counter, 1, __ATOMIC_RELAXED); }

static int churned(struct fd_site *site, int fd)
{
    CHECK(fd > 2 && fd < SHARED);
    count(&site->opened);
    return fd;
}

static void dropped(struct fd_site *site, int fd)
{
    CHECK(close(fd) == 0);
    count(&site->closed);
}

/* Onto a number that others use as they like; EBUSY is the kernel's word for "being opened right now". */
static void shared(struct fd_site *site, int result)
{
    CHECK(result >= SHARED || errno == EBUSY);
    if (result >= SHARED)
        count(&site->opened);
}

static void turn(struct thread *self, unsigned random)
{
    int ends[2], number = SHARED + (int)(random % SHARED_COUNT);
    int file = churned(&at_churned_file, churned_file());
    switch (random / 64 % 8) {
    case 0:
    case 1:
        shared(&at_shared_copy, shared_copy(file, number));
        break;
    case 2:
        shared(&at_shared_copy3, shared_copy3(file, number));
        break;
    case 3:
        /* Somebody's, or nobody's. */
        CHECK(close(number) == 0 || errno == EBADF);
        break;
    case 4:
        CHECK(churned_pipe(ends) == 0);
        churned(&at_churned_pipe, ends[0]);
        churned(&at_churned_pipe, ends[1]);
        dropped(&at_churned_pipe, ends[random % 2]);
        dropped(&at_churned_pipe, ends[1 - random % 2]);
        break;
    case 5:
        CHECK(churned_pair(ends) == 0);
        churned(&at_churned_pair, ends[0]);
        churned(&at_churned_pair, ends[1]);
        shared(&at_shared_copy, shared_copy(ends[0], number));
        dropped(&at_churned_pair, ends[0]);
        dropped(&at_churned_pair, ends[1]);
        break;
    case 6: {
        int client = churned(&at_a_client, a_client());
        CHECK(connect(client, (struct sockaddr *)&self->address, self->size) == 0);
        int server = churned(&at_an_accepted, an_accepted(self->own_listener));
        dropped(random % 2 ? &at_a_client : &at_an_accepted, random % 2 ? client : server);
        dropped(random % 2 ? &at_an_accepted : &at_a_client, random % 2 ? server : client);
        break;
    }
    default: {
        int copy = churned(&at_churned_copy, churned_copy(file));
        int own = OWN + self->index * OWN_COUNT + (int)(random % OWN_COUNT);
        CHECK(own_copy(copy, own) == own);
        self->own_opened++;
        dropped(&at_churned_copy, copy);
    }
    }
    dropped(&at_churned_file, file);
}

static void *work(void *argument)
{
    struct thread *self = argument;
    unsigned random = 2463534242u + (unsigned)self->index * 7919u;
    for (int kept = 0, now; (now = elapsed_ms()) < stop_ms || kept < KEPT;) {
        for (int i = 0; i < 31; i++) {
            random ^= random << 13;
            random ^= random >> 17;
            random ^= random << 5;
            turn(self, random >> 3);
        }
        /* All through the race, in equal parts. */
        if (kept < KEPT && now >= stop_ms * kept / KEPT)
            self->kept[kept++] = keepers[self->index].call(first_fd);
    }
    return NULL;
}

static void all_closed_at(struct fd_site *site)
{
    CHECK(site->closed <= site->opened);
    site->closed = site->opened;
}

int main(int argument_count, char **arguments)
{
    static struct thread threads[THREADS];
    CHECK(argument_count == 2);
    stop_ms = atoi(arguments[1]) * 1000;
    CHECK((first_fd = open(FILE_PATH, O_RDONLY)) > 2);
    fd_ready();
    for (int i = 0; i < THREADS; i++) {
        struct thread *thread = &threads[i];
        thread->index = i;
        thread->own_listener = opened(&at_a_listener, "unix", a_listener());
        thread->address.sun_family = AF_UNIX;
        thread->size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 +
                                   (size_t)sprintf(thread->address.sun_path + 1, "leaktrace-race-%d-%d", getpid(), i));
        CHECK(bind(thread->own_listener, (struct sockaddr *)&thread->address, thread->size) == 0);
        CHECK(listen(thread->own_listener, 61) == 0);
    }
    elapsed_ms();
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i].id, NULL, work, &threads[i]) == 0);
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_join(threads[i].id, NULL) == 0);

    for (int number = SHARED; number < SHARED + SHARED_COUNT; number++)
        opened(&at_sealed, "file", sealed(first_fd, number));
    struct fd_site *const closed_all[] = {&at_churned_file, &at_churned_pipe, &at_churned_pair, &at_churned_copy,
                                          &at_shared_copy,  &at_shared_copy3, &at_a_client,     &at_an_accepted};
    for (size_t i = 0; i < COUNT(closed_all); i++)
        all_closed_at(listed(closed_all[i]));
    for (int i = 0; i < THREADS; i++) {
        for (int kept = 0; kept < KEPT; kept++)
            opened(keepers[i].site, *keepers[i].kind, threads[i].kept[kept]);
        for (int own = OWN + i * OWN_COUNT; own < OWN + (i + 1) * OWN_COUNT; own++)
            if (fcntl(own, F_GETFD) != -1)
                opened(&at_own_copy, "file", own), threads[i].own_opened--;
        at_own_copy.opened += threads[i].own_opened;
        at_own_copy.closed += threads[i].own_opened;
    }
    print_fd_ledger();
    done();
    return 0;
}
