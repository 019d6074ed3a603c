//! A class's description and configuration definition.

use levada_connector_api::Plugin;
use levada_connector_api::config::{ConfigDef, ConfigKey, ConfigType, Default as KeyDefault, Importance, Validator};
use serde::{Deserialize, Serialize};

/// What a class says of itself.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Described {
    pub(crate) doc: String,
    pub(crate) aliases: Vec<String>,
    pub(crate) config: Vec<KeyWire>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct KeyWire {
    pub(crate) name: String,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) default: Option<String>,
    pub(crate) required: bool,
    pub(crate) importance: String,
    pub(crate) doc: String,
    pub(crate) group: String,
    pub(crate) valid_values: Option<String>,
    pub(crate) recommended: Vec<String>,
    pub(crate) dependents: Vec<String>,
}

const TYPES: [ConfigType; 9] = [
    ConfigType::Boolean,
    ConfigType::String,
    ConfigType::Int,
    ConfigType::Long,
    ConfigType::Double,
    ConfigType::List,
    ConfigType::Password,
    ConfigType::Duration,
    ConfigType::Size,
];

impl Described {
    pub(crate) fn of(plugin: &dyn Plugin) -> Self {
        Self {
            doc: plugin.doc().to_owned(),
            aliases: plugin.aliases().iter().map(|alias| (*alias).to_owned()).collect(),
            config: plugin.config_def().keys().iter().map(KeyWire::of).collect(),
        }
    }

    /// The definition. What its validators check is checked by the plugin itself; here they only tell what is valid.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn definition(&self) -> Result<ConfigDef, String> {
        let mut def = ConfigDef::new();
        for wire in &self.config {
            let name = wire.name.trim();
            let key = wire.key().map_err(|wrong| format!("the configuration key '{name}' {wrong}"))?;
            if def.find(&key.name).is_some() {
                return Err(format!("the configuration key '{name}' is defined twice"));
            }
            def = def.key(key);
        }
        Ok(def)
    }
}

impl KeyWire {
    fn of(key: &ConfigKey) -> Self {
        Self {
            name: key.name.clone(),
            kind: key.kind.as_str().to_owned(),
            default: match &key.default {
                KeyDefault::Value(text) => Some(text.clone()),
                _ => None,
            },
            required: key.default == KeyDefault::Required,
            importance: key.importance.as_str().to_owned(),
            doc: key.doc.clone(),
            group: key.group.clone(),
            valid_values: key.valid_values(),
            recommended: key.recommended.clone(),
            dependents: key.dependents.clone(),
        }
    }

    fn key(&self) -> Result<ConfigKey, String> {
        if self.name.trim().is_empty() || self.name.contains(char::is_whitespace) {
            return Err("is no name".to_owned());
        }
        let kind = TYPES.into_iter().find(|kind| kind.as_str() == self.kind).ok_or_else(|| {
            let all: Vec<_> = TYPES.iter().map(|kind| kind.as_str()).collect();
            format!("has the unknown type '{}'; there are {}", self.kind, all.join(", "))
        })?;
        let importance = match self.importance.as_str() {
            "high" => Importance::High,
            "low" => Importance::Low,
            _ => Importance::Medium,
        };
        let mut key = ConfigKey::new(&self.name, kind, importance, &self.doc);
        key.default = match (&self.default, self.required) {
            (Some(text), _) => KeyDefault::Value(text.clone()),
            (None, true) => KeyDefault::Required,
            (None, false) => KeyDefault::Unset,
        };
        if !self.group.is_empty() {
            key.group.clone_from(&self.group);
        }
        key.recommended.clone_from(&self.recommended);
        key.dependents.clone_from(&self.dependents);
        if let Some(valid) = &self.valid_values {
            key = key.validator(Validator::new(valid.clone(), |_| Ok(())));
        }
        Ok(key)
    }
}
