/* Records what reaches the disk: LD_PRELOAD this, name a folder in POWERCUT_FOLDER and a log in POWERCUT_LOG. Every
 * write, truncation, synchronisation and removal of a file in that folder is carried out and noted, in one order for all
 * threads and processes, so that the trial can later lose everything that was not synchronised at any chosen moment. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define MOST_FILES 4096
#define LONGEST 256
static char names[MOST_FILES][LONGEST]; /* by file descriptor; "" for files that are none of ours */
static const char *folder;
static size_t folder_length;
static int note_fd = -1;
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;

struct __attribute__((packed)) head { char what; uint16_t name; uint64_t at; uint32_t size; };

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("POWERCUT_LOG");
    folder = getenv("POWERCUT_FOLDER");
    if (!path || !folder) return;
    folder_length = strlen(folder);
    note_fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static void lock(void) { int kept = errno; pthread_mutex_lock(&turn); flock(note_fd, LOCK_EX); errno = kept; }
static void unlock(void) { int kept = errno; flock(note_fd, LOCK_UN); pthread_mutex_unlock(&turn); errno = kept; }

static void note(char what, const char *name, uint64_t at, const void *data, size_t size) {
    struct head head = {what, (uint16_t)strlen(name), at, (uint32_t)size};
    struct iovec parts[] = {{&head, sizeof head}, {(void *)name, head.name}, {(void *)data, size}};
    int kept = errno;
    if (syscall(SYS_writev, note_fd, parts, 3) < 0) abort();
    errno = kept;
}

/* The name inside the folder ("." for the folder itself), or NULL. */
static const char *inside(const char *path) {
    if (note_fd < 0 || !path || strncmp(path, folder, folder_length)) return NULL;
    if (!path[folder_length]) return ".";
    if (path[folder_length] != '/' || strlen(path) - folder_length > LONGEST - 1) return NULL;
    return path[folder_length + 1] ? path + folder_length + 1 : ".";
}

static const char *ours(int fd) { return note_fd >= 0 && fd >= 0 && fd < MOST_FILES && names[fd][0] ? names[fd] : NULL; }

static int opened(int fd, const char *path, int flags) {
    const char *name = fd >= 0 && fd < MOST_FILES ? inside(path) : NULL;
    if (!name) return fd;
    lock();
    strcpy(names[fd], name);
    if (flags & O_CREAT) note('O', name, 0, "", 0);
    if (flags & O_TRUNC) note('T', name, 0, "", 0);
    unlock();
    return fd;
}

static int do_open(int where, const char *path, int flags, mode_t mode) {
    return opened((int)syscall(SYS_openat, where, path, flags, mode), path, flags);
}

#define WITH_MODE mode_t mode = 0; if (flags & (O_CREAT | O_TMPFILE)) { va_list more; va_start(more, flags); mode = va_arg(more, mode_t); va_end(more); }
int open(const char *path, int flags, ...) { WITH_MODE return do_open(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { WITH_MODE return do_open(AT_FDCWD, path, flags, mode); }
int openat(int where, const char *path, int flags, ...) { WITH_MODE return do_open(where, path, flags, mode); }
int openat64(int where, const char *path, int flags, ...) { WITH_MODE return do_open(where, path, flags, mode); }

int close(int fd) {
    if (ours(fd)) names[fd][0] = 0;
    return (int)syscall(SYS_close, fd);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    const char *name = ours(fd);
    if (!name) return syscall(SYS_pwrite64, fd, data, size, at);
    lock();
    ssize_t done = syscall(SYS_pwrite64, fd, data, size, at);
    if (done > 0) note('W', name, (uint64_t)at, data, (size_t)done);
    unlock();
    return done;
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) { return pwrite64(fd, data, size, at); }

ssize_t write(int fd, const void *data, size_t size) {
    const char *name = ours(fd);
    if (!name) return syscall(SYS_write, fd, data, size);
    lock();
    ssize_t done = syscall(SYS_write, fd, data, size);
    if (done > 0) note('W', name, (uint64_t)(lseek(fd, 0, SEEK_CUR) - done), data, (size_t)done);
    unlock();
    return done;
}

int ftruncate64(int fd, off64_t size) {
    const char *name = ours(fd);
    if (!name) return (int)syscall(SYS_ftruncate, fd, size);
    lock();
    int failed = (int)syscall(SYS_ftruncate, fd, size);
    if (!failed) note('T', name, (uint64_t)size, "", 0);
    unlock();
    return failed;
}
int ftruncate(int fd, off_t size) { return ftruncate64(fd, size); }

static int synchronise(long call, int fd) {
    const char *name = ours(fd);
    if (!name) return (int)syscall(call, fd);
    lock();
    int failed = (int)syscall(call, fd);
    if (!failed) note('S', name, 0, "", 0);
    unlock();
    return failed;
}
int fsync(int fd) { return synchronise(SYS_fsync, fd); }
int fdatasync(int fd) { return synchronise(SYS_fdatasync, fd); }

int unlink(const char *path) {
    const char *name = inside(path);
    if (!name) return (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
    lock();
    int failed = (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
    if (!failed) note('U', name, 0, "", 0);
    unlock();
    return failed;
}
