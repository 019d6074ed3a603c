/* A transform in C: passes batches on as they are. The smallest plugin that there is.
 *
 *   cc -std=c11 -shared -fPIC -I plugin/include -o libpass.so examples/c-plugin/pass.c
 *   levada run pipeline.yaml --plugin-path .        # "transforms.p.type": "PassC"
 */
#include "levada_plugin.h"

#include <stdlib.h>
#include <string.h>

static LevadaStr text(const char *s) {
  LevadaStr str = {(const uint8_t *)s, strlen(s)};
  return str;
}

/* Bytes that need not be freed. */
static LevadaBuf constant(const char *s) {
  LevadaBuf buf = {(const uint8_t *)s, strlen(s), NULL, NULL};
  return buf;
}

static int32_t query(const LevadaClass *self, uint32_t query, LevadaStr args, LevadaOutcome *out) {
  (void)self;
  (void)args;
  if (query != LEVADA_QUERY_DESCRIBE) return LEVADA_UNSUPPORTED;
  out->payload = constant("{\"doc\": \"Passes rows on\", \"aliases\": [], \"config\": []}");
  return LEVADA_OK;
}

static int32_t create(const LevadaClass *self, void *task, LevadaStr args, void **handle, LevadaOutcome *out) {
  (void)self;
  (void)task;
  (void)args;
  (void)out;
  *handle = malloc(1);
  return *handle == NULL ? LEVADA_RETRIABLE : LEVADA_OK;
}

static int32_t submit(void *handle, uint32_t op, uint64_t op_id, LevadaStr args, LevadaBatch *batches, size_t n,
                      LevadaDone done, void *user) {
  (void)handle;
  (void)op_id;
  (void)args;
  LevadaOutcome out;
  memset(&out, 0, sizeof out);
  out.struct_size = sizeof out;
  switch (op) {
    case LEVADA_TRANSFORM_BIND:
    case LEVADA_TRANSFORM_PROCESS:
      /* What came in goes out: the host takes from the list what it needs, and releases the rest. A schema that came
       * keeps its number, and one that did not was sent before, in both directions. */
      out.batches = batches;
      out.n_batches = n;
      break;
    case LEVADA_TRANSFORM_OPEN:
    case LEVADA_TRANSFORM_FINISH:
      break;
    default:
      out.code = LEVADA_UNSUPPORTED;
      out.message = constant("this operation is not known");
  }
  done(user, &out);
  return LEVADA_OK;
}

static void destroy(void *handle) { free(handle); }

static LevadaClass pass;
static const LevadaClass *const classes[] = {&pass};

int32_t levada_plugin_entry_v1(const LevadaHost *host, LevadaLibrary *out) {
  (void)host;
  pass.struct_size = sizeof pass;
  pass.kind = LEVADA_TRANSFORM;
  pass.name = text("PassC");
  pass.version = text("1.0.0");
  pass.query = query;
  pass.create = create;
  pass.submit = submit;
  pass.destroy = destroy;
  out->abi_minor = LEVADA_ABI_MINOR;
  out->build_info = text("c-plugin 1.0.0");
  out->classes = classes;
  out->n_classes = 1;
  return LEVADA_OK;
}
