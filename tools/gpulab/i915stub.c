// The i915 kernel driver of a GPU that is not there, for LD_PRELOAD: enough of it that Mesa's ANV starts and compiles. Work that
// is submitted is dropped. (Mesa's own stubs, libX_noop_drm_shim.so, have the other kernel drivers.)
// STUB_ROOT: a folder with what libdrm reads of the GPU in /dev and /sys; `lab` makes it. STUB_ID, STUB_REV: PCI id and
// revision. STUB_SUBSLICES: size. STUB_LOCAL: 1 with memory of its own.
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>
#include <drm.h>
#include <i915_drm.h>

#define NODE "/dev/dri/renderD128"
enum { MAX_FDS = 4096, MAX_BUFFERS = 1 << 16, EUS = 8 };

static char ours[MAX_FDS];  // file descriptors of the node
static uint64_t next_offset = 1ull << 20, buffer_offset[MAX_BUFFERS];
static uint32_t next_handle = 1;

static unsigned number(const char *name) { return strtoul(getenv(name), 0, 0); }

// ---- files: those of the GPU lie in $STUB_ROOT

// Where `path` really is. `to` holds PATH_MAX bytes.
static const char *place(const char *path, char *to) {
  int of_gpu = path && (!strncmp(path, "/dev/dri", 8) || !strncmp(path, "/sys/dev/char/226:128", 21));
  if (!of_gpu) return path;
  snprintf(to, PATH_MAX, "%s%s", getenv("STUB_ROOT"), path);
  return to;
}

// Calls the C library's function of this name.
#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

FILE *fopen(const char *path, const char *mode) {
  char to[PATH_MAX];
  return NEXT(fopen)(place(path, to), mode);
}
FILE *fopen64(const char *path, const char *mode) __attribute__((alias("fopen")));

DIR *opendir(const char *path) {
  char to[PATH_MAX];
  return NEXT(opendir)(place(path, to));
}

ssize_t readlink(const char *path, char *buffer, size_t bytes) {
  char to[PATH_MAX];
  return NEXT(readlink)(place(path, to), buffer, bytes);
}

char *realpath(const char *path, char *resolved) {
  char to[PATH_MAX];
  return NEXT(realpath)(place(path, to), resolved);
}

static void make_node(struct stat *s) { s->st_mode = S_IFCHR | 0666, s->st_rdev = makedev(226, 128); }

int stat(const char *path, struct stat *s) {
  char to[PATH_MAX];
  int r = NEXT(stat)(place(path, to), s);
  if (!r && !strcmp(path, NODE)) make_node(s);
  return r;
}
int stat64(const char *path, struct stat64 *s) __attribute__((alias("stat")));

// ---- the node: a piece of anonymous memory, large and empty, so that buffers can be mapped

static int is_ours(int fd) { return fd >= 0 && fd < MAX_FDS && ours[fd]; }

static int open_node(void) {
  int low = syscall(SYS_memfd_create, "i915", 0), fd = syscall(SYS_fcntl, low, F_DUPFD, 3);  // ANV takes 0 for none
  syscall(SYS_close, low);
  if (fd >= 0 && fd < MAX_FDS && !ftruncate(fd, 1ll << 40)) ours[fd] = 1;
  return fd;
}

static int open_any(int dir, const char *path, int flags, mode_t mode) {
  char to[PATH_MAX];
  if (path && !strcmp(path, NODE)) return open_node();
  return syscall(SYS_openat, dir, place(path, to), flags, mode);
}

int open(const char *path, int flags, ...) {
  va_list a;
  va_start(a, flags);
  mode_t mode = va_arg(a, mode_t);
  va_end(a);
  return open_any(AT_FDCWD, path, flags, mode);
}
int open64(const char *path, int flags, ...) __attribute__((alias("open")));

int openat(int dir, const char *path, int flags, ...) {
  va_list a;
  va_start(a, flags);
  mode_t mode = va_arg(a, mode_t);
  va_end(a);
  return open_any(dir, path, flags, mode);
}

int close(int fd) {
  if (fd >= 0 && fd < MAX_FDS) ours[fd] = 0;
  return syscall(SYS_close, fd);
}

int dup(int fd) {
  int n = syscall(SYS_dup, fd);
  if (n >= 0 && n < MAX_FDS) ours[n] = is_ours(fd);
  return n;
}

int fcntl(int fd, int command, ...) {
  va_list a;
  va_start(a, command);
  long x = va_arg(a, long);
  va_end(a);
  int n = syscall(SYS_fcntl, fd, command, x);
  if ((command == F_DUPFD || command == F_DUPFD_CLOEXEC) && n >= 0 && n < MAX_FDS) ours[n] = is_ours(fd);
  return n;
}
int fcntl64(int fd, int command, ...) __attribute__((alias("fcntl")));

int fstat(int fd, struct stat *s) {
  int r = syscall(SYS_fstat, fd, s);
  if (!r && is_ours(fd)) make_node(s);
  return r;
}
int fstat64(int fd, struct stat64 *s) __attribute__((alias("fstat")));

// ---- what the kernel would answer

static int getparam(const drm_i915_getparam_t *g) {
  unsigned subslices = number("STUB_SUBSLICES");
  switch (g->param) {
  case I915_PARAM_CHIPSET_ID: *g->value = number("STUB_ID"); break;
  case I915_PARAM_REVISION: *g->value = number("STUB_REV"); break;
  case I915_PARAM_CS_TIMESTAMP_FREQUENCY: *g->value = 19200000; break;
  case I915_PARAM_HAS_ALIASING_PPGTT: *g->value = I915_GEM_PPGTT_FULL; break;
  case I915_PARAM_NUM_FENCES_AVAIL: *g->value = 8; break;
  case I915_PARAM_CMD_PARSER_VERSION: *g->value = 10; break;
  case I915_PARAM_MMAP_VERSION: case I915_PARAM_MMAP_GTT_VERSION: *g->value = 4; break;
  case I915_PARAM_SUBSLICE_TOTAL: *g->value = subslices; break;
  case I915_PARAM_EU_TOTAL: *g->value = subslices * EUS; break;
  case I915_PARAM_SLICE_MASK: *g->value = 1; break;
  case I915_PARAM_SUBSLICE_MASK: *g->value = (1ull << subslices) - 1; break;
  case I915_PARAM_PERF_REVISION: *g->value = 3; break;
  case I915_PARAM_HAS_BLT: case I915_PARAM_HAS_BSD: case I915_PARAM_HAS_LLC: case I915_PARAM_HAS_VEBOX: *g->value = 0; break;
  case I915_PARAM_HAS_USERPTR_PROBE: *g->value = 0; break;
  default: *g->value = 1;
  }
  return 0;
}

// The memory to answer in, cleared; null where only the length is asked for.
static void *answer(struct drm_i915_query_item *q, int bytes) {
  if (!q->length) { q->length = bytes; return 0; }
  return memset((void *)(uintptr_t)q->data_ptr, 0, bytes);
}

static void topology(struct drm_i915_query_item *q) {
  unsigned subslices = number("STUB_SUBSLICES"), eus = EUS, per_slice = (subslices + 7) / 8, per_subslice = (eus + 7) / 8;
  struct drm_i915_query_topology_info *t = answer(q, sizeof *t + 1 + per_slice + subslices * per_subslice);
  if (!t) return;
  t->max_slices = 1, t->max_subslices = subslices, t->max_eus_per_subslice = eus;
  t->subslice_offset = 1, t->subslice_stride = per_slice, t->eu_offset = 1 + per_slice, t->eu_stride = per_subslice;
  t->data[0] = 1;
  for (unsigned i = 0; i < subslices; i++) {
    t->data[1 + i / 8] |= 1 << i % 8;
    for (unsigned e = 0; e < eus; e++) t->data[1 + per_slice + i * per_subslice + e / 8] |= 1 << e % 8;
  }
}

static void engines(struct drm_i915_query_item *q) {
  struct drm_i915_query_engine_info *e = answer(q, sizeof *e + 2 * sizeof(struct drm_i915_engine_info));
  if (!e) return;
  e->num_engines = 2;
  e->engines[0].engine.engine_class = I915_ENGINE_CLASS_RENDER;
  e->engines[1].engine.engine_class = I915_ENGINE_CLASS_COPY;
}

static void regions(struct drm_i915_query_item *q) {
  unsigned local = number("STUB_LOCAL");
  struct drm_i915_query_memory_regions *m = answer(q, sizeof *m + (1 + local) * sizeof(struct drm_i915_memory_region_info));
  if (!m) return;
  m->num_regions = 1 + local;
  m->regions[0].region.memory_class = I915_MEMORY_CLASS_SYSTEM;
  m->regions[0].probed_size = m->regions[0].unallocated_size = 16ull << 30;
  if (local) {
    struct drm_i915_memory_region_info *r = &m->regions[1];
    r->region.memory_class = I915_MEMORY_CLASS_DEVICE;
    r->probed_size = r->unallocated_size = r->probed_cpu_visible_size = r->unallocated_cpu_visible_size = 16ull << 30;
  }
}

static int query(const struct drm_i915_query *q) {
  for (unsigned i = 0; i < q->num_items; i++) {
    struct drm_i915_query_item *item = (struct drm_i915_query_item *)(uintptr_t)q->items_ptr + i;
    switch (item->query_id) {
    case DRM_I915_QUERY_TOPOLOGY_INFO: case DRM_I915_QUERY_GEOMETRY_SUBSLICES: topology(item); break;
    case DRM_I915_QUERY_ENGINE_INFO: engines(item); break;
    case DRM_I915_QUERY_MEMORY_REGIONS: regions(item); break;
    default: item->length = -EINVAL;
    }
  }
  return 0;
}

static uint32_t buffer(uint64_t bytes) {
  uint32_t h = next_handle++;
  if (h < MAX_BUFFERS) buffer_offset[h] = next_offset;
  next_offset += (bytes + 65535) & ~65535ull;
  return h;
}

static void put(char *to, size_t *n, const char *s) {
  size_t k = strlen(s);
  if (to && *n) memcpy(to, s, k < *n ? k : *n);
  *n = k;
}

static int i915_ioctl(unsigned number, unsigned bytes, void *x) {
  static uint64_t address_spaces;
  switch (number) {
  case DRM_I915_GETPARAM: return getparam(x);
  case DRM_I915_QUERY: return query(x);
  case DRM_I915_GEM_CREATE:
    if (bytes == sizeof(struct drm_i915_gem_create)) { struct drm_i915_gem_create *c = x; c->handle = buffer(c->size); return 0; }
    /* fall through */
  case DRM_I915_GEM_CREATE_EXT: { struct drm_i915_gem_create_ext *c = x; c->handle = buffer(c->size); return 0; }
  case DRM_I915_GEM_USERPTR: { struct drm_i915_gem_userptr *u = x; u->handle = buffer(u->user_size); return 0; }
  case DRM_I915_GEM_MMAP_GTT: { struct drm_i915_gem_mmap_offset *m = x; m->offset = m->handle < MAX_BUFFERS ? buffer_offset[m->handle] : 0; return 0; }
  case DRM_I915_GEM_CONTEXT_CREATE: { struct drm_i915_gem_context_create *c = x; c->ctx_id = 1; return 0; }
  case DRM_I915_GEM_CONTEXT_GETPARAM: {
    struct drm_i915_gem_context_param *p = x;
    p->value = p->param == I915_CONTEXT_PARAM_GTT_SIZE ? 1ull << 48 : p->param == I915_CONTEXT_PARAM_VM ? ++address_spaces : 0;
    return 0;
  }
  case DRM_I915_GEM_VM_CREATE: { struct drm_i915_gem_vm_control *v = x; v->vm_id = 1; return 0; }
  case DRM_I915_GEM_GET_APERTURE: { struct drm_i915_gem_get_aperture *g = x; g->aper_size = g->aper_available_size = 1ull << 48; return 0; }
  case DRM_I915_GEM_BUSY: { struct drm_i915_gem_busy *b = x; b->busy = 0; return 0; }
  case DRM_I915_REG_READ: { struct drm_i915_reg_read *r = x; r->val = 1000; return 0; }
  case DRM_I915_GET_RESET_STATS: { struct drm_i915_reset_stats *s = x; s->reset_count = s->batch_active = s->batch_pending = 0; return 0; }
  }
  return 0;
}

static int drm_ioctl(unsigned number, void *x) {
  switch (number) {
  case _IOC_NR(DRM_IOCTL_VERSION): {
    struct drm_version *v = x;
    v->version_major = 1, v->version_minor = 6, v->version_patchlevel = 0;
    put(v->name, &v->name_len, "i915"), put(v->date, &v->date_len, "20201103"), put(v->desc, &v->desc_len, "Intel Graphics");
    return 0;
  }
  case _IOC_NR(DRM_IOCTL_GET_CAP): { struct drm_get_cap *c = x; c->value = c->capability == DRM_CAP_PRIME ? 3 : 1; return 0; }
  // What is given out as a file is closed later: it has to be one, or the program's standard input is closed.
  case _IOC_NR(DRM_IOCTL_PRIME_HANDLE_TO_FD): { struct drm_prime_handle *h = x; h->fd = syscall(SYS_memfd_create, "i915 file", 0); return 0; }
  case _IOC_NR(DRM_IOCTL_SYNCOBJ_HANDLE_TO_FD): { struct drm_syncobj_handle *h = x; h->fd = syscall(SYS_memfd_create, "i915 file", 0); return 0; }
  case _IOC_NR(DRM_IOCTL_PRIME_FD_TO_HANDLE): { struct drm_prime_handle *h = x; h->handle = buffer(1); return 0; }
  case _IOC_NR(DRM_IOCTL_SYNCOBJ_FD_TO_HANDLE): { struct drm_syncobj_handle *h = x; h->handle = next_handle++; return 0; }
  case _IOC_NR(DRM_IOCTL_SYNCOBJ_CREATE): { struct drm_syncobj_create *c = x; c->handle = next_handle++; return 0; }
  case _IOC_NR(DRM_IOCTL_SYNCOBJ_QUERY): {  // all points are reached
    struct drm_syncobj_timeline_array *t = x;
    for (unsigned i = 0; i < t->count_handles; i++) ((uint64_t *)(uintptr_t)t->points)[i] = ~0ull >> 1;
    return 0;
  }
  }
  return 0;
}

int ioctl(int fd, unsigned long request, ...) {
  va_list a;
  va_start(a, request);
  void *x = va_arg(a, void *);
  va_end(a);
  if (!is_ours(fd)) return syscall(SYS_ioctl, fd, request, x);
  unsigned n = _IOC_NR(request);
  if (n >= DRM_COMMAND_BASE && n < DRM_COMMAND_END) return i915_ioctl(n - DRM_COMMAND_BASE, _IOC_SIZE(request), x);
  return drm_ioctl(n, x);
}
