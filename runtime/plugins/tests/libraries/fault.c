/* A transform that keeps to no rules: its option "fault" says how it misbehaves when it processes a batch. */
#define _POSIX_C_SOURCE 200809L
#include "levada_plugin.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { FAULT = 32 };

typedef struct {
  char fault[FAULT];
  LevadaDone done; /* of the operation that a cancel ends */
  void *user;
} Fault;

static LevadaStr text(const char *s) {
  LevadaStr str = {(const uint8_t *)s, strlen(s)};
  return str;
}

static LevadaBuf constant(const char *s) {
  LevadaBuf buf = {(const uint8_t *)s, strlen(s), NULL, NULL};
  return buf;
}

/* Live buffers of this library: each is released once. */
static int live;

static void release_counted(void *owner) {
  free(owner);
  __atomic_fetch_sub(&live, 1, __ATOMIC_SEQ_CST);
}

static LevadaBuf counted(const char *s) {
  size_t n = strlen(s);
  char *copy = malloc(n + 1);
  memcpy(copy, s, n + 1);
  __atomic_fetch_add(&live, 1, __ATOMIC_SEQ_CST);
  LevadaBuf buf = {(const uint8_t *)copy, n, copy, release_counted};
  return buf;
}

int32_t fault_live_buffers(void);
int32_t fault_live_buffers(void) { return __atomic_load_n(&live, __ATOMIC_SEQ_CST); }

static int32_t query(const LevadaClass *self, uint32_t query, LevadaStr args, LevadaOutcome *out) {
  (void)self;
  (void)args;
  if (query != LEVADA_QUERY_DESCRIBE) return LEVADA_UNSUPPORTED;
  out->payload = counted("{\"doc\": \"Misbehaves\", \"config\": [{\"name\": \"fault\", \"type\": \"string\", \"default\": \"none\","
                         " \"doc\": \"How.\"}]}");
  return LEVADA_OK;
}

static int32_t create(const LevadaClass *self, void *task, LevadaStr args, void **handle, LevadaOutcome *out) {
  (void)self;
  (void)task;
  Fault *fault = calloc(1, sizeof *fault);
  static const char key[] = "\"fault\":\"";
  for (size_t i = 0; fault != NULL && i + sizeof key < args.len; i++) {
    if (memcmp(args.ptr + i, key, sizeof key - 1) != 0) continue;
    const uint8_t *from = args.ptr + i + sizeof key - 1;
    for (int n = 0; n < FAULT - 1 && from[n] != '"'; n++) fault->fault[n] = (char)from[n];
  }
  if (fault != NULL && strcmp(fault->fault, "create") == 0) {
    free(fault);
    out->message = counted("it does not want to");
    return LEVADA_CONFIG;
  }
  if (fault != NULL && strcmp(fault->fault, "no handle") == 0) {
    free(fault);
    return LEVADA_OK;
  }
  *handle = fault;
  return LEVADA_OK;
}

static void answer(LevadaDone done, void *user, LevadaOutcome *out) {
  out->struct_size = sizeof *out;
  done(user, out);
}

static void nothing(LevadaDone done, void *user) {
  LevadaOutcome out;
  memset(&out, 0, sizeof out);
  answer(done, user, &out);
}

typedef struct {
  LevadaDone done;
  void *user;
} Later;

static void *late(void *of) {
  Later later = *(Later *)of;
  free(of);
  struct timespec pause = {0, 400 * 1000 * 1000};
  nanosleep(&pause, NULL);
  nothing(later.done, later.user);
  return NULL;
}

static int32_t submit(void *handle, uint32_t op, uint64_t op_id, LevadaStr args, LevadaBatch *batches, size_t n,
                      LevadaDone done, void *user) {
  (void)op_id;
  (void)args;
  Fault *self = handle;
  const char *fault = self->fault;
  LevadaOutcome out;
  memset(&out, 0, sizeof out);
  if (op == LEVADA_TRANSFORM_BIND) {
    out.batches = batches;
    out.n_batches = strcmp(fault, "no schema") == 0 ? 0 : n;
    answer(done, user, &out);
    return LEVADA_OK;
  }
  if (op != LEVADA_TRANSFORM_PROCESS) {
    nothing(done, user);
    return LEVADA_OK;
  }
#define IS(name) (strcmp(fault, name) == 0)
  if (IS("refuses")) return LEVADA_RETRIABLE;
  if (IS("never") || IS("ends by cancel")) {
    self->done = done;
    self->user = user;
    return LEVADA_OK;
  }
  if (IS("late")) {
    Later *later = malloc(sizeof *later);
    pthread_t thread;
    later->done = done;
    later->user = user;
    pthread_create(&thread, NULL, late, later);
    pthread_detach(thread);
    return LEVADA_OK;
  }
  if (IS("null outcome")) {
    done(user, NULL);
    return LEVADA_OK;
  }
  if (IS("small outcome")) {
    /* One of a version that had nothing but a code. */
    struct {
      uint32_t struct_size;
      int32_t code;
    } small = {8, LEVADA_DATA};
    done(user, (LevadaOutcome *)(void *)&small);
    return LEVADA_OK;
  }
  if (IS("exit")) exit(3);
  if (IS("segfault")) {
    volatile int *nowhere = NULL;
    *nowhere = 1;
  }
  if (IS("abort")) abort();
  out.batches = batches;
  out.n_batches = n;
  if (IS("null batches")) out.batches = NULL;
  if (IS("many batches")) out.n_batches = (size_t)1 << 60;
  if (IS("wrong schema id")) batches[0].schema_id = 7;
  if (IS("large schema id")) batches[0].schema_id = 4000000000u;
  if (IS("fewer columns")) batches[0].array.n_children -= 1;
  if (IS("fewer buffers")) batches[0].array.children[0]->n_buffers = 1;
  if (IS("no buffers")) batches[0].array.children[0]->buffers[1] = NULL;
  if (IS("no buffer list")) batches[0].array.children[0]->buffers = NULL;
  if (IS("no children")) batches[0].array.children = NULL;
  /* The list in the host's own memory must stay as it is: nobody survives that. */
  static struct ArrowArray *no_child[8];
  if (IS("null child")) batches[0].array.children = no_child;
  if (IS("huge")) batches[0].array.length = (int64_t)1 << 50;
  if (IS("negative")) batches[0].array.length = -5;
  if (IS("offset")) batches[0].array.offset = (int64_t)1 << 62;
  if (IS("longer than its columns")) batches[0].array.length += 1000;
  if (IS("released child")) batches[0].array.children[0]->release = NULL;
  if (IS("payload")) out.payload = counted("this is not JSON");
  if (IS("code")) out.code = 4711, out.message = counted("an odd code");
  if (IS("meta")) batches[0].meta = counted("\"no origin\"");
  answer(done, user, &out);
  if (IS("twice")) nothing(done, user);
  return LEVADA_OK;
}

static void cancel(void *handle, uint64_t op_id) {
  (void)op_id;
  Fault *self = handle;
  if (strcmp(self->fault, "ends by cancel") == 0 && self->done != NULL) {
    LevadaDone done = self->done;
    self->done = NULL;
    nothing(done, self->user);
    /* And once more, after it has ended. */
    nothing(done, self->user);
  }
}

static void destroy(void *handle) {
  if (strcmp(((Fault *)handle)->fault, "destroy") == 0) abort();
  free(handle);
}

static LevadaClass class;
static const LevadaClass *const classes[] = {&class};

int32_t levada_plugin_entry_v1(const LevadaHost *host, LevadaLibrary *out) {
  (void)host;
  class.struct_size = sizeof class;
  class.kind = LEVADA_TRANSFORM;
  class.name = text("Fault");
  class.version = text("1.0.0");
  class.query = query;
  class.create = create;
  class.submit = submit;
  class.cancel = cancel;
  class.destroy = destroy;
  out->abi_minor = LEVADA_ABI_MINOR;
  out->build_info = text("fault 1.0.0");
  out->classes = classes;
  out->n_classes = 1;
  (void)constant;
  return LEVADA_OK;
}
