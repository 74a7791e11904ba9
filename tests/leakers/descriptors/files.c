/* Descriptors of files, pipes and copies, by every call that makes or closes one. The argument says which calls. */
#include "fd.h"
#include <dirent.h>
#include <linux/close_range.h>
#include <linux/openat2.h>
#include <sys/resource.h>

static const char *const FILE_PATH = "/proc/self/exe";
static char scratch[64];

static int openat2_of(const char *path)
{
    struct open_how how = {.flags = O_RDONLY | O_CLOEXEC, .resolve = 0};
    return (int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof how);
}

static int stream_of(const char *path)
{
    FILE *stream = fopen(path, "re");
    return stream == NULL ? -1 : fileno(stream);
}

static int directory_of(const char *path)
{
    DIR *directory = opendir(path);
    return directory == NULL ? -1 : dirfd(directory);
}

FD_SITE(by_open, (const char *path, int flags), open(path, flags, 0600))
FD_SITE(by_open_call, (const char *path), syscall(SYS_open, path, O_RDONLY))
FD_SITE(by_openat, (int at, const char *path, int flags), openat(at, path, flags, 0600))
FD_SITE(by_openat2, (const char *path), openat2_of(path))
FD_SITE(by_creat, (const char *path), creat(path, 0600))
FD_SITE(by_creat_call, (const char *path), syscall(SYS_creat, path, 0600))
FD_SITE(by_fopen, (const char *path), stream_of(path))
FD_SITE(by_opendir, (const char *path), directory_of(path))
FD_SITE(by_dup, (int fd), dup(fd))
FD_SITE(by_dup2, (int fd, int to), dup2(fd, to))
FD_SITE(by_dup2_call, (int fd, int to), syscall(SYS_dup2, fd, to))
FD_SITE(by_dup3, (int fd, int to), dup3(fd, to, O_CLOEXEC))
FD_SITE(by_dupfd, (int fd, int from), fcntl(fd, F_DUPFD, from))
FD_SITE(by_dupfd_cloexec, (int fd, int from), fcntl(fd, F_DUPFD_CLOEXEC, from))
FD_SITE(by_other_fcntl, (int fd, int command, int argument), fcntl(fd, command, argument))
FD_SITE(by_pipe, (int ends[2]), pipe(ends))
FD_SITE(by_pipe_call, (int ends[2]), syscall(SYS_pipe, ends))
FD_SITE(by_pipe2, (int ends[2], int flags), pipe2(ends, flags))

static int file_at(struct fd_site *site, int fd) { return opened(site, "file", fd); }

static void opens(void)
{
    for (int i = 0; i < 13; i++) {
        int fd = file_at(&at_by_open, by_open(FILE_PATH, O_RDONLY));
        if (i % 3 == 0)
            close_it(fd);
    }
    for (int i = 0; i < 2; i++) {
        opened(&at_by_open, "directory", by_open("/", O_RDONLY | O_DIRECTORY));
        opened(&at_by_open, "device", by_open("/dev/null", O_RDWR));
        file_at(&at_by_open, by_open(FILE_PATH, O_PATH));
    }
    CHECK(mkfifo(scratch, 0600) == 0);
    opened(&at_by_open, "pipe", by_open(scratch, O_RDWR));
    CHECK(unlink(scratch) == 0);
    for (int i = 0; i < 7; i++)
        file_at(&at_by_open_call, by_open_call(FILE_PATH));
    int root = opened(&at_by_openat, "directory", by_openat(AT_FDCWD, "/", O_RDONLY | O_DIRECTORY));
    for (int i = 0; i < 5; i++) {
        opened(&at_by_openat, "directory", by_openat(root, "proc", O_RDONLY));
        close_it(file_at(&at_by_openat, by_openat(root, "proc/self/exe", O_RDONLY)));
    }
    for (int i = 0; i < 11; i++)
        file_at(&at_by_openat2, by_openat2(FILE_PATH));
    for (int i = 0; i < 3; i++) {
        file_at(&at_by_creat, by_creat(scratch));
        file_at(&at_by_creat_call, by_creat_call(scratch));
    }
    CHECK(unlink(scratch) == 0);
    for (int i = 0; i < 5; i++)
        file_at(&at_by_fopen, by_fopen(FILE_PATH));
    for (int i = 0; i < 2; i++)
        opened(&at_by_opendir, "directory", by_opendir("/"));
}

static int old_file, old_pipe[2];

static void dups(void)
{
    int fd = file_at(&at_by_open, by_open(FILE_PATH, O_RDONLY));
    for (int i = 0; i < 7; i++)
        file_at(&at_by_dup, by_dup(fd));
    opened(&at_by_dup, "pipe", by_dup(old_pipe[0]));
    close_it(file_at(&at_by_dup, by_dup(old_file)));
    /* To free numbers, to numbers in use, and to one of the file's own. */
    for (int i = 0; i < 11; i++)
        file_at(&at_by_dup2, by_dup2(fd, 200 + i));
    for (int i = 0; i < 5; i++) {
        CHECK(by_dup2_call(old_pipe[1], 200 + i) == 200 + i);
        closed(200 + i);
        opened(&at_by_dup2_call, "pipe", 200 + i);
    }
    for (int i = 0; i < 3; i++) {
        CHECK(by_dup2(fd, fd) == fd);
        CHECK(by_dup2(old_file, old_file) == old_file);
    }
    for (int i = 0; i < 7; i++)
        file_at(&at_by_dup3, by_dup3(fd, 300 + i));
    for (int i = 0; i < 2; i++) {
        CHECK(by_dup3(fd, 300 + i) == 300 + i);
        closed(300 + i);
        file_at(&at_by_dup3, 300 + i);
    }
    refused(&at_by_dup3, EINVAL, by_dup3(fd, fd));
    refused(&at_by_dup2, EBADF, by_dup2(999, 201));
    /* Onto one from before: nobody's descriptor is closed, and the number is ours now. */
    CHECK(by_dup2(fd, old_pipe[0]) == old_pipe[0]);
    closed(old_pipe[0]);
    file_at(&at_by_dup2, old_pipe[0]);
    for (int i = 0; i < 3; i++)
        file_at(&at_by_dupfd, by_dupfd(fd, 400));
    for (int i = 0; i < 5; i++) {
        int copy = file_at(&at_by_dupfd_cloexec, by_dupfd_cloexec(fd, 500));
        if (i % 2)
            close_it(copy);
    }
    /* Numbers that are no descriptors. */
    listed(&at_by_other_fcntl);
    CHECK(by_other_fcntl(fd, F_GETFD, 0) == 0 && by_other_fcntl(fd, F_SETFD, FD_CLOEXEC) == 0);
    CHECK(by_other_fcntl(fd, F_GETFD, 0) == 1 && by_other_fcntl(fd, F_GETFL, 0) > 0);
    CHECK(by_other_fcntl(old_pipe[1], F_GETPIPE_SZ, 0) > 0);
}

static void pipes(void)
{
    int ends[2];
    for (int i = 0; i < 7; i++) {
        CHECK(by_pipe(ends) == 0);
        opened(&at_by_pipe, "pipe", ends[0]);
        opened(&at_by_pipe, "pipe", ends[1]);
        close_it(ends[i % 2]);
    }
    for (int i = 0; i < 3; i++) {
        CHECK(by_pipe_call(ends) == 0);
        opened(&at_by_pipe_call, "pipe", ends[0]);
        opened(&at_by_pipe_call, "pipe", ends[1]);
    }
    for (int i = 0; i < 5; i++) {
        CHECK(by_pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0);
        opened(&at_by_pipe2, "pipe", ends[0]);
        close_it(opened(&at_by_pipe2, "pipe", ends[1]));
    }
    refused(&at_by_pipe2, EINVAL, by_pipe2(ends, 1 << 30));
}

SITE int range_closed(unsigned first, unsigned last, unsigned flags)
{
    return (int)syscall(SYS_close_range, first, last, flags);
}

static void closes(void)
{
    CHECK(close(-1) == -1 && close(998) == -1 && errno == EBADF);
    close_it(old_pipe[0]);
    CHECK(close(old_pipe[0]) == -1);
    int first = 0, last = 0;
    for (int i = 0; i < 31; i++) {
        last = file_at(&at_by_dupfd, by_dupfd(old_file, 100));
        first = i == 0 ? last : first;
    }
    CHECK(last == first + 30);
    for (int i = 0; i < 13; i++)
        file_at(&at_by_dup2, by_dup2(old_file, 600 + i));
    /* A part, with holes in it; then what closes nothing; then all that is above. */
    close_it(first + 5);
    CHECK(range_closed((unsigned)first + 3, (unsigned)first + 12, 0) == 0);
    closed_range(first + 3, first + 12);
    CHECK(range_closed((unsigned)first, (unsigned)last, CLOSE_RANGE_CLOEXEC) == 0);
    CHECK(range_closed(20, 10, 0) == -1 && errno == EINVAL);
    CHECK(range_closed((unsigned)last + 1, 607, 0) == 0);
    closed_range(last + 1, 607);
    /* Each number again, from another site. */
    for (int i = 0; i < 5; i++)
        file_at(&at_by_dup2_call, by_dup2_call(old_file, 600 + i));
    CHECK(range_closed(610, ~0u, 0) == 0);
    closed_range(610, MAX_FD - 1);
    /* A table of its own for the only thread: nothing changes for anyone. */
    CHECK(range_closed(612, 620, CLOSE_RANGE_UNSHARE) == 0);
}

static void whole(void)
{
    for (int i = 0; i < 17; i++)
        file_at(&at_by_dup, by_dup(old_file));
    CHECK(range_closed(3, ~0u, 0) == 0);
    closed_range(3, MAX_FD - 1);
    for (int i = 0; i < 3; i++)
        file_at(&at_by_open, by_open(FILE_PATH, O_RDONLY));
}

static void failures(void)
{
    for (int i = 0; i < 11; i++) {
        refused(&at_by_open, ENOENT, by_open("/no/such/file", O_RDONLY));
        refused(&at_by_openat, ENOENT, by_openat(AT_FDCWD, "/no/such/file", O_RDONLY));
        refused(&at_by_openat2, ENOENT, by_openat2("/no/such/file"));
        refused(&at_by_creat, EISDIR, by_creat("/"));
        refused(&at_by_dup, EBADF, by_dup(-1));
        refused(&at_by_dupfd, EBADF, by_dupfd(999, 0));
    }
    struct rlimit limit = {211, 211};
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    int fd, ends[2], count = 0;
    while ((fd = by_open_call(FILE_PATH)) != -1) {
        file_at(&at_by_open_call, fd);
        count++;
    }
    CHECK(errno == EMFILE && count > 150);
    for (int i = 0; i < 7; i++) {
        refused(&at_by_open, EMFILE, by_open(FILE_PATH, O_RDONLY));
        refused(&at_by_dup, EMFILE, by_dup(old_file));
        refused(&at_by_dupfd, EMFILE, by_dupfd(old_file, 3));
        refused(&at_by_dupfd, EINVAL, by_dupfd(old_file, 300));
        refused(&at_by_dup2, EBADF, by_dup2(old_file, 300));
    }
    /* Room for one of the two. */
    close_it(210);
    for (int i = 0; i < 5; i++)
        refused(&at_by_pipe, EMFILE, by_pipe(ends));
}

int main(int count, char **arguments)
{
    static const struct {
        const char *name;
        void (*work)(void);
    } modes[] = {{"opens", opens},   {"dups", dups},   {"pipes", pipes},
                 {"closes", closes}, {"whole", whole}, {"failures", failures}};
    CHECK(count == 2);
    snprintf(scratch, sizeof scratch, "/tmp/leaktrace-leaker-%d", getpid());
    CHECK((old_file = open(FILE_PATH, O_RDONLY)) > 2 && pipe(old_pipe) == 0);
    fd_ready();
    for (size_t i = 0; i < COUNT(modes); i++)
        if (strcmp(modes[i].name, arguments[1]) == 0)
            modes[i].work();
    print_fd_ledger();
    done();
    return 0;
}
