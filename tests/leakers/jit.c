/*
 * Calls malloc from code made at run time, as a JIT compiler does, and names it in a map for perf. The map begins with
 * what such maps have: an older function at the same address, and lines that are none.
 */
#include "leaker.h"
#include <sys/mman.h>

enum { ANONYMOUS, MEMORY_FILE, LATE };

static struct site sites[] = {{"jitted_leak"}, {"jitted_in_a_memory_file"}, {"jitted_late"}};

typedef void *leak(size_t n, void *(*allocate)(size_t));

/* push %rbp; mov %rsp,%rbp; call *%rsi; pop %rbp; ret */
static const unsigned char code[] = {0x55, 0x48, 0x89, 0xe5, 0xff, 0xd6, 0x5d, 0xc3};

static void append(const char *line)
{
    char path[64];
    snprintf(path, sizeof path, "/tmp/perf-%d.map", getpid());
    FILE *map = fopen(path, "a");
    CHECK(map && fputs(line, map) >= 0 && fclose(map) == 0);
}

static void name(leak *function, const char *name)
{
    char line[128];
    snprintf(line, sizeof line, "%lx %zx %s\n", (unsigned long)(uintptr_t)function, sizeof code, name);
    append(line);
}

static leak *make(int fd, int flags)
{
    unsigned char *memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, flags, fd, 0);
    CHECK(memory != MAP_FAILED);
    /* Not at its start: an entry covers its own bytes and no more. */
    memcpy(memory + 64, code, sizeof code);
    return (leak *)(uintptr_t)(memory + 64);
}

static void run(int index, leak *function, int count, size_t n)
{
    for (int i = 0; i < count; i++) {
        CHECK(function(n, malloc) != NULL);
        took(&sites[index], n);
    }
}

int main(void)
{
    leak *functions[COUNT(sites)];
    int fd = memfd_create("code", 0);
    CHECK(fd >= 0 && ftruncate(fd, 4096) == 0);
    functions[ANONYMOUS] = make(-1, MAP_PRIVATE | MAP_ANONYMOUS);
    functions[MEMORY_FILE] = make(fd, MAP_SHARED);
    functions[LATE] = make(-1, MAP_PRIVATE | MAP_ANONYMOUS);
    name(functions[ANONYMOUS], "an older function");
    append("no line of a map\n\n1 2\n");
    name(functions[ANONYMOUS], "jitted_leak");
    name(functions[MEMORY_FILE], "jitted_in_a_memory_file");
    ready();
    run(ANONYMOUS, functions[ANONYMOUS], 101, 1009);
    run(MEMORY_FILE, functions[MEMORY_FILE], 53, 2003);
    name(functions[LATE], "jitted_late");
    run(LATE, functions[LATE], 7, 401);
    print_sites(sites, COUNT(sites));
    done();
    return 0;
}
