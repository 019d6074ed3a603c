//! Documentation made from definitions.

use std::fmt::Write as _;

use super::{ConfigDef, Default};

impl ConfigDef {
    /// The options as a Markdown table, each key with `prefix` before it.
    pub fn to_markdown(&self, prefix: &str) -> String {
        let mut out = String::new();
        let mut groups: Vec<&str> = Vec::new();
        for key in self.keys() {
            if !groups.contains(&key.group.as_str()) {
                groups.push(&key.group);
            }
        }
        for group in &groups {
            if groups.len() > 1 {
                let _ = writeln!(out, "### {group}\n");
            }
            out.push_str("| Key | Type | Default | Meaning |\n| --- | --- | --- | --- |\n");
            for key in self.keys().iter().filter(|key| key.group == **group) {
                let default = match &key.default {
                    Default::Required => "required".to_owned(),
                    Default::Unset => "–".to_owned(),
                    Default::Value(value) if value.is_empty() => "empty".to_owned(),
                    Default::Value(value) => format!("`{value}`"),
                };
                let valid = key.valid_values().map(|v| format!(" Valid: {v}.")).unwrap_or_default();
                let text = format!("{}.{valid}", key.doc.trim_end_matches('.')).replace('|', "\\|");
                let _ = writeln!(out, "| `{prefix}{}` | {} | {default} | {text} |", key.name, key.kind.as_str());
            }
            out.push('\n');
        }
        if self.keys().is_empty() {
            out.push_str("There are no options.\n");
        }
        out.truncate(out.trim_end().len());
        out.push('\n');
        out
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{ConfigDef, ConfigKey, ConfigType, Importance};

    #[test]
    fn every_option_is_a_line() {
        let def =
            ConfigDef::new().key(ConfigKey::new("path", ConfigType::String, Importance::High, "Where to read.")).key(
                ConfigKey::new("format", ConfigType::String, Importance::High, "How")
                    .default("text")
                    .one_of(&["text", "csv"]),
            );
        assert_eq!(
            def.to_markdown("source."),
            "| Key | Type | Default | Meaning |\n| --- | --- | --- | --- |\n\
             | `source.path` | string | required | Where to read. |\n\
             | `source.format` | string | `text` | How. Valid: text, csv. |\n"
        );
    }
}
