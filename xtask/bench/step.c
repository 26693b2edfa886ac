// The bare work of a RUN step: namespaces, an overlay, a new root, a program. Nothing of castoff is in here.
//
// usage: step COUNT LOWER WORK
//
// LOWER holds /bin/true, statically linked; WORK is an empty directory.

#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void must(int result, const char *what) {
    if (result < 0) {
        fprintf(stderr, "step: %s: %s\n", what, strerror(errno));
        _exit(1);
    }
}

static int child(void *options) {
    must(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), "private mounts");
    must(mount("overlay", "merged", "overlay", 0, options), "overlay");
    must(chdir("merged"), "chdir");
    mkdir("proc", 0755);
    must(mount("proc", "proc", "proc", 0, NULL), "proc");
    must(syscall(SYS_pivot_root, ".", "."), "pivot_root");
    must(umount2(".", MNT_DETACH), "umount");
    must(chdir("/"), "chdir");
    char *arguments[] = {"true", NULL};
    char *environment[] = {"PATH=/bin", NULL};
    must(execve("/bin/true", arguments, environment), "/bin/true");
    return 1;
}

int main(int count, char **arguments) {
    if (count != 4) {
        fprintf(stderr, "usage: step COUNT LOWER WORK\n");
        return 2;
    }
    static char stack[64 << 10] __attribute__((aligned(16)));
    must(chdir(arguments[3]), arguments[3]);
    must(mkdir("merged", 0755), "merged");
    for (int step = 0; step < atoi(arguments[1]); step++) {
        char upper[64], work[64], options[4096];
        snprintf(upper, sizeof upper, "upper%d", step);
        snprintf(work, sizeof work, "work%d", step);
        must(mkdir(upper, 0755), upper);
        must(mkdir(work, 0755), work);
        snprintf(options, sizeof options, "lowerdir=%s,upperdir=%s,workdir=%s", arguments[2], upper, work);
        int flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | SIGCHLD;
        int pid = clone(child, stack + sizeof stack, flags, options);
        must(pid, "clone");
        int status;
        must(waitpid(pid, &status, 0), "waitpid");
        if (status != 0) {
            return 1;
        }
    }
    return 0;
}
