/* A disk that is full: LD_PRELOAD this, name the beginning of a path in DISKFULL_FOLDER and a file in DISKFULL_FLAG. While the first byte
 * of the flag is '1', no file whose path begins so grows: a write beyond a file's present end fails with ENOSPC, as on a full
 * disk, and a write inside it succeeds, as there too. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MOST_FILES 4096
static char inside[MOST_FILES];
static const char *folder;
static const volatile char *flag;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("DISKFULL_FLAG");
    folder = getenv("DISKFULL_FOLDER");
    if (!path || !folder) return;
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0) return;
    void *at = mmap(0, 1, PROT_READ, MAP_SHARED, fd, 0);
    syscall(SYS_close, fd);
    if (at != MAP_FAILED) flag = at;
}

static int do_open(int where, const char *path, int flags, mode_t mode) {
    int fd = (int)syscall(SYS_openat, where, path, flags, mode);
    if (fd >= 0 && fd < MOST_FILES) inside[fd] = folder && !strncmp(path, folder, strlen(folder));
    return fd;
}

#define WITH_MODE mode_t mode = 0; if (flags & (O_CREAT | O_TMPFILE)) { va_list more; va_start(more, flags); mode = va_arg(more, mode_t); va_end(more); }
int open(const char *path, int flags, ...) { WITH_MODE return do_open(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { WITH_MODE return do_open(AT_FDCWD, path, flags, mode); }
int openat(int where, const char *path, int flags, ...) { WITH_MODE return do_open(where, path, flags, mode); }
int openat64(int where, const char *path, int flags, ...) { WITH_MODE return do_open(where, path, flags, mode); }

/* Whether the file would have to grow on a full disk. */
static int refused(int fd, off64_t end) {
    struct stat now;
    if (!flag || *flag != '1' || fd < 0 || fd >= MOST_FILES || !inside[fd]) return 0;
    if (fstat(fd, &now) || !S_ISREG(now.st_mode) || end <= now.st_size) return 0;
    errno = ENOSPC;
    return 1;
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    return refused(fd, at + (off64_t)size) ? -1 : syscall(SYS_pwrite64, fd, data, size, at);
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) { return pwrite64(fd, data, size, at); }

ssize_t write(int fd, const void *data, size_t size) {
    if (flag && *flag == '1' && fd >= 0 && fd < MOST_FILES && inside[fd]) {
        off64_t at = lseek64(fd, 0, SEEK_CUR);
        if (at >= 0 && refused(fd, at + (off64_t)size)) return -1;
    }
    return syscall(SYS_write, fd, data, size);
}

int ftruncate64(int fd, off64_t size) { return refused(fd, size) ? -1 : (int)syscall(SYS_ftruncate, fd, size); }
int ftruncate(int fd, off_t size) { return ftruncate64(fd, size); }
int fallocate64(int fd, int mode, off64_t at, off64_t size) {
    return refused(fd, at + size) ? -1 : (int)syscall(SYS_fallocate, fd, mode, at, size);
}
int posix_fallocate64(int fd, off64_t at, off64_t size) { return fallocate64(fd, 0, at, size) ? errno : 0; }
