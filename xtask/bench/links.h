/*
 * A chain of functions that are each ones of their own: `link_0` calls `link_1`, and so on in a circle. What a link does is
 * the program's: it defines DEFINE_LINK(i) for one of them.
 */
#ifndef LINKS_H
#define LINKS_H

#define LINKS 16

#define EACH_LINK(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15)

/* For the array of all of them: `{EACH_LINK(LINK_NAME)}`. */
#define LINK_NAME(i) link_##i,

#endif
