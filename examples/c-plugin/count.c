/* A source in C: counts from 0, as far as it is told.
 *
 *   cc -std=c11 -shared -fPIC -I plugin/include -o libcount.so examples/c-plugin/count.c
 *   levada run pipeline.yaml --plugin-path .        # "source.class": "CountC", "source.count": "1000"
 *
 * Its one partition is {"numbers": "all"}; the position in it is the next number.
 */
#include "levada_plugin.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PARTITION "{\"numbers\":\"all\"}"
#define NUMBER_BYTES 8
#define MOST 4096

typedef struct {
  uint64_t count; /* how many numbers there are */
  uint64_t at;    /* the next one */
  struct ArrowSchema schema;
  LevadaBatch batch;
  char payload[256];
} Source;

static LevadaStr text(const char *s) {
  LevadaStr str = {(const uint8_t *)s, strlen(s)};
  return str;
}

/* Bytes that need not be freed: they live as long as the source, or for ever. */
static LevadaBuf constant(const char *s) {
  LevadaBuf buf = {(const uint8_t *)s, strlen(s), NULL, NULL};
  return buf;
}

/* The whole number after the first KEY in JSON that the host has written, which has no spaces. A plugin with more to read
 * than numbers uses a JSON library. */
static int number_after(LevadaStr json, const char *key, uint64_t *out) {
  size_t n = strlen(key);
  for (size_t i = 0; i + n < json.len; i++) {
    if (memcmp(json.ptr + i, key, n) != 0) continue;
    uint64_t value = 0;
    size_t at = i + n;
    if (json.ptr[at] < '0' || json.ptr[at] > '9') return 0;
    for (; at < json.len && json.ptr[at] >= '0' && json.ptr[at] <= '9'; at++) {
      uint64_t digit = json.ptr[at] - '0';
      if (value > (UINT64_MAX - digit) / 10) return 0;
      value = value * 10 + digit;
    }
    *out = value;
    return 1;
  }
  return 0;
}

static int contains(LevadaStr json, const char *what) {
  size_t n = strlen(what);
  for (size_t i = 0; i + n <= json.len; i++) {
    if (memcmp(json.ptr + i, what, n) == 0) return 1;
  }
  return 0;
}

/* --- Arrow: a struct of one column of int64, and memory that is freed when the host releases it. --- */

static void release_schema(struct ArrowSchema *schema) {
  for (int64_t i = 0; i < schema->n_children; i++) {
    if (schema->children[i]->release != NULL) schema->children[i]->release(schema->children[i]);
    free(schema->children[i]);
  }
  free(schema->children);
  schema->release = NULL;
}

static int make_schema(struct ArrowSchema *schema) {
  memset(schema, 0, sizeof *schema);
  struct ArrowSchema *column = calloc(1, sizeof *column);
  struct ArrowSchema **children = malloc(sizeof *children);
  if (column == NULL || children == NULL) {
    free(column);
    free(children);
    return 0;
  }
  column->format = "l";
  column->name = "n";
  column->release = release_schema;
  children[0] = column;
  schema->format = "+s";
  schema->name = "";
  schema->n_children = 1;
  schema->children = children;
  schema->release = release_schema;
  return 1;
}

static void release_array(struct ArrowArray *array) {
  for (int64_t i = 0; i < array->n_children; i++) {
    if (array->children[i]->release != NULL) array->children[i]->release(array->children[i]);
    free(array->children[i]);
  }
  free(array->children);
  free(array->buffers);
  free(array->private_data);
  array->release = NULL;
}

static int make_rows(struct ArrowArray *rows, uint64_t from, uint64_t to) {
  memset(rows, 0, sizeof *rows);
  size_t n = (size_t)(to - from);
  struct ArrowArray *column = calloc(1, sizeof *column);
  struct ArrowArray **children = malloc(sizeof *children);
  const void **own = calloc(1, sizeof *own), **buffers = calloc(2, sizeof *buffers);
  int64_t *numbers = malloc(n * sizeof *numbers);
  if (column == NULL || children == NULL || own == NULL || buffers == NULL || numbers == NULL) {
    free(column);
    free(children);
    free(own);
    free(buffers);
    free(numbers);
    return 0;
  }
  for (size_t i = 0; i < n; i++) numbers[i] = (int64_t)(from + i);
  buffers[1] = numbers; /* the first would say which are null */
  column->length = (int64_t)n;
  column->n_buffers = 2;
  column->buffers = buffers;
  column->private_data = numbers;
  column->release = release_array;
  children[0] = column;
  rows->length = (int64_t)n;
  rows->n_buffers = 1;
  rows->buffers = own;
  rows->n_children = 1;
  rows->children = children;
  rows->release = release_array;
  return 1;
}

/* --- The class. --- */

static int32_t query(const LevadaClass *self, uint32_t query, LevadaStr args, LevadaOutcome *out) {
  (void)self;
  (void)args;
  switch (query) {
    case LEVADA_QUERY_DESCRIBE:
      out->payload = constant("{\"doc\": \"Counts from 0\", \"aliases\": [], \"config\": [{\"name\": \"count\", \"type\": \"long\","
                              " \"default\": \"100\", \"importance\": \"high\", \"doc\": \"How many numbers there are.\"}]}");
      return LEVADA_OK;
    case LEVADA_QUERY_CAPABILITIES:
      out->payload = constant("{\"replayable\": true, \"bounded\": true}");
      return LEVADA_OK;
    default:
      return LEVADA_UNSUPPORTED;
  }
}

static int32_t create(const LevadaClass *self, void *task, LevadaStr args, void **handle, LevadaOutcome *out) {
  (void)self;
  (void)task;
  Source *source = calloc(1, sizeof *source);
  if (source == NULL) return LEVADA_RETRIABLE;
  /* The options come as text, and only those that were given. */
  source->count = 100;
  if (contains(args, "\"count\":\"") && !number_after(args, "\"count\":\"", &source->count)) {
    free(source);
    out->message = constant("count must be 0 or more");
    return LEVADA_CONFIG;
  }
  *handle = source;
  return LEVADA_OK;
}

static void poll(Source *source, LevadaStr args, LevadaOutcome *out) {
  uint64_t rows = 0, bytes = 0, end = source->count;
  number_after(args, "\"rows\":", &rows);
  number_after(args, "\"bytes\":", &bytes);
  if (!contains(args, "\"until\":null")) {
    /* What is not in it must not be read at all. */
    end = source->at;
    number_after(args, "\"position\":", &end);
  }
  uint64_t from = source->at, most = MOST;
  if (rows < most) most = rows;
  if (bytes / NUMBER_BYTES < most) most = bytes / NUMBER_BYTES;
  if (most == 0 && rows > 0) most = 1; /* a row that is larger than the limit comes nevertheless */
  uint64_t to = end > from ? from + (end - from < most ? end - from : most) : from;
  const char *status = to >= end ? "end" : "more";
  if (to == from) {
    snprintf(source->payload, sizeof source->payload, "{\"ranges\":[],\"status\":\"%s\"}", status);
  } else {
    if (!make_rows(&source->batch.array, from, to)) {
      out->code = LEVADA_RETRIABLE;
      out->message = constant("there is no memory for the rows");
      return;
    }
    /* The schema was sent before, with the same number. A range without a start begins where the partition begins. */
    source->batch.schema = NULL;
    source->batch.meta = constant("{\"label\":\"numbers\"}");
    out->batches = &source->batch;
    out->n_batches = 1;
    char start[64] = "";
    if (from > 0) snprintf(start, sizeof start, "\"start\":{\"position\":%" PRIu64 "},", from);
    snprintf(source->payload, sizeof source->payload,
             "{\"ranges\":[{\"partition\":" PARTITION ",%s\"end\":{\"position\":%" PRIu64 "}}],\"bytes\":%" PRIu64
             ",\"status\":\"%s\"}",
             start, to, (to - from) * NUMBER_BYTES, status);
    source->at = to;
  }
  out->payload = constant(source->payload);
}

static int32_t submit(void *handle, uint32_t op, uint64_t op_id, LevadaStr args, LevadaBatch *batches, size_t n,
                      LevadaDone done, void *user) {
  (void)op_id;
  (void)batches;
  (void)n;
  Source *source = handle;
  LevadaOutcome out;
  memset(&out, 0, sizeof out);
  out.struct_size = sizeof out;
  switch (op) {
    case LEVADA_SOURCE_SCHEMA:
      /* A batch without rows is a schema. */
      memset(&source->batch, 0, sizeof source->batch);
      if (make_schema(&source->schema)) {
        source->batch.schema = &source->schema;
        out.batches = &source->batch;
        out.n_batches = 1;
      } else {
        out.code = LEVADA_RETRIABLE;
      }
      break;
    case LEVADA_SOURCE_OPEN:
      source->at = 0;
      number_after(args, "\"position\":", &source->at);
      break;
    case LEVADA_SOURCE_POLL:
      poll(source, args, &out);
      break;
    case LEVADA_SOURCE_LATEST:
      snprintf(source->payload, sizeof source->payload,
               source->count == 0 ? "[]" : "[{\"partition\":" PARTITION ",\"offset\":{\"position\":%" PRIu64 "}}]",
               source->count);
      out.payload = constant(source->payload);
      break;
    case LEVADA_SOURCE_COMMIT:
    case LEVADA_SOURCE_CLOSE:
      break;
    default:
      out.code = LEVADA_UNSUPPORTED;
      out.message = constant("this operation is not known");
  }
  done(user, &out);
  /* What the host did not take is still ours. */
  if (out.n_batches == 1) {
    if (source->batch.array.release != NULL) source->batch.array.release(&source->batch.array);
    if (source->batch.schema != NULL && source->schema.release != NULL) source->schema.release(&source->schema);
  }
  return LEVADA_OK;
}

static void destroy(void *handle) { free(handle); }

static LevadaClass count;
static const LevadaClass *const classes[] = {&count};

int32_t levada_plugin_entry_v1(const LevadaHost *host, LevadaLibrary *out) {
  (void)host;
  count.struct_size = sizeof count;
  count.kind = LEVADA_SOURCE;
  count.name = text("CountC");
  count.version = text("1.0.0");
  count.query = query;
  count.create = create;
  count.submit = submit;
  count.destroy = destroy;
  out->abi_minor = LEVADA_ABI_MINOR;
  out->build_info = text("c-plugin 1.0.0");
  out->classes = classes;
  out->n_classes = 1;
  return LEVADA_OK;
}
