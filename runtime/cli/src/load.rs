//! Pipeline files: YAML, JSON and properties, flattened to one map of strings.

use std::path::Path;

use levada_connector_api::config::RawConfig;

use crate::tree::Tree;

/// Reads a pipeline file. Errors do not say which file it is. The name defaults to the file's stem.
///
/// # Errors
/// The file cannot be read or parsed, or a placeholder cannot be filled; every error is told.
pub(crate) fn load(path: &Path, set: &[(String, String)]) -> Result<RawConfig, Vec<String>> {
    let text = std::fs::read_to_string(path).map_err(|e| vec![unreadable(&e)])?;
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
    let mut raw = RawConfig::new();
    match extension.as_str() {
        "properties" => {
            raw.extend(
                java_properties::read(text.as_bytes()).map_err(|e| vec![format!("is no properties file: {e}")])?,
            );
        }
        "yaml" | "yml" | "json" => {
            // YAML is a superset of JSON, but its errors for JSON would confuse.
            let parsed: Result<Tree, String> = match extension.as_str() {
                "json" => serde_json::from_str(&text).map_err(|e| e.to_string()),
                _ => serde_yaml_ng::from_str(&text).map_err(|e| e.to_string()),
            };
            if text.trim().is_empty() {
                return Err(vec!["is empty".to_owned()]);
            }
            let tree = unwrap_connect(parsed.map_err(|e| vec![format!("cannot be parsed: {e}")])?);
            if !matches!(tree, Tree::Map(_)) {
                return Err(vec!["must be a map of keys and values".to_owned()]);
            }
            let mut errors = Vec::new();
            flatten("", &tree, &mut raw, &mut errors);
            if !errors.is_empty() {
                return Err(errors);
            }
        }
        _ => return Err(vec!["must end in .yaml, .yml, .json or .properties".to_owned()]),
    }
    raw.extend(set.iter().cloned());
    if let Some(stem) = path.file_stem().and_then(|stem| stem.to_str()) {
        raw.entry("name".to_owned()).or_insert_with(|| stem.to_owned());
    }
    let folder = std::path::absolute(path).ok().and_then(|p| p.parent().map(|p| p.display().to_string()));
    fill(&mut raw, &folder.unwrap_or_default())?;
    Ok(raw)
}

fn unreadable(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "does not exist".to_owned(),
        _ => format!("cannot be read: {error}"),
    }
}

/// Kafka Connect's form: `{"name": …, "config": {…}}`.
fn unwrap_connect(tree: Tree) -> Tree {
    let Tree::Map(entries) = &tree else { return tree };
    let Some(Tree::Map(config)) = tree.get("config") else { return tree };
    if !entries.iter().all(|(key, _)| key == "name" || key == "config") {
        return tree;
    }
    let mut config = config.clone();
    if let Some(name) = tree.get("name").filter(|_| !config.iter().any(|(key, _)| key == "name")) {
        config.push(("name".to_owned(), name.clone()));
    }
    Tree::Map(config)
}

fn flatten(prefix: &str, tree: &Tree, out: &mut RawConfig, errors: &mut Vec<String>) {
    let text = match tree {
        Tree::Map(entries) => {
            for (key, value) in entries {
                let key = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
                flatten(&key, value, out, errors);
            }
            return;
        }
        Tree::List(items) => {
            let mut texts = Vec::new();
            for item in items {
                match item {
                    Tree::Text(text) => texts.push(text.as_str()),
                    _ => return errors.push(format!("{prefix}: a list may hold scalars only")),
                }
            }
            texts.join(",")
        }
        Tree::Text(text) => text.clone(),
        // A plugin is called so.
        Tree::Nothing if prefix.ends_with(".class") => {
            return errors.push(format!("{prefix}: empty; for the plugin Null write \"Null\" in quotes"));
        }
        Tree::Nothing => return,
    };
    if out.insert(prefix.to_owned(), text).is_some() {
        errors.push(format!("{prefix}: the key is given twice, once with dots and once nested"));
    }
}

/// Fills `${dir}` with the file's folder and `${env:NAME}` with a variable of the environment; `$${` stands for `${`.
fn fill(raw: &mut RawConfig, folder: &str) -> Result<(), Vec<String>> {
    let mut errors = Vec::new();
    for (key, value) in raw.iter_mut() {
        match filled(value, folder) {
            Ok(Some(filled)) => *value = filled,
            Ok(None) => {}
            Err(error) => errors.push(format!("{key}: {error}")),
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

/// A value with its placeholders filled; `None` if it has none.
fn filled(value: &str, folder: &str) -> Result<Option<String>, String> {
    let mut rest = value;
    let mut out = String::new();
    while let Some((before, after)) = rest.split_once("${") {
        if let Some(before) = before.strip_suffix('$') {
            out.push_str(before);
            out.push_str("${");
            rest = after;
            continue;
        }
        out.push_str(before);
        let Some((name, after)) = after.split_once('}') else {
            return Err(format!("'{value}': '${{' without its '}}'; '$${{' stands for the signs themselves"));
        };
        rest = after;
        match name.split_once(':') {
            None if name == "dir" => out.push_str(folder),
            Some(("env", variable)) if !variable.is_empty() => match std::env::var(variable) {
                Ok(found) => out.push_str(&found),
                Err(_) => return Err(format!("the environment variable {variable} is not set; export it first")),
            },
            _ => {
                let meant = match name.split_once(':').map_or(name, |(_, variable)| variable) {
                    "" => "NAME",
                    variable => variable,
                };
                return Err(format!(
                    "'${{{name}}}' stands for nothing; did you mean '${{env:{meant}}}'? There is '${{dir}}', too; '$${{' \
                     stands for the signs themselves"
                ));
            }
        }
    }
    if rest.len() == value.len() {
        return Ok(None);
    }
    out.push_str(rest);
    Ok(Some(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loaded(name: &str, text: &str) -> RawConfig {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        let mut raw = load(&path, &[]).unwrap_or_else(|e| panic!("{e:?}"));
        raw.remove("dir");
        raw
    }

    #[test]
    fn all_forms_say_the_same() {
        let yaml = loaded("p.yaml", "source:\n  class: Files\n  max.files.per.trigger: 1\ntransforms: [a, b]\n");
        let json = loaded(
            "p.json",
            r#"{"name": "p", "config": {"source.class": "Files", "source": {"max": {"files.per.trigger": 1}}, "transforms": ["a", "b"]}}"#,
        );
        let properties = loaded("p.properties", "source.class=Files\nsource.max.files.per.trigger=1\ntransforms=a,b\n");
        assert_eq!(yaml, json);
        assert_eq!(yaml, properties);
        assert_eq!(yaml.get("name").map(String::as_str), Some("p"));
    }

    #[test]
    fn a_variable_that_is_not_set_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.yaml");
        std::fs::write(&path, "a: ${env:LEVADA_NOT_SET_1}\nb: ${dir}/in\n").unwrap();
        let errors = load(&path, &[]).unwrap_err();
        assert!(errors[0].contains("LEVADA_NOT_SET_1 is not set"), "{errors:?}");
    }

    #[test]
    fn what_looks_like_a_placeholder_is_one_or_an_error() {
        for (value, wanted) in [
            ("${dir}/in/${dir}", Ok(Some("/f/in//f".to_owned()))),
            ("a$b{c}$", Ok(None)),
            ("$${HOME}/${dir}", Ok(Some("${HOME}//f".to_owned()))),
            ("${evn:OUT}/x", Err("did you mean '${env:OUT}'?")),
            ("${HOME}/x", Err("did you mean '${env:HOME}'?")),
            ("${env:}", Err("did you mean '${env:NAME}'?")),
            ("${dir/x", Err("'${' without its '}'")),
        ] {
            match (filled(value, "/f"), wanted) {
                (Ok(found), Ok(wanted)) => assert_eq!(found, wanted),
                (Err(error), Err(part)) => assert!(error.contains(part), "{error}"),
                (found, wanted) => panic!("{value}: {found:?}, not {wanted:?}"),
            }
        }
    }

    #[test]
    fn what_is_said_twice_or_cannot_be_meant_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text, part) in [
            ("a.yaml", "source:\n  path: a\n  path: b\n", "'path' is given twice"),
            ("a.json", r#"{"a": 1, "a": 2}"#, "'a' is given twice"),
            ("b.yaml", "source.path: a\nsource:\n  path: b\n", "source.path: the key is given twice"),
            ("c.yaml", "sink:\n  class: Null\n", "sink.class: empty; for the plugin Null write \"Null\" in quotes"),
            ("d.yaml", "transforms: [a, [b]]\n", "transforms: a list may hold scalars only"),
            ("e.yaml", "just text\n", "must be a map"),
            ("g.yaml", "\n", "is empty"),
        ] {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            let errors = load(&path, &[]).unwrap_err().join("\n");
            assert!(errors.contains(part), "{text}: {errors}");
        }
        let odd = loaded("f.yaml", "a: 5\nb: 1.5\nc: true\nd: ~\n1: x\ne: 12345678901\n");
        let entries: Vec<String> = odd.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(entries, ["1=x", "a=5", "b=1.5", "c=true", "e=12345678901", "name=f"]);
    }
}
