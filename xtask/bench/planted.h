/*
 * The leaks that every program of the comparison has: three sites whose blocks are lost at once.
 *
 * How much they leak is spread over the time that a program works, and not over its operations, so that the program
 * grows by the same amount however slow a tool makes it. Sizes and counts are primes.
 */
#ifndef PLANTED_H
#define PLANTED_H

/* Leaks what is due when `share` of the time is over (0 to 1). Of one thread. */
void planted_until(double share);

#endif
