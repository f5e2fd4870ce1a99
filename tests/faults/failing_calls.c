/* Makes one file operation of a process fail, or be its last, so that every one of them can be tried (every_call.py).

   Loaded with LD_PRELOAD, so that it sees the calls of Python, of C++ and of Rust alike. It counts operations on whatever
   is below FAILING_FOLDER, adds each as a line to FAILING_JOURNAL, and lets number FAILING_CALL fail with the error
   FAILING_ERRNO; if that is 0, the operation succeeds and the process is killed. Without these variables, which may also
   be set after a fork, it does nothing. Not seen: pages read through mmap, and calls that bypass the C library. */

#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum outcome { ORDINARY, FAILS, LAST };

static const char *folder;
static long calls, chosen;
static int error, journal;

static int is_armed(void) {
    if (!folder && getenv("FAILING_FOLDER")) {
        chosen = atol(getenv("FAILING_CALL"));
        error = atoi(getenv("FAILING_ERRNO"));
        journal = syscall(SYS_openat, AT_FDCWD, getenv("FAILING_JOURNAL"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
        folder = strdup(getenv("FAILING_FOLDER"));
    }
    return folder != NULL;
}

/* The path of `name` in the folder that is open as `descriptor`, or of the descriptor itself if there is no name. */
static const char *path_of(int descriptor, const char *name) {
    static __thread char path[2 * PATH_MAX];
    if (name && name[0] == '/') return name;
    char link[64] = "/proc/self/cwd";
    if (descriptor != AT_FDCWD) snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, PATH_MAX);
    if (length < 0) return "";
    snprintf(path + length, PATH_MAX, "%s%s", name ? "/" : "", name ? name : "");
    return path;
}

static enum outcome counted(const char *call, int descriptor, const char *name) {
    if (!is_armed()) return ORDINARY;
    int before = errno;
    const char *path = path_of(descriptor, name);
    errno = before;
    size_t length = strlen(folder);
    if (strncmp(path, folder, length) || path[length] != '/') return ORDINARY;
    dprintf(journal, "%s %s\n", call, path + length + 1);
    errno = before;
    if (++calls != chosen) return ORDINARY;
    if (!error) return LAST;
    errno = error;
    return FAILS;
}

#define INTERCEPT(type, call, parameters, arguments, descriptor, name, failure) \
    type call parameters {                                                       \
        static type(*original) parameters;                                       \
        if (!original) original = dlsym(RTLD_NEXT, #call);                       \
        enum outcome outcome = counted(#call, descriptor, name);                 \
        if (outcome == FAILS) return failure;                                    \
        type result = original arguments;                                        \
        if (outcome == LAST) kill(getpid(), SIGKILL);                            \
        return result;                                                           \
    }

#define INTERCEPT_OPEN(call, parameters, arguments, descriptor)                  \
    int call parameters {                                                        \
        static int(*original) parameters;                                        \
        if (!original) original = dlsym(RTLD_NEXT, #call);                       \
        va_list rest;                                                            \
        va_start(rest, flags);                                                   \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;  \
        va_end(rest);                                                            \
        enum outcome outcome = counted(#call, descriptor, path);                 \
        if (outcome == FAILS) return -1;                                         \
        int result = original arguments;                                         \
        if (outcome == LAST) kill(getpid(), SIGKILL);                            \
        return result;                                                           \
    }

INTERCEPT_OPEN(open, (const char *path, int flags, ...), (path, flags, mode), AT_FDCWD)
INTERCEPT_OPEN(open64, (const char *path, int flags, ...), (path, flags, mode), AT_FDCWD)
INTERCEPT_OPEN(openat, (int at, const char *path, int flags, ...), (at, path, flags, mode), at)
INTERCEPT_OPEN(openat64, (int at, const char *path, int flags, ...), (at, path, flags, mode), at)
INTERCEPT(DIR *, opendir, (const char *path), (path), AT_FDCWD, path, NULL)
INTERCEPT(ssize_t, read, (int file, void *to, size_t count), (file, to, count), file, NULL, -1)
INTERCEPT(ssize_t, write, (int file, const void *from, size_t count), (file, from, count), file, NULL, -1)
INTERCEPT(ssize_t, sendfile64, (int to, int from, off64_t *at, size_t count), (to, from, at, count), to, NULL, -1)
INTERCEPT(int, ftruncate64, (int file, off64_t size), (file, size), file, NULL, -1)
INTERCEPT(int, fsync, (int file), (file), file, NULL, -1)
INTERCEPT(int, fdatasync, (int file), (file), file, NULL, -1)
INTERCEPT(int, rename, (const char *from, const char *to), (from, to), AT_FDCWD, to, -1)
INTERCEPT(int, renameat, (int d, const char *from, int e, const char *to), (d, from, e, to), e, to, -1)
INTERCEPT(int, link, (const char *from, const char *to), (from, to), AT_FDCWD, to, -1)
INTERCEPT(int, linkat, (int d, const char *from, int e, const char *to, int f), (d, from, e, to, f), e, to, -1)
INTERCEPT(int, symlink, (const char *from, const char *to), (from, to), AT_FDCWD, to, -1)
INTERCEPT(int, unlink, (const char *path), (path), AT_FDCWD, path, -1)
INTERCEPT(int, unlinkat, (int at, const char *path, int flags), (at, path, flags), at, path, -1)
INTERCEPT(int, rmdir, (const char *path), (path), AT_FDCWD, path, -1)
INTERCEPT(int, mkdir, (const char *path, mode_t mode), (path, mode), AT_FDCWD, path, -1)
INTERCEPT(int, mkdirat, (int at, const char *path, mode_t mode), (at, path, mode), at, path, -1)
