/*
 * `enter_root FOLDER PROGRAM ARGUMENT...` runs a program with a folder as its root, in a mount namespace that it already
 * has to itself, as runtimes of containers do: nothing of the former root is left there.
 */
#include "leaker.h"
#include <sys/mount.h>
#include <sys/syscall.h>

int main(int count, char **arguments)
{
    CHECK(count > 2);
    CHECK(mount(arguments[1], arguments[1], NULL, MS_BIND | MS_REC, NULL) == 0);
    CHECK(chdir(arguments[1]) == 0);
    CHECK(syscall(SYS_pivot_root, ".", ".") == 0);
    CHECK(umount2(".", MNT_DETACH) == 0);
    execv(arguments[2], arguments + 2);
    fail("execv");
}
