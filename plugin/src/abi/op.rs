//! The numbers of the interface.

use super::abi_numbers;

abi_numbers! { KINDS: u32 = "uint32_t";
    /// A class of sources.
    SOURCE = 1;
    /// A class of transforms.
    TRANSFORM = 2;
    /// A class of sinks.
    SINK = 3;
}

abi_numbers! { FLAGS: u64 = "uint64_t";
    /// The class blocks in submit: the host calls it from a thread of its own.
    CLASS_BLOCKING = 1;
}

abi_numbers! { CODES: i32 = "int32_t";
    /// It worked.
    OK = 0;
    /// It did not happen and may succeed later.
    RETRIABLE = 1;
    /// It cannot succeed.
    FATAL = 2;
    /// The configuration is wrong.
    CONFIG = 3;
    /// A record cannot be handled.
    DATA = 4;
    /// It was cancelled.
    CANCELLED = 5;
    /// There is no such operation here.
    UNSUPPORTED = 6;
    /// The plugin panicked.
    PANIC = 7;
    /// It may or may not have happened.
    INDETERMINATE = 8;
    /// A newer run has taken over.
    FENCED = 9;
}

abi_numbers! { LEVELS: u32 = "uint32_t";
    /// An error.
    LOG_ERROR = 1;
    /// A warning.
    LOG_WARN = 2;
    /// What a user wants to know.
    LOG_INFO = 3;
    /// What a developer wants to know.
    LOG_DEBUG = 4;
    /// Everything.
    LOG_TRACE = 5;
}

abi_numbers! { METRICS: u32 = "uint32_t";
    /// A number that only rises; the value is what is added.
    METRIC_COUNTER = 1;
    /// A number that rises and falls; the value is the new one.
    METRIC_GAUGE = 2;
}

abi_numbers! { QUERIES: u32 = "uint32_t";
    /// No arguments. {"doc", "aliases": [], "config": [{"name", "type", "default", "required", "importance", "doc", …}]}
    QUERY_DESCRIBE = 1;
    /// {"config": {}}. [{"key", "value", "message"}]: what is wrong with it.
    QUERY_VALIDATE = 2;
    /// {"config": {}}. Source: {"replayable", "bounded"}. Sink: {"guarantee", "modes": []}.
    QUERY_CAPABILITIES = 3;
    /// {"config": {}, "max"}. A number: over how many tasks the work can be split.
    QUERY_TASKS = 4;
}

abi_numbers! { OPERATIONS: u32 = "uint32_t";
    /// Source: {} -> a batch without rows: the schema.
    SOURCE_SCHEMA = 1;
    /// Source: {"context", "from": offsets}.
    SOURCE_OPEN = 2;
    /// Source: {"batch_id", "rows", "bytes", "wait_ms", "until": offsets or null} -> batches and {"ranges", "rejected", "bytes", "status"}.
    SOURCE_POLL = 3;
    /// Source: {} -> offsets.
    SOURCE_LATEST = 4;
    /// Source: offsets.
    SOURCE_COMMIT = 5;
    /// Source: {}.
    SOURCE_CLOSE = 6;
    /// Transform: {"alias", "output_mode", "aggregated"} and a batch without rows for each input -> one for the output, and {"stateful", "aggregates", "watermark", "origins": {}}.
    TRANSFORM_BIND = 20;
    /// Transform: {"context"}.
    TRANSFORM_OPEN = 21;
    /// Transform: {"batch_id", "watermark", "late"}.
    TRANSFORM_BEGIN = 22;
    /// Transform: {"input"} or nothing, and a batch -> batches and {"rejected"} or nothing.
    TRANSFORM_PROCESS = 23;
    /// Transform: {"batch_id"} -> batches and {"rejected", "event_time", "stats", "metrics": {}}.
    TRANSFORM_FINISH = 24;
    /// Transform: {"kind": "delta" or "snapshot"} -> null, or batches and {"kind", "fingerprint", "sections": [{"partition", "batches"}]}.
    TRANSFORM_CHECKPOINT = 25;
    /// Transform: batches and what CHECKPOINT answered.
    TRANSFORM_RESTORE = 26;
    /// Sink: {"context", "mode"} and a batch without rows -> null, or the last commit {"batch_id", "epoch", "offsets"}.
    SINK_OPEN = 40;
    /// Sink: {"batch_id"} and a batch.
    SINK_WRITE = 41;
    /// Sink: {"batch_id", "epoch", "offsets"}.
    SINK_COMMIT = 42;
    /// Sink: {"batch_id"}.
    SINK_ABORT = 43;
    /// Sink: {}.
    SINK_CLOSE = 44;
    /// Sink: {"batch_id"} -> {"rejected"} or nothing.
    SINK_PREPARE = 45;
}

/// An operation's name in messages.
pub fn name(op: u32) -> &'static str {
    match op {
        SOURCE_SCHEMA => "schema",
        SOURCE_OPEN | TRANSFORM_OPEN | SINK_OPEN => "open",
        SOURCE_POLL => "poll",
        SOURCE_LATEST => "latest",
        SOURCE_COMMIT | SINK_COMMIT => "commit",
        SOURCE_CLOSE | SINK_CLOSE => "close",
        TRANSFORM_BIND => "bind",
        TRANSFORM_BEGIN => "begin",
        TRANSFORM_PROCESS => "process",
        TRANSFORM_FINISH => "finish",
        TRANSFORM_CHECKPOINT => "checkpoint",
        TRANSFORM_RESTORE => "restore",
        SINK_WRITE => "write",
        SINK_ABORT => "abort",
        SINK_PREPARE => "prepare",
        _ => "an unknown operation",
    }
}
