/*
 * Calls allocators at the bottom of stacks of every shape that C makes. Each shape runs a fixed number of times, so that
 * two runs of one program make the same calls from the same addresses.
 */
#include "../leaker.h"
#include <alloca.h>
#include <pthread.h>
#include <search.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>

static volatile unsigned sum;

/* What is before this is no tail call, and what it names is kept in memory. */
#define AFTER(p) __asm__ volatile("" ::"r"(p) : "memory")

SITE static void *take(size_t n)
{
    void *p = malloc(n);
    CHECK(p != NULL);
    AFTER(p);
    return p;
}

/* Without a frame of its own when sibling calls are optimized. */
SITE static void *tail(size_t n) { return malloc(n + 1); }
SITE static void *tail_of_tail(size_t n) { return tail(n + 1); }
SITE static void *tail_by_pointer(void *(*function)(size_t), size_t n) { return function(n); }

SITE static void every_function(size_t n)
{
    void *p = calloc(n, 3);
    p = realloc(p, n * 5);
    p = realloc(p, n * 7000);
    CHECK(p != NULL && realloc(NULL, n) != NULL);
    CHECK(reallocarray(NULL, n, 11) != NULL);
    CHECK(aligned_alloc(64, 64 * n) != NULL);
    CHECK(posix_memalign(&p, 128, n) == 0);
    AFTER(p);
}

static inline __attribute__((always_inline)) void *inlined_twice(size_t n) { return take(n * 2); }
static inline __attribute__((always_inline)) void *inlined(size_t n) { return inlined_twice(n + 1); }

SITE static void plain(void)
{
    AFTER(take(17));
    AFTER(tail(19));
    AFTER(tail_of_tail(23));
    AFTER(tail_by_pointer(malloc, 29));
    AFTER(tail_by_pointer(tail_of_tail, 31));
    AFTER(inlined(37));
    every_function(41);
    /* Without this, free() would not be linked into a static program. */
    free(take(43));
}

/* Allocates at every depth from `first` to `last`, in frames of changing size. */
SITE static unsigned recursion(unsigned depth, unsigned first, unsigned last)
{
    char frame[depth % 5 * 40 + 8];
    memset(frame, (int)depth, sizeof frame);
    if (depth >= first)
        AFTER(take(depth));
    if (depth < last)
        sum += recursion(depth + 1, first, last);
    AFTER(frame);
    return (unsigned char)frame[0] + sum;
}

SITE static unsigned odd(unsigned depth);

SITE static unsigned even(unsigned depth)
{
    AFTER(tail(depth));
    return depth == 0 ? sum : odd(depth - 1) * 3;
}

/* The same as even(), by a sibling call. */
SITE static unsigned odd(unsigned depth)
{
    AFTER(take(depth));
    return even(depth - 1);
}

/* More live values than there are registers: rbp is a register like others, where there are no frame pointers. */
SITE static unsigned pressure(unsigned depth, unsigned a, unsigned b, unsigned c, unsigned d, unsigned e, unsigned f,
                              unsigned g)
{
    unsigned h = a * b, i = c * d, j = e * f, k = g * a, l = b ^ e, m = c ^ f;
    AFTER(take(depth + 1));
    if (depth > 0)
        h += pressure(depth - 1, b, c, d, e, f, g, a);
    AFTER(take(depth + 2));
    return h + i + j + k + l + m + a + b + c + d + e + f + g;
}

SITE static void dynamic(size_t n)
{
    char *buffer = alloca(n);
    memset(buffer, 1, n);
    AFTER(take(n));
    char array[n * 2];
    memset(array, 2, n * 2);
    AFTER(take(n + 1));
    AFTER(buffer);
    AFTER(array);
}

SITE static void aligned(size_t n)
{
    char buffer[256] __attribute__((aligned(128)));
    memset(buffer, 1, sizeof buffer);
    AFTER(take(n));
    AFTER(buffer);
}

/* GCC keeps the unaligned stack pointer in a register of its own here (DRAP). */
SITE static unsigned aligned_and_dynamic(size_t n, int b, int c, int d, int e, int f, int g, int h)
{
    char buffer[256] __attribute__((aligned(64)));
    char *more = alloca(n);
    memset(buffer, 1, sizeof buffer);
    memset(more, 1, n);
    dynamic(n / 2 + 1);
    if (n > 100)
        sum += aligned_and_dynamic(n / 2, b, c, d, e, f, g, h + 1);
    aligned(n);
    AFTER(buffer);
    AFTER(more);
    return (unsigned)(b + c + d + e + f + g + h);
}

SITE static void large(size_t n)
{
    char buffer[700001];
    memset(buffer, 1, n);
    AFTER(take(n));
    AFTER(buffer);
}

SITE static void larger(size_t n)
{
    char buffer[3000017];
    memset(buffer, 1, n);
    AFTER(take(n));
    large(n + 1);
    AFTER(buffer);
}

SITE static void frames(void)
{
    dynamic(1009);
    aligned(101);
    sum += aligned_and_dynamic(997, 1, 2, 3, 4, 5, 6, 7);
    large(103);
    larger(107);
    sum += pressure(13, 1, 2, 3, 4, 5, 6, 7);
}

/* --- signals ---------------------------------------------------------------------------------------------------- */

static sigjmp_buf back;

static void handle(int signal)
{
    AFTER(take((size_t)signal));
    AFTER(tail((size_t)signal));
    sum += recursion(0, 2, 3);
}

static void handler(int signal, siginfo_t *info, void *context)
{
    AFTER(info);
    AFTER(context);
    handle(signal);
}

static void nesting_handler(int signal, siginfo_t *info, void *context)
{
    AFTER(info);
    AFTER(context);
    AFTER(take((size_t)signal));
    raise(SIGUSR1);
    AFTER(take((size_t)signal + 1));
}

/* Goes on behind an instruction of two bytes. */
static void stepping_handler(int signal, siginfo_t *info, void *context)
{
    AFTER(info);
    handle(signal);
    ((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP] += 2;
}

static void jumping_handler(int signal, siginfo_t *info, void *context)
{
    AFTER(info);
    AFTER(context);
    handle(signal);
    siglongjmp(back, 1);
}

/* Instructions that trap, at the places of a function where its frame is not what it is in its middle. */
void trap_everywhere(void);
__asm__(".text\n.globl trap_everywhere\n.type trap_everywhere,@function\ntrap_everywhere:\n"
        ".cfi_startproc\n"
        "ud2\n"
        "push %rbp\n.cfi_adjust_cfa_offset 8\n.cfi_rel_offset %rbp,0\n"
        "ud2\n"
        "mov %rsp,%rbp\n.cfi_def_cfa_register %rbp\n"
        "ud2\n"
        "sub $4096,%rsp\n"
        "ud2\n"
        "leave\n.cfi_def_cfa %rsp,8\n.cfi_restore %rbp\n"
        "ud2\n"
        "push %rbx\n.cfi_adjust_cfa_offset 8\n.cfi_rel_offset %rbx,0\n"
        "ud2\n"
        "pop %rbx\n.cfi_adjust_cfa_offset -8\n.cfi_restore %rbx\n"
        "ud2\n"
        "ret\n.cfi_endproc\n.size trap_everywhere,.-trap_everywhere\n");

/* Called with a frame pointer that leads nowhere: only the tables know the way. */
void trap_without_frame_pointer(void);
__asm__(".text\n.globl trap_without_frame_pointer\n.type trap_without_frame_pointer,@function\n"
        "trap_without_frame_pointer:\n"
        ".cfi_startproc\n"
        "push %rbp\n.cfi_adjust_cfa_offset 8\n.cfi_rel_offset %rbp,0\n"
        "mov $1,%ebp\n"
        "ud2\n"
        "xor %ebp,%ebp\n"
        "ud2\n"
        "call trap_everywhere\n"
        "pop %rbp\n.cfi_adjust_cfa_offset -8\n.cfi_restore %rbp\n"
        "ret\n.cfi_endproc\n.size trap_without_frame_pointer,.-trap_without_frame_pointer\n");

SITE static void load(const volatile unsigned char *address)
{
    unsigned char local[64];
    for (unsigned i = 0; i < sizeof local; i++)
        local[i] = (unsigned char)(i * sum);
    AFTER(local);
    sum += *address + local[sum % 64];
}

SITE static void with_handler(int signal, void (*function)(int, siginfo_t *, void *), int flags)
{
    struct sigaction action = {.sa_sigaction = function, .sa_flags = flags | SA_SIGINFO};
    CHECK(sigaction(signal, &action, NULL) == 0);
    AFTER(&action);
}

SITE static void signals(int flags)
{
    with_handler(SIGUSR1, handler, flags);
    raise(SIGUSR1);
    with_handler(SIGUSR2, nesting_handler, flags);
    raise(SIGUSR2);
    with_handler(SIGILL, stepping_handler, flags);
    trap_everywhere();
    trap_without_frame_pointer();
    with_handler(SIGSEGV, jumping_handler, flags);
    char *hole = mmap(NULL, 1 << 16, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(hole != MAP_FAILED);
    if (sigsetjmp(back, 1) == 0)
        load((unsigned char *)hole);
    AFTER(take(43));
    /* Inside of libc's assembly. */
    char there[257];
    if (sigsetjmp(back, 1) == 0)
        memcpy(there, hole, sizeof there);
    if (sigsetjmp(back, 1) == 0)
        sum += (unsigned)strlen(hole);
    AFTER(there);
}

SITE static void on_another_stack(void)
{
    stack_t stack = {.ss_sp = take(1 << 17), .ss_size = 1 << 17};
    CHECK(sigaltstack(&stack, NULL) == 0);
    signals(SA_ONSTACK);
    stack.ss_flags = SS_DISABLE;
    CHECK(sigaltstack(&stack, NULL) == 0);
}

/* --- functions that call back ------------------------------------------------------------------------------------ */

static int compare(const void *left, const void *right)
{
    static unsigned calls;
    if (calls++ % 31 == 0)
        AFTER(take(calls));
    return *(const int *)left - *(const int *)right;
}

static int compare_context(const void *left, const void *right, void *context)
{
    if (++*(unsigned *)context % 67 == 0)
        AFTER(tail(3));
    return *(const int *)left - *(const int *)right;
}

static void visit(const void *node, VISIT order, int level)
{
    AFTER(node);
    if (order == postorder || order == leaf)
        AFTER(take((size_t)level + 1));
}

static void once(void) { AFTER(take(47)); }

SITE static void callbacks(void)
{
    /* A thousand need a block, and are sorted by merging: a recursion within libc. */
    static int numbers[1000];
    for (unsigned count = 10; count <= 1000; count *= 10) {
        for (unsigned i = 0; i < count; i++)
            numbers[i] = (int)(i * 7919 % 1009);
        qsort(numbers, count, sizeof *numbers, compare);
    }
    unsigned context = 0;
    qsort_r(numbers, 100, sizeof *numbers, compare_context, &context);
    int key = 500;
    AFTER(bsearch(&key, numbers, 1000, sizeof *numbers, compare));
    void *tree = NULL;
    for (unsigned i = 0; i < 13; i++)
        CHECK(tsearch(&numbers[i * 5 % 13], &tree, compare) != NULL);
    twalk(tree, visit);
    static pthread_once_t control = PTHREAD_ONCE_INIT;
    CHECK(pthread_once(&control, once) == 0);
}

#ifdef __GLIBC__
/* --- stacks of one's own ----------------------------------------------------------------------------------------- */

static ucontext_t outside, inside;

static void coroutine(int n)
{
    AFTER(take((size_t)n));
    swapcontext(&inside, &outside);
    sum += recursion(0, 3, 5);
    swapcontext(&inside, &outside);
}

SITE static void contexts(void)
{
    CHECK(getcontext(&inside) == 0);
    inside.uc_stack = (stack_t){.ss_sp = take(1 << 17), .ss_size = 1 << 17};
    inside.uc_link = &outside;
    makecontext(&inside, (void (*)(void))coroutine, 1, 53);
    swapcontext(&outside, &inside);
    AFTER(take(59));
    swapcontext(&outside, &inside);
    AFTER(take(61));
}
#endif

/* --- threads ----------------------------------------------------------------------------------------------------- */

static pthread_key_t key;

static void destroy(void *value)
{
    AFTER(value);
    AFTER(take(67));
}

static void clean_up(void *value)
{
    AFTER(value);
    AFTER(take(71));
}

static void *thread(void *argument)
{
    size_t n = (size_t)argument;
    pthread_setspecific(key, argument);
    plain();
    sum += recursion(0, 5, 7);
    dynamic(n);
    with_handler(SIGUSR1, handler, 0);
    raise(SIGUSR1);
    pthread_cleanup_push(clean_up, argument);
    if (n % 2 == 0)
        pthread_exit(NULL);
    pthread_cleanup_pop(1);
    return NULL;
}

/* One after the other, so that they find the same stacks in every run. */
SITE static void threads(void)
{
    CHECK(pthread_key_create(&key, destroy) == 0);
    for (size_t i = 0; i < 3; i++) {
        pthread_t id;
        CHECK(pthread_create(&id, NULL, thread, (void *)(i + 73)) == 0);
        CHECK(pthread_join(id, NULL) == 0);
    }
}

SITE static void jumps(void)
{
    static jmp_buf jump;
    if (setjmp(jump) < 5) {
        AFTER(take(79));
        static int rounds;
        longjmp(jump, ++rounds);
    }
    AFTER(take(83));
}

int main(void)
{
    ready();
    plain();
    frames();
    sum += even(20);
    sum += recursion(0, 0, 120);
    /* More than leaktrace keeps. */
    sum += recursion(0, 115, 200);
    jumps();
    signals(0);
    on_another_stack();
    callbacks();
#ifdef __GLIBC__
    contexts();
#endif
    threads();
    done();
    return 0;
}
