/*
 * Descriptors that io_uring opens and closes: no system call returns them or is given them, so that a tracer of system
 * calls finds them only when it looks. With its raw system calls, for want of a library everywhere.
 */
#include "fd.h"
#include <linux/io_uring.h>
#include <sys/mman.h>
#include <sys/un.h>

static struct io_uring_params parameters;
static struct io_uring_sqe *entries;
static unsigned *submitted_tail, *submitted_mask, *submitted_array, *completed_head, *completed_mask;
static struct io_uring_cqe *completions;
static int ring;

FD_SITE(a_ring, (struct io_uring_params *p), syscall(SYS_io_uring_setup, 8, p))
FD_SITE(by_open, (const char *path), open(path, O_RDONLY))
FD_SITE(a_listener, (void), socket(AF_UNIX, SOCK_STREAM, 0))
FD_SITE(a_client, (void), socket(AF_UNIX, SOCK_STREAM, 0))

static void *mapped(size_t size, off_t offset)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring, offset);
    CHECK(p != MAP_FAILED);
    return p;
}

static void map_ring(void)
{
    char *submissions = mapped(parameters.sq_off.array + parameters.sq_entries * sizeof(unsigned), IORING_OFF_SQ_RING);
    char *completed = mapped(parameters.cq_off.cqes + parameters.cq_entries * sizeof *completions, IORING_OFF_CQ_RING);
    entries = mapped(parameters.sq_entries * sizeof *entries, IORING_OFF_SQES);
    submitted_tail = (unsigned *)(submissions + parameters.sq_off.tail);
    submitted_mask = (unsigned *)(submissions + parameters.sq_off.ring_mask);
    submitted_array = (unsigned *)(submissions + parameters.sq_off.array);
    completed_head = (unsigned *)(completed + parameters.cq_off.head);
    completed_mask = (unsigned *)(completed + parameters.cq_off.ring_mask);
    completions = (struct io_uring_cqe *)(completed + parameters.cq_off.cqes);
}

/* One operation, to its end. */
static int done_by_ring(struct io_uring_sqe entry)
{
    unsigned tail = *submitted_tail, index = tail & *submitted_mask;
    entries[index] = entry;
    submitted_array[index] = index;
    __atomic_store_n(submitted_tail, tail + 1, __ATOMIC_RELEASE);
    CHECK(syscall(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) == 1);
    unsigned head = *completed_head;
    int result = completions[head & *completed_mask].res;
    __atomic_store_n(completed_head, head + 1, __ATOMIC_RELEASE);
    return result;
}

static int from_ring(const char *kind, int fd)
{
    if (fd < 0) {
        errno = -fd;
        fail(strerror(errno));
    }
    unseen_opens++;
    return opened(&from_nowhere, kind, fd);
}

static void closed_by_ring(int fd)
{
    CHECK(done_by_ring((struct io_uring_sqe){.opcode = IORING_OP_CLOSE, .fd = fd}) == 0);
    closed(fd);
}

static struct io_uring_sqe open_of(const char *path)
{
    return (struct io_uring_sqe){.opcode = IORING_OP_OPENAT, .fd = AT_FDCWD, .addr = (uintptr_t)path,
                                 .open_flags = O_RDONLY};
}

static void work(void)
{
    ring = a_ring(&parameters);
    if (ring == -1) {
        absent("io_uring");
        return;
    }
    opened(&at_a_ring, "io_uring", ring);
    map_ring();
    for (int i = 0; i < 7; i++)
        from_ring("file", done_by_ring(open_of("/proc/self/exe")));
    CHECK(done_by_ring(open_of("/no/such/file")) == -ENOENT);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 +
                                 (size_t)sprintf(address.sun_path + 1, "leaktrace-ring-%d", getpid()));
    int listener = opened(&at_a_listener, "unix", a_listener());
    CHECK(bind(listener, (struct sockaddr *)&address, size) == 0 && listen(listener, 7) == 0);
    for (int i = 0; i < 5; i++) {
        int client = opened(&at_a_client, "unix", a_client());
        CHECK(connect(client, (struct sockaddr *)&address, size) == 0);
        from_ring("unix", done_by_ring((struct io_uring_sqe){.opcode = IORING_OP_ACCEPT, .fd = listener}));
    }
    int fd = done_by_ring((struct io_uring_sqe){.opcode = IORING_OP_SOCKET, .fd = AF_INET, .off = SOCK_DGRAM});
    if (fd == -EINVAL) {
        errno = EINVAL;
        absent("IORING_OP_SOCKET");
    } else {
        from_ring("udp", fd);
    }
    /* Opened by system calls, closed by the ring; last, so that the numbers stay free. */
    int ours[5];
    for (int i = 0; i < 5; i++)
        ours[i] = opened(&at_by_open, "file", by_open("/proc/self/exe"));
    for (int i = 0; i < 3; i++) {
        closed_by_ring(ours[i]);
        unseen_closes++;
    }
}

int main(void)
{
    fd_ready();
    work();
    print_fd_ledger();
    done();
    return 0;
}
