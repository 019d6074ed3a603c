//! The C header and the layout file.

use std::fmt::Write as _;

use super::{Batch, Buf, Class, ENTRY, Host, Library, MINOR, Outcome, Str, TypeLayout, op};

fn types() -> Vec<TypeLayout> {
    vec![
        Str::layout(),
        Buf::layout(),
        Batch::layout(),
        Outcome::layout(),
        Host::layout(),
        Class::layout(),
        Library::layout(),
    ]
}

/// The layout file: a line for each field and each number. Lines may be added, at the end of a growing type only.
pub fn layout() -> String {
    let mut out = String::new();
    for table in types() {
        for field in &table.fields {
            let c = field.c.replace("{}", "");
            let _ = writeln!(out, "{}.{} offset {} size {} {}", table.name, field.name, field.offset, field.size, c);
        }
        if !table.grows {
            let _ = writeln!(out, "{} size {}", table.name, table.size);
        }
    }
    for (name, kind, value, _) in numbers() {
        let _ = writeln!(out, "{name} {value} {kind}");
    }
    out
}

fn numbers() -> impl Iterator<Item = &'static (&'static str, &'static str, i64, &'static str)> {
    [op::KINDS, op::FLAGS, op::CODES, op::LEVELS, op::METRICS, op::QUERIES, op::OPERATIONS].into_iter().flatten()
}

fn comment(out: &mut String, indent: &str, doc: &str) {
    let lines: Vec<_> = doc.trim().lines().map(str::trim).collect();
    let _ = writeln!(out, "{indent}/* {} */", lines.join(&format!("\n{indent}   ")));
}

const ARROW: &str = "\
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
";

/// The header for C.
pub fn header() -> String {
    let mut out = String::from(
        "/* Levada's plugin interface, version 1. Made from the Rust definition; a test keeps it up to date.\n \
         * A library exports levada_plugin_entry_v1 and reaches everything else through these tables. */\n\
         #ifndef LEVADA_PLUGIN_H\n#define LEVADA_PLUGIN_H\n\n#include <stddef.h>\n#include <stdint.h>\n\n",
    );
    out.push_str(ARROW);
    out.push_str("\n#ifdef __cplusplus\nextern \"C\" {\n#endif\n\n");
    let _ = writeln!(out, "#define LEVADA_ABI_MINOR {MINOR}\n");
    for (name, kind, value, doc) in numbers() {
        comment(&mut out, "", doc);
        let _ = writeln!(out, "#define LEVADA_{name} (({kind}){value})");
    }
    out.push('\n');
    for table in types() {
        comment(&mut out, "", table.doc);
        let _ = writeln!(out, "typedef struct {} {{", table.name);
        for field in &table.fields {
            comment(&mut out, "  ", field.doc);
            let _ = writeln!(out, "  {};", field.c.replace("{}", field.name));
        }
        let _ = writeln!(out, "}} {};\n", table.name);
        if table.name == "LevadaOutcome" {
            comment(&mut out, "", "What an operation calls when it is done, exactly once.");
            out.push_str("typedef void (*LevadaDone)(void *user, LevadaOutcome *outcome);\n\n");
        }
    }
    comment(&mut out, "", "What a library exports. Answers with a code.");
    let _ = writeln!(out, "int32_t {ENTRY}(const LevadaHost *host, LevadaLibrary *out);\n");
    out.push_str("#if defined(__STDC_VERSION__) && __STDC_VERSION__ >= 201112L\n");
    for table in types() {
        for field in &table.fields {
            let (name, field, offset) = (table.name, field.name, field.offset);
            let _ = writeln!(out, "_Static_assert(offsetof({name}, {field}) == {offset}, \"{name}.{field}\");");
        }
    }
    out.push_str("#endif\n\n#ifdef __cplusplus\n}\n#endif\n\n#endif\n");
    out
}
