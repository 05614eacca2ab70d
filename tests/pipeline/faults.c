/* Fail the Nth call of one kind on some files: LD_PRELOAD this.
   FAULT_BELOW: how their paths begin; FAULT_KIND: write, sync or rename; FAULT_AT: N, from 1, 0 for none; FAULT_COUNTS: a file that
   gets the number of calls of each kind when the process ends. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

enum kind { WRITE, SYNC, RENAME, KINDS };
static const char *names[KINDS] = {"write", "sync", "rename"};
static int counts[KINDS];

static int below(const char *path) {
    const char *folder = getenv("FAULT_BELOW");
    return folder && path && !strncmp(path, folder, strlen(folder));
}

static int fails(enum kind kind, const char *path) {
    const char *wanted = getenv("FAULT_KIND"), *at = getenv("FAULT_AT");
    if (!below(path) || strstr(path, "/fault-")) return 0;
    counts[kind]++;
    if (!wanted || strcmp(wanted, names[kind]) || !at || counts[kind] != atoi(at)) return 0;
    errno = kind == RENAME ? EIO : ENOSPC;
    return 1;
}

static int file_fails(enum kind kind, int file) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return fails(kind, path);
}

#define REAL(name) static __typeof__(name) *real; if (!real) real = dlsym(RTLD_NEXT, #name)

ssize_t write(int file, const void *data, size_t size) {
    REAL(write);
    if (!file_fails(WRITE, file)) return real(file, data, size);
    if (size > 1) real(file, data, size / 2); /* a full disk takes a part */
    errno = ENOSPC;
    return -1;
}
ssize_t writev(int file, const struct iovec *parts, int count) {
    REAL(writev);
    return file_fails(WRITE, file) ? -1 : real(file, parts, count);
}
ssize_t pwrite(int file, const void *data, size_t size, off_t offset) {
    REAL(pwrite);
    return file_fails(WRITE, file) ? -1 : real(file, data, size, offset);
}
ssize_t pwrite64(int file, const void *data, size_t size, off64_t offset) {
    REAL(pwrite64);
    return file_fails(WRITE, file) ? -1 : real(file, data, size, offset);
}
int fsync(int file) {
    REAL(fsync);
    return file_fails(SYNC, file) ? -1 : real(file);
}
int fdatasync(int file) {
    REAL(fdatasync);
    return file_fails(SYNC, file) ? -1 : real(file);
}
int rename(const char *from, const char *to) {
    REAL(rename);
    char path[PATH_MAX];
    if (to[0] == '/') snprintf(path, sizeof path, "%s", to);
    else if (getcwd(path, sizeof path - 1)) { strncat(path, "/", sizeof path - strlen(path) - 1); strncat(path, to, sizeof path - strlen(path) - 1); }
    return fails(RENAME, path) ? -1 : real(from, to);
}

__attribute__((destructor)) static void tell(void) {
    const char *name = getenv("FAULT_COUNTS");
    FILE *file = name && counts[WRITE] ? fopen(name, "w") : NULL;
    if (!file) return;
    for (int kind = 0; kind < KINDS; kind++) fprintf(file, "%s %d\n", names[kind], counts[kind]);
    fclose(file);
}
