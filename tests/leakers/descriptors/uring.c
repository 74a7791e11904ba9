/*
 * Descriptors that io_uring opens and closes: no system call returns them or is given them. A site is where they are
 * submitted. With its raw system calls, for want of a library everywhere.
 */
#include "fd.h"
#include <linux/io_uring.h>
#include <sys/mman.h>
#include <sys/un.h>

static struct io_uring_params parameters;
static struct io_uring_sqe *entries;
static unsigned *submitted_tail, *submitted_mask, *submitted_array, *completed_head, *completed_tail, *completed_mask;
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
    completed_tail = (unsigned *)(completed + parameters.cq_off.tail);
    completed_mask = (unsigned *)(completed + parameters.cq_off.ring_mask);
    completions = (struct io_uring_cqe *)(completed + parameters.cq_off.cqes);
}

/* Newer than some headers. */
enum { FIXED_FD_INSTALL = 54, RING_PIPE = 62 };

static void submitted(struct io_uring_sqe entry, unsigned wait)
{
    unsigned tail = *submitted_tail, index = tail & *submitted_mask;
    entries[index] = entry;
    submitted_array[index] = index;
    __atomic_store_n(submitted_tail, tail + 1, __ATOMIC_RELEASE);
    CHECK(syscall(SYS_io_uring_enter, ring, 1, wait, IORING_ENTER_GETEVENTS, NULL, 0) == 1);
}

static int result(void)
{
    unsigned head = *completed_head;
    while (head == __atomic_load_n(completed_tail, __ATOMIC_ACQUIRE))
        CHECK(syscall(SYS_io_uring_enter, ring, 0, 1, IORING_ENTER_GETEVENTS, NULL, 0) == 0);
    int result = completions[head & *completed_mask].res;
    __atomic_store_n(completed_head, head + 1, __ATOMIC_RELEASE);
    return result;
}

/* One operation, to its end. */
static int done_by_ring(struct io_uring_sqe entry)
{
    submitted(entry, 1);
    return result();
}

FD_SITE(opened_by_ring, (struct io_uring_sqe entry), done_by_ring(entry))
FD_SITE(accepted_by_ring, (struct io_uring_sqe entry), done_by_ring(entry))
FD_SITE(made_by_ring, (struct io_uring_sqe entry), done_by_ring(entry))
FD_SITE(piped_by_ring, (struct io_uring_sqe entry), done_by_ring(entry))
FD_SITE(installed_by_ring, (struct io_uring_sqe entry), done_by_ring(entry))
FD_SITE(accepting_by_ring, (struct io_uring_sqe entry), (submitted(entry, 0), 0))

/* Not openings. */
FD_SITE(connected_by_ring, (struct io_uring_sqe entry), done_by_ring(entry))
FD_SITE(connected, (int fd, struct sockaddr *address, socklen_t size), connect(fd, address, size))
SITE int slotted_by_ring(struct io_uring_sqe entry) { return done_by_ring(entry); }

static int from_ring(struct fd_site *site, const char *kind, int fd)
{
    if (fd < 0) {
        errno = -fd;
        fail(strerror(errno));
    }
    return opened(site, kind, fd);
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

static void connects(struct sockaddr_un *address, socklen_t size, int by_ring)
{
    int client = opened(&at_a_client, "unix", a_client());
    listed(by_ring ? &at_connected_by_ring : &at_connected);
    if (by_ring)
        CHECK(connected_by_ring((struct io_uring_sqe){.opcode = IORING_OP_CONNECT, .fd = client,
                                                      .addr = (uintptr_t)address, .off = size}) == 0);
    else
        CHECK(connected(client, (struct sockaddr *)address, size) == 0);
}

/* One request, many connections; then one that fails, since the listener is not waited for any more. */
static void go_on_accepting(int listener, struct sockaddr_un *address, socklen_t size)
{
    accepting_by_ring((struct io_uring_sqe){.opcode = IORING_OP_ACCEPT, .fd = listener, .user_data = 4099,
                                            .ioprio = IORING_ACCEPT_MULTISHOT});
    for (int i = 0; i < 3; i++) {
        connects(address, size, 0);
        int fd = result();
        if (fd == -EINVAL) {
            errno = EINVAL;
            absent("IORING_ACCEPT_MULTISHOT");
            return;
        }
        from_ring(&at_accepting_by_ring, "unix", fd);
    }
    CHECK(syscall(SYS_io_uring_enter, ring, 0, 0, IORING_ENTER_GETEVENTS, NULL, 0) == 0);
    struct io_uring_sqe cancel = {.opcode = IORING_OP_ASYNC_CANCEL, .addr = 4099};
    submitted(cancel, 2);
    /* Of the request and of its end, in either order. */
    int first = result(), second = result();
    CHECK((first == -ECANCELED && second == 0) || (first == 0 && second == -ECANCELED));
}

static void pipes(void)
{
    int ends[2];
    int done = piped_by_ring((struct io_uring_sqe){.opcode = RING_PIPE, .addr = (uintptr_t)ends});
    if (done == -EINVAL) {
        errno = EINVAL;
        absent("IORING_OP_PIPE");
        return;
    }
    CHECK(done == 0);
    from_ring(&at_piped_by_ring, "pipe", ends[0]);
    from_ring(&at_piped_by_ring, "pipe", ends[1]);
}

/* Files of the ring's own table are no descriptors, whatever their numbers. */
static void by_slots(void)
{
    int none[7] = {-1, -1, -1, -1, -1, -1, -1}, slots[5];
    CHECK(syscall(SYS_io_uring_register, ring, IORING_REGISTER_FILES, none, 7) == 0);
    struct io_uring_sqe entry = open_of("/proc/self/exe");
    entry.file_index = 6;
    CHECK(slotted_by_ring(entry) == 0);
    for (int i = 0; i < 5; i++) {
        entry.file_index = IORING_FILE_INDEX_ALLOC;
        int slot = slotted_by_ring(entry);
        if (slot < 0) {
            errno = -slot;
            absent("IORING_FILE_INDEX_ALLOC");
            return;
        }
        slots[i] = slot;
    }
    CHECK(slotted_by_ring((struct io_uring_sqe){.opcode = IORING_OP_CLOSE, .file_index = (unsigned)slots[3] + 1}) == 0);
    int fd = installed_by_ring(
        (struct io_uring_sqe){.opcode = FIXED_FD_INSTALL, .fd = slots[1], .flags = IOSQE_FIXED_FILE});
    if (fd == -EINVAL) {
        errno = EINVAL;
        absent("IORING_OP_FIXED_FD_INSTALL");
        return;
    }
    from_ring(&at_installed_by_ring, "file", fd);
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
        from_ring(&at_opened_by_ring, "file", opened_by_ring(open_of("/proc/self/exe")));
    CHECK(opened_by_ring(open_of("/no/such/file")) == -ENOENT);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 +
                                 (size_t)sprintf(address.sun_path + 1, "leaktrace-ring-%d", getpid()));
    int listener = opened(&at_a_listener, "unix", a_listener());
    CHECK(bind(listener, (struct sockaddr *)&address, size) == 0 && listen(listener, 7) == 0);
    for (int i = 0; i < 5; i++) {
        connects(&address, size, i % 2);
        from_ring(&at_accepted_by_ring, "unix",
                  accepted_by_ring((struct io_uring_sqe){.opcode = IORING_OP_ACCEPT, .fd = listener}));
    }
    go_on_accepting(listener, &address, size);
    pipes();
    by_slots();
    int fd = made_by_ring((struct io_uring_sqe){.opcode = IORING_OP_SOCKET, .fd = AF_INET, .off = SOCK_DGRAM});
    if (fd == -EINVAL) {
        errno = EINVAL;
        absent("IORING_OP_SOCKET");
    } else {
        from_ring(&at_made_by_ring, "udp", fd);
    }
    /* Opened by system calls, closed by the ring; last, so that the numbers stay free. */
    int ours[5];
    for (int i = 0; i < 5; i++)
        ours[i] = opened(&at_by_open, "file", by_open("/proc/self/exe"));
    for (int i = 0; i < 3; i++)
        closed_by_ring(ours[i]);
}

int main(void)
{
    fd_ready();
    work();
    print_fd_ledger();
    done();
    return 0;
}
