/* Levada's plugin interface, version 1. Made from the Rust definition; a test keeps it up to date.
 * A library exports levada_plugin_entry_v1 and reaches everything else through these tables. */
#ifndef LEVADA_PLUGIN_H
#define LEVADA_PLUGIN_H

#include <stddef.h>
#include <stdint.h>

#ifndef ARROW_C_DATA_INTERFACE
#define ARROW_C_DATA_INTERFACE

#define ARROW_FLAG_DICTIONARY_ORDERED 1
#define ARROW_FLAG_NULLABLE 2
#define ARROW_FLAG_MAP_KEYS_SORTED 4

struct ArrowSchema {
  const char *format;
  const char *name;
  const char *metadata;
  int64_t flags;
  int64_t n_children;
  struct ArrowSchema **children;
  struct ArrowSchema *dictionary;
  void (*release)(struct ArrowSchema *);
  void *private_data;
};

struct ArrowArray {
  int64_t length;
  int64_t null_count;
  int64_t offset;
  int64_t n_buffers;
  int64_t n_children;
  const void **buffers;
  struct ArrowArray **children;
  struct ArrowArray *dictionary;
  void (*release)(struct ArrowArray *);
  void *private_data;
};

#endif

#ifdef __cplusplus
extern "C" {
#endif

#define LEVADA_ABI_MINOR 0

/* A class of sources. */
#define LEVADA_SOURCE ((uint32_t)1)
/* A class of transforms. */
#define LEVADA_TRANSFORM ((uint32_t)2)
/* A class of sinks. */
#define LEVADA_SINK ((uint32_t)3)
/* The class blocks in submit: the host calls it from a thread of its own. */
#define LEVADA_CLASS_BLOCKING ((uint64_t)1)
/* It worked. */
#define LEVADA_OK ((int32_t)0)
/* It did not happen and may succeed later. */
#define LEVADA_RETRIABLE ((int32_t)1)
/* It cannot succeed. */
#define LEVADA_FATAL ((int32_t)2)
/* The configuration is wrong. */
#define LEVADA_CONFIG ((int32_t)3)
/* A record cannot be handled. */
#define LEVADA_DATA ((int32_t)4)
/* It was cancelled. */
#define LEVADA_CANCELLED ((int32_t)5)
/* There is no such operation here. */
#define LEVADA_UNSUPPORTED ((int32_t)6)
/* The plugin panicked. */
#define LEVADA_PANIC ((int32_t)7)
/* It may or may not have happened. */
#define LEVADA_INDETERMINATE ((int32_t)8)
/* A newer run has taken over. */
#define LEVADA_FENCED ((int32_t)9)
/* An error. */
#define LEVADA_LOG_ERROR ((uint32_t)1)
/* A warning. */
#define LEVADA_LOG_WARN ((uint32_t)2)
/* What a user wants to know. */
#define LEVADA_LOG_INFO ((uint32_t)3)
/* What a developer wants to know. */
#define LEVADA_LOG_DEBUG ((uint32_t)4)
/* Everything. */
#define LEVADA_LOG_TRACE ((uint32_t)5)
/* A number that only rises; the value is what is added. */
#define LEVADA_METRIC_COUNTER ((uint32_t)1)
/* A number that rises and falls; the value is the new one. */
#define LEVADA_METRIC_GAUGE ((uint32_t)2)
/* No arguments. {"doc", "aliases": [], "config": [{"name", "type", "default", "required", "importance", "doc", …}]} */
#define LEVADA_QUERY_DESCRIBE ((uint32_t)1)
/* {"config": {}}. [{"key", "value", "message"}]: what is wrong with it. */
#define LEVADA_QUERY_VALIDATE ((uint32_t)2)
/* {"config": {}}. Source: {"replayable", "bounded"}. Sink: {"guarantee", "modes": []}. */
#define LEVADA_QUERY_CAPABILITIES ((uint32_t)3)
/* {"config": {}, "max"}. A number: over how many tasks the work can be split. */
#define LEVADA_QUERY_TASKS ((uint32_t)4)
/* Source: {} -> a batch without rows: the schema. */
#define LEVADA_SOURCE_SCHEMA ((uint32_t)1)
/* Source: {"context", "from": offsets}. */
#define LEVADA_SOURCE_OPEN ((uint32_t)2)
/* Source: {"batch_id", "rows", "bytes", "wait_ms", "until": offsets or null} -> batches and {"ranges", "rejected", "bytes", "status"}. */
#define LEVADA_SOURCE_POLL ((uint32_t)3)
/* Source: {} -> offsets. */
#define LEVADA_SOURCE_LATEST ((uint32_t)4)
/* Source: offsets. */
#define LEVADA_SOURCE_COMMIT ((uint32_t)5)
/* Source: {}. */
#define LEVADA_SOURCE_CLOSE ((uint32_t)6)
/* Transform: {"alias", "output_mode", "aggregated"} and a batch without rows for each input -> one for the output, and {"stateful", "aggregates", "watermark", "origins": {}}. */
#define LEVADA_TRANSFORM_BIND ((uint32_t)20)
/* Transform: {"context"}. */
#define LEVADA_TRANSFORM_OPEN ((uint32_t)21)
/* Transform: {"batch_id", "watermark", "late"}. */
#define LEVADA_TRANSFORM_BEGIN ((uint32_t)22)
/* Transform: {"input"} or nothing, and a batch -> batches and {"rejected"} or nothing. */
#define LEVADA_TRANSFORM_PROCESS ((uint32_t)23)
/* Transform: {"batch_id"} -> batches and {"rejected", "event_time", "stats", "metrics": {}}. */
#define LEVADA_TRANSFORM_FINISH ((uint32_t)24)
/* Transform: {"kind": "delta" or "snapshot"} -> null, or batches and {"kind", "fingerprint", "sections": [{"partition", "batches"}]}. */
#define LEVADA_TRANSFORM_CHECKPOINT ((uint32_t)25)
/* Transform: batches and what CHECKPOINT answered. */
#define LEVADA_TRANSFORM_RESTORE ((uint32_t)26)
/* Sink: {"context", "mode"} and a batch without rows -> null, or the last commit {"batch_id", "epoch", "offsets"}. */
#define LEVADA_SINK_OPEN ((uint32_t)40)
/* Sink: {"batch_id"} and a batch. */
#define LEVADA_SINK_WRITE ((uint32_t)41)
/* Sink: {"batch_id", "epoch", "offsets"}. */
#define LEVADA_SINK_COMMIT ((uint32_t)42)
/* Sink: {"batch_id"}. */
#define LEVADA_SINK_ABORT ((uint32_t)43)
/* Sink: {}. */
#define LEVADA_SINK_CLOSE ((uint32_t)44)
/* Sink: {"batch_id"} -> {"rejected"} or nothing. */
#define LEVADA_SINK_PREPARE ((uint32_t)45)

/* Borrowed bytes, UTF-8 where they are text. They are valid for the call, and no longer. */
typedef struct LevadaStr {
  /* The first byte; may be null when the length is 0. */
  const uint8_t *ptr;
  /* The number of bytes. */
  size_t len;
} LevadaStr;

/* Owned bytes. Whoever gets them calls release(owner) once, when it is done with them. */
typedef struct LevadaBuf {
  /* The first byte; may be null when the length is 0. */
  const uint8_t *ptr;
  /* The number of bytes. */
  size_t len;
  /* Handed to release. */
  void *owner;
  /* Frees the bytes; null when there is nothing to free. */
  void (*release)(void *owner);
} LevadaBuf;

/* A batch of rows: a struct array of the Arrow C Data Interface. The receiver owns it. */
typedef struct LevadaBatch {
  /* The schema, or null: the one that came last with the same schema_id, on this handle and in this direction. */
  struct ArrowSchema *schema;
  /* The rows. Released (release is null) where only the schema is meant. */
  struct ArrowArray array;
  /* Which schema it is: 0 to 63. */
  uint32_t schema_id;
  /* 0. */
  uint32_t reserved;
  /* Where the rows came from, as JSON: {"label": "a.csv", "unit": "line", "first": 2}. May be empty. */
  LevadaBuf meta;
} LevadaBatch;

/* How an operation ended. */
typedef struct LevadaOutcome {
  /* The size of this table. */
  uint32_t struct_size;
  /* LEVADA_OK or what went wrong. */
  int32_t code;
  /* 0. */
  uint64_t flags;
  /* What went wrong, in one line: what, where, what to do. */
  LevadaBuf message;
  /* The operation's answer as JSON. Of an error, optional: {"kind", "retry", "hint", "context"}. */
  LevadaBuf payload;
  /* Rows. */
  LevadaBatch *batches;
  /* How many. */
  size_t n_batches;
  /* For release. */
  void *owner;
  /* Frees the table and the list of batches, after the receiver has taken what is in them. May be null. */
  void (*release)(struct LevadaOutcome *outcome);
} LevadaOutcome;

/* What an operation calls when it is done, exactly once. */
typedef void (*LevadaDone)(void *user, LevadaOutcome *outcome);

/* What the host offers to plugins. It lives as long as the process. */
typedef struct LevadaHost {
  /* The size of this table. */
  uint32_t struct_size;
  /* The host's minor version. */
  uint32_t abi_minor;
  /* What the host does beyond this description: bits, none so far. */
  uint64_t features;
  /* Handed to the functions below. */
  void *ctx;
  /* How many threads a plugin's own runtime should have. */
  uint32_t runtime_threads;
  /* The least important level that is logged: a LEVADA_LOG number; 0 is nothing. */
  uint32_t log_level;
  /* Logs a line. The fields are a JSON object, or empty. */
  void (*log)(void *ctx, uint32_t level, LevadaStr target, LevadaStr message, LevadaStr fields);
  /* Counts (LEVADA_METRIC_COUNTER: value is added) or measures (LEVADA_METRIC_GAUGE). The labels are a JSON object, or empty. */
  void (*metric)(void *ctx, uint32_t kind, LevadaStr name, LevadaStr labels, double value);
  /* The pipeline's time in milliseconds since the epoch. The task is the one that `create` was given. */
  int64_t (*now_ms)(void *ctx, void *task);
  /* Passes a fault point: tests kill or fail steps there. Not 0: the step must fail as retriable. */
  int32_t (*fault)(void *ctx, void *task, LevadaStr point);
} LevadaHost;

/* A class: a source, transform or sink. It lives as long as the process. */
typedef struct LevadaClass {
  /* The size of this table. */
  uint32_t struct_size;
  /* LEVADA_SOURCE, LEVADA_TRANSFORM or LEVADA_SINK. */
  uint32_t kind;
  /* LEVADA_CLASS_BLOCKING or 0. */
  uint64_t flags;
  /* The name in configurations. */
  LevadaStr name;
  /* The version. */
  LevadaStr version;
  /* Answers a LEVADA_QUERY about the class at once, from any thread. Fills the outcome that it is given; the answer's
     buffers are released by the caller. */
  int32_t (*query)(const struct LevadaClass *self, uint32_t query, LevadaStr args, LevadaOutcome *out);
  /* Makes an instance from {"config": {…}}; no I/O. `task` is for the host's functions. On an error the outcome says why. */
  int32_t (*create)(const struct LevadaClass *self, void *task, LevadaStr args, void **handle, LevadaOutcome *out);
  /* Begins an operation. 0: `done` will be called exactly once; else never. The batches are the callee's in both
     cases; their list and the arguments are borrowed for the call. One operation at a time on a handle. */
  int32_t (*submit)(void *handle, uint32_t op, uint64_t op_id, LevadaStr args, LevadaBatch *batches, size_t n_batches, LevadaDone done, void *user);
  /* Asks the operation to end soon; it still calls `done`. From any thread, also when it has ended. May be null. */
  void (*cancel)(void *handle, uint64_t op_id);
  /* Ends the instance. Never while an operation is under way. */
  void (*destroy)(void *handle);
} LevadaClass;

/* What a library says of itself. The entry function fills it; the host gives it with its own size. */
typedef struct LevadaLibrary {
  /* The size of this table as the host knows it. */
  uint32_t struct_size;
  /* The library's minor version. */
  uint32_t abi_minor;
  /* The library's name, version and compiler, for people. */
  LevadaStr build_info;
  /* Its classes. */
  const LevadaClass *const *classes;
  /* How many. */
  size_t n_classes;
} LevadaLibrary;

/* What a library exports. Answers with a code. */
int32_t levada_plugin_entry_v1(const LevadaHost *host, LevadaLibrary *out);

#if defined(__STDC_VERSION__) && __STDC_VERSION__ >= 201112L
_Static_assert(offsetof(LevadaStr, ptr) == 0, "LevadaStr.ptr");
_Static_assert(offsetof(LevadaStr, len) == 8, "LevadaStr.len");
_Static_assert(offsetof(LevadaBuf, ptr) == 0, "LevadaBuf.ptr");
_Static_assert(offsetof(LevadaBuf, len) == 8, "LevadaBuf.len");
_Static_assert(offsetof(LevadaBuf, owner) == 16, "LevadaBuf.owner");
_Static_assert(offsetof(LevadaBuf, release) == 24, "LevadaBuf.release");
_Static_assert(offsetof(LevadaBatch, schema) == 0, "LevadaBatch.schema");
_Static_assert(offsetof(LevadaBatch, array) == 8, "LevadaBatch.array");
_Static_assert(offsetof(LevadaBatch, schema_id) == 88, "LevadaBatch.schema_id");
_Static_assert(offsetof(LevadaBatch, reserved) == 92, "LevadaBatch.reserved");
_Static_assert(offsetof(LevadaBatch, meta) == 96, "LevadaBatch.meta");
_Static_assert(offsetof(LevadaOutcome, struct_size) == 0, "LevadaOutcome.struct_size");
_Static_assert(offsetof(LevadaOutcome, code) == 4, "LevadaOutcome.code");
_Static_assert(offsetof(LevadaOutcome, flags) == 8, "LevadaOutcome.flags");
_Static_assert(offsetof(LevadaOutcome, message) == 16, "LevadaOutcome.message");
_Static_assert(offsetof(LevadaOutcome, payload) == 48, "LevadaOutcome.payload");
_Static_assert(offsetof(LevadaOutcome, batches) == 80, "LevadaOutcome.batches");
_Static_assert(offsetof(LevadaOutcome, n_batches) == 88, "LevadaOutcome.n_batches");
_Static_assert(offsetof(LevadaOutcome, owner) == 96, "LevadaOutcome.owner");
_Static_assert(offsetof(LevadaOutcome, release) == 104, "LevadaOutcome.release");
_Static_assert(offsetof(LevadaHost, struct_size) == 0, "LevadaHost.struct_size");
_Static_assert(offsetof(LevadaHost, abi_minor) == 4, "LevadaHost.abi_minor");
_Static_assert(offsetof(LevadaHost, features) == 8, "LevadaHost.features");
_Static_assert(offsetof(LevadaHost, ctx) == 16, "LevadaHost.ctx");
_Static_assert(offsetof(LevadaHost, runtime_threads) == 24, "LevadaHost.runtime_threads");
_Static_assert(offsetof(LevadaHost, log_level) == 28, "LevadaHost.log_level");
_Static_assert(offsetof(LevadaHost, log) == 32, "LevadaHost.log");
_Static_assert(offsetof(LevadaHost, metric) == 40, "LevadaHost.metric");
_Static_assert(offsetof(LevadaHost, now_ms) == 48, "LevadaHost.now_ms");
_Static_assert(offsetof(LevadaHost, fault) == 56, "LevadaHost.fault");
_Static_assert(offsetof(LevadaClass, struct_size) == 0, "LevadaClass.struct_size");
_Static_assert(offsetof(LevadaClass, kind) == 4, "LevadaClass.kind");
_Static_assert(offsetof(LevadaClass, flags) == 8, "LevadaClass.flags");
_Static_assert(offsetof(LevadaClass, name) == 16, "LevadaClass.name");
_Static_assert(offsetof(LevadaClass, version) == 32, "LevadaClass.version");
_Static_assert(offsetof(LevadaClass, query) == 48, "LevadaClass.query");
_Static_assert(offsetof(LevadaClass, create) == 56, "LevadaClass.create");
_Static_assert(offsetof(LevadaClass, submit) == 64, "LevadaClass.submit");
_Static_assert(offsetof(LevadaClass, cancel) == 72, "LevadaClass.cancel");
_Static_assert(offsetof(LevadaClass, destroy) == 80, "LevadaClass.destroy");
_Static_assert(offsetof(LevadaLibrary, struct_size) == 0, "LevadaLibrary.struct_size");
_Static_assert(offsetof(LevadaLibrary, abi_minor) == 4, "LevadaLibrary.abi_minor");
_Static_assert(offsetof(LevadaLibrary, build_info) == 8, "LevadaLibrary.build_info");
_Static_assert(offsetof(LevadaLibrary, classes) == 24, "LevadaLibrary.classes");
_Static_assert(offsetof(LevadaLibrary, n_classes) == 32, "LevadaLibrary.n_classes");
#endif

#ifdef __cplusplus
}
#endif

#endif
