/*
 * The oracle: counts a program's allocations from inside it, by interposing the allocator's functions, and writes the
 * report that a tracer should write. It is how the suite knows that a leaker and its ledger are right, by other means
 * than the tracer under test: stacks come from the C++ runtime's unwinder, and calls from the dynamic linker.
 *
 * It counts from the program's release (the first read of stdin returns) to its end (the next read of stdin begins).
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <unwind.h>

#define EXPORT __attribute__((visibility("default")))
#define MAX_FRAMES 24
#define MAX_SITES (1u << 14)
#define MAX_BLOCKS (1u << 22)
#define BOOT_BYTES 65536

struct site {
    uint64_t hash;
    int depth;
    uintptr_t frames[MAX_FRAMES];
    unsigned long alloc_bytes, alloc_objects, free_bytes, free_objects;
};

/* A slot of an open-addressed table. A freed slot keeps its address, to be found again, with no site. */
struct block {
    uintptr_t address;
    size_t size;
    struct site *site;
};

static struct site *sites;
static struct block *blocks;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int counting;
static unsigned long nested_calls, failed_calls, unknown_frees, null_frees;

/* More than zero inside of an allocator function, and inside of the oracle. */
static __thread int depth __attribute__((tls_model("initial-exec")));

static void *(*real_malloc)(size_t);
static void *(*real_calloc)(size_t, size_t);
static void *(*real_realloc)(void *, size_t);
static void *(*real_reallocarray)(void *, size_t, size_t);
static int (*real_posix_memalign)(void **, size_t, size_t);
static void *(*real_aligned_alloc)(size_t, size_t);
static void *(*real_memalign)(size_t, size_t);
static void *(*real_valloc)(size_t);
static void *(*real_pvalloc)(size_t);
static void (*real_free)(void *);
static ssize_t (*real_read)(int, void *, size_t);

/* dlsym may allocate before the allocator is known. */
static char boot[BOOT_BYTES];
static size_t boot_used;

static void *boot_alloc(size_t n)
{
    n = (n + 15) & ~(size_t)15;
    if (boot_used + n > sizeof boot)
        abort();
    boot_used += n;
    return boot + boot_used - n;
}

static int is_boot(const void *p)
{
    return (const char *)p >= boot && (const char *)p < boot + sizeof boot;
}

static void *map(size_t n)
{
    void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        abort();
    return p;
}

__attribute__((constructor)) static void start(void)
{
    static int started;
    if (started)
        return;
    started = 1;
    depth++;
    sites = map(sizeof *sites * MAX_SITES);
    blocks = map(sizeof *blocks * MAX_BLOCKS);
#define FIND(name) *(void **)&real_##name = dlsym(RTLD_NEXT, #name)
    FIND(calloc);
    FIND(malloc);
    FIND(realloc);
    FIND(reallocarray);
    FIND(posix_memalign);
    FIND(aligned_alloc);
    FIND(memalign);
    FIND(valloc);
    FIND(pvalloc);
    FIND(free);
    FIND(read);
    depth--;
}

struct walk {
    int skip, depth;
    uintptr_t frames[MAX_FRAMES];
};

static _Unwind_Reason_Code step(struct _Unwind_Context *context, void *argument)
{
    struct walk *walk = argument;
    if (walk->skip > 0) {
        walk->skip--;
        return _URC_NO_REASON;
    }
    if (walk->depth == MAX_FRAMES || !_Unwind_GetIP(context))
        return _URC_END_OF_STACK;
    walk->frames[walk->depth++] = _Unwind_GetIP(context);
    return _URC_NO_REASON;
}

/* Called with the lock. */
static struct site *site_of(const struct walk *walk)
{
    uint64_t hash = 14695981039346656037u;
    for (int i = 0; i < walk->depth; i++)
        hash = (hash ^ walk->frames[i]) * 1099511628211u;
    hash |= 1;
    for (unsigned i = 0; i < MAX_SITES; i++) {
        struct site *site = &sites[(hash + i) % MAX_SITES];
        if (site->hash == hash)
            return site;
        if (!site->hash) {
            site->hash = hash;
            site->depth = walk->depth;
            memcpy(site->frames, walk->frames, sizeof site->frames);
            return site;
        }
    }
    abort();
}

/* Called with the lock. The block's slot, or the one it would have. */
static struct block *slot_of(uintptr_t address)
{
    uintptr_t hash = (address >> 4) * 0x9e3779b97f4a7c15u >> 20;
    for (unsigned i = 0; i < MAX_BLOCKS; i++) {
        struct block *block = &blocks[(hash + i) % MAX_BLOCKS];
        if (block->address == address || !block->address)
            return block;
    }
    abort();
}

static void count(unsigned long *counter)
{
    __atomic_fetch_add(counter, 1, __ATOMIC_RELAXED);
}

/* Whether this call is the program's own. A call inside of another is counted by that one. */
static int enter(void)
{
    if (!real_read)
        start();
    int counts = __atomic_load_n(&counting, __ATOMIC_ACQUIRE);
    if (depth++ == 0)
        return counts;
    if (counts && depth > 1)
        count(&nested_calls);
    return 0;
}

static void leave(void)
{
    depth--;
}

/* The frames above an interposed function that calls this one. */
static void __attribute__((noinline)) add(void *p, size_t size)
{
    if (!p) {
        count(&failed_calls);
        return;
    }
    struct walk walk = {.skip = 2};
    _Unwind_Backtrace(step, &walk);
    pthread_mutex_lock(&lock);
    struct block *block = slot_of((uintptr_t)p);
    if (block->site)
        abort();
    struct site *site = site_of(&walk);
    *block = (struct block){(uintptr_t)p, size, site};
    site->alloc_bytes += size;
    site->alloc_objects++;
    pthread_mutex_unlock(&lock);
}

/* Takes a block out before the allocator can give its address to another thread. */
static struct block take(void *p)
{
    struct block taken = {0};
    pthread_mutex_lock(&lock);
    struct block *block = slot_of((uintptr_t)p);
    if (block->address && block->site) {
        taken = *block;
        block->site = NULL;
        taken.site->free_bytes += taken.size;
        taken.site->free_objects++;
    } else {
        unknown_frees++;
    }
    pthread_mutex_unlock(&lock);
    return taken;
}

/* A block whose realloc failed is where it was. */
static void put_back(struct block taken)
{
    pthread_mutex_lock(&lock);
    if (taken.site) {
        *slot_of(taken.address) = taken;
        taken.site->free_bytes -= taken.size;
        taken.site->free_objects--;
    } else {
        unknown_frees--;
    }
    pthread_mutex_unlock(&lock);
}

EXPORT void *malloc(size_t n)
{
    if (!real_malloc && depth)
        return boot_alloc(n);
    int counts = enter();
    void *p = real_malloc(n);
    if (counts)
        add(p, n);
    leave();
    return p;
}

EXPORT void *calloc(size_t n, size_t size)
{
    if (!real_calloc && depth)
        return boot_alloc(n * size);
    int counts = enter();
    void *p = real_calloc(n, size);
    if (counts)
        add(p, n * size);
    leave();
    return p;
}

static void *resize(void *old, size_t n, size_t size, int is_array)
{
    int counts = enter();
    struct block taken = {0};
    if (counts && old)
        taken = take(old);
    void *p = is_array ? real_reallocarray(old, n, size) : real_realloc(old, size);
    /* realloc(p, 0) frees and returns NULL; all other NULLs are failures. */
    int freed = old && !p && n * size == 0;
    if (counts && old && !p && !freed)
        put_back(taken);
    if (counts && !freed) {
        if (p) {
            struct walk walk = {.skip = 2};
            _Unwind_Backtrace(step, &walk);
            pthread_mutex_lock(&lock);
            struct block *block = slot_of((uintptr_t)p);
            if (block->site)
                abort();
            struct site *site = site_of(&walk);
            *block = (struct block){(uintptr_t)p, n * size, site};
            site->alloc_bytes += n * size;
            site->alloc_objects++;
            pthread_mutex_unlock(&lock);
        } else {
            count(&failed_calls);
        }
    }
    leave();
    return p;
}

EXPORT void *realloc(void *old, size_t size)
{
    return resize(old, 1, size, 0);
}

EXPORT void *reallocarray(void *old, size_t n, size_t size)
{
    return resize(old, n, size, 1);
}

EXPORT int posix_memalign(void **out, size_t alignment, size_t n)
{
    int counts = enter();
    int error = real_posix_memalign(out, alignment, n);
    if (counts)
        add(error ? NULL : *out, n);
    leave();
    return error;
}

EXPORT void *aligned_alloc(size_t alignment, size_t n)
{
    int counts = enter();
    void *p = real_aligned_alloc(alignment, n);
    if (counts)
        add(p, n);
    leave();
    return p;
}

EXPORT void *memalign(size_t alignment, size_t n)
{
    int counts = enter();
    void *p = real_memalign(alignment, n);
    if (counts)
        add(p, n);
    leave();
    return p;
}

EXPORT void *valloc(size_t n)
{
    int counts = enter();
    void *p = real_valloc(n);
    if (counts)
        add(p, n);
    leave();
    return p;
}

EXPORT void *pvalloc(size_t n)
{
    int counts = enter();
    void *p = real_pvalloc(n);
    if (counts)
        add(p, n);
    leave();
    return p;
}

EXPORT void free(void *p)
{
    if (is_boot(p))
        return;
    int counts = enter();
    if (counts && p)
        take(p);
    else if (counts)
        count(&null_frees);
    real_free(p);
    leave();
}

static void print(int file, const char *format, ...)
{
    char text[8192];
    va_list arguments;
    va_start(arguments, format);
    int n = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (n >= (int)sizeof text || write(file, text, (size_t)n) != n)
        abort();
}

static void print_frame(int file, uintptr_t address, int is_first)
{
    Dl_info info;
    /* A return address is behind its call. */
    uintptr_t call = address - 1;
    if (!dladdr((void *)call, &info))
        return;
    uintptr_t base = (uintptr_t)info.dli_fbase;
    print(file, "%s{\"module\":\"%s\",\"offset\":%lu}", is_first ? "" : ",", info.dli_fname, call - base);
}

static void write_report(void)
{
    const char *path = getenv("LEAKER_ORACLE");
    char temporary[4096];
    if (!path || (size_t)snprintf(temporary, sizeof temporary, "%s.part", path) >= sizeof temporary)
        abort();
    int file = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (file < 0)
        abort();
    print(file, "{\"pid\":%d,\"stats\":{\"nested_calls\":%lu,\"failed_calls\":%lu,\"unknown_frees\":%lu,", getpid(),
          nested_calls, failed_calls, unknown_frees);
    print(file, "\"null_frees\":%lu},\"sites\":[", null_frees);
    int is_first = 1;
    for (unsigned i = 0; i < MAX_SITES; i++) {
        struct site *site = &sites[i];
        if (!site->hash)
            continue;
        print(file, "%s\n{\"alloc_bytes\":%lu,\"alloc_objects\":%lu,\"free_bytes\":%lu,\"free_objects\":%lu,",
              is_first ? "" : ",", site->alloc_bytes, site->alloc_objects, site->free_bytes, site->free_objects);
        print(file, "\"frames\":[");
        for (int frame = 0; frame < site->depth; frame++)
            print_frame(file, site->frames[frame], frame == 0);
        print(file, "]}");
        is_first = 0;
    }
    print(file, "]}\n");
    close(file);
    if (rename(temporary, path))
        abort();
}

EXPORT ssize_t read(int file, void *buffer, size_t size)
{
    if (!real_read)
        start();
    if (file == 0 && __atomic_load_n(&counting, __ATOMIC_ACQUIRE)) {
        __atomic_store_n(&counting, 0, __ATOMIC_RELEASE);
        depth++;
        write_report();
        depth--;
    }
    ssize_t n = real_read(file, buffer, size);
    static int released;
    if (file == 0 && n > 0 && ((char *)buffer)[n - 1] == '\n' && !released) {
        released = 1;
        __atomic_store_n(&counting, 1, __ATOMIC_RELEASE);
    }
    return n;
}
