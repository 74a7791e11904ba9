/*
 * Allocates and frees one block over and over, at the end of a call chain of known length, and says how long it took.
 *
 *   pair FRAMES CPU STACKS PAIRS_PER_SECOND
 *
 * A stack walk from malloc meets exactly FRAMES return addresses: that of the function that allocates, those of the
 * chain, and that of `outermost`, where both call-frame information and frame pointers say that the stack ends.
 * STACKS 1: always the same stack, which suits a tracer that remembers the last one. STACKS up to 16: as many stacks in
 * turn, all different from the innermost frame on; the chain is then entered anew for each pair, traced or not.
 * PAIRS_PER_SECOND 0: as fast as it goes. One line on stdout for each batch: when it began and ended (ns,
 * CLOCK_MONOTONIC), and its pairs. Runs until it is killed.
 */
#define _GNU_SOURCE
#include "batch.h"
#include "links.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#ifndef __x86_64__
#error "`outermost` is written for x86-64"
#endif

#define BLOCK 64

static int frames;
static unsigned stacks;
/* Pairs at the end of one descent. */
static u64 pairs_below;
static void *volatile block;

/* Functions of their own, with frames of different sizes, so that a walk by tables does not stay on one row. The one
   that is left with 1 allocates. */
static void (*const links[LINKS])(int left);

#define DEFINE_LINK(i)                                                    \
    __attribute__((noipa)) static void link_##i(int left)                 \
    {                                                                     \
        volatile char frame[16 + 24 * i];                                 \
        frame[0] = (char)left;                                            \
        if (left > 1) {                                                   \
            links[(i + 1) % LINKS](left - 1);                             \
        } else {                                                          \
            for (u64 pairs = pairs_below; pairs > 0; pairs--) {           \
                block = malloc(BLOCK);                                    \
                free(block);                                              \
            }                                                             \
        }                                                                 \
        frame[1] = frame[0];                                              \
    }
EACH_LINK(DEFINE_LINK)
static void (*const links[LINKS])(int left) = {EACH_LINK(LINK_NAME)};

/* Calls `link(left)` from a frame without a caller. */
void outermost(void (*link)(int left), int left);
__asm__(".text\n"
        "outermost:\n"
        "    .cfi_startproc\n"
        "    .cfi_undefined rip\n"
        "    push %rbp\n"
        "    xor %ebp, %ebp\n"
        "    mov %rdi, %rax\n"
        "    mov %esi, %edi\n"
        "    call *%rax\n"
        "    pop %rbp\n"
        "    ret\n"
        "    .cfi_endproc\n");

static void make_pairs(u64 pairs)
{
    pairs_below = stacks == 1 ? pairs : 1;
    for (u64 i = 0; i < pairs / pairs_below; i++)
        outermost(links[i % stacks], frames - 1);
}

int main(int count, char **arguments)
{
    frames = count == 5 ? atoi(arguments[1]) : 0;
    stacks = count == 5 ? atoi(arguments[3]) : 0;
    if (frames < 2 || stacks < 1 || stacks > LINKS) {
        fprintf(stderr, "usage: pair FRAMES CPU STACKS PAIRS_PER_SECOND; 2 frames or more, 1 to %d stacks\n", LINKS);
        return 2;
    }
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    CPU_SET(atoi(arguments[2]), &cpus);
    if (sched_setaffinity(0, sizeof cpus, &cpus) != 0) {
        perror("pair: sched_setaffinity");
        return 1;
    }
    repeat(make_pairs, strtoull(arguments[4], NULL, 10));
}
