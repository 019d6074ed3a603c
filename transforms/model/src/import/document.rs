//! A document of JSON or UBJSON, in little room: lists of numbers are numbers.

use std::collections::HashMap;
use std::fmt;

use levada_connector_api::{Error, Result};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Document {
    Null,
    Flag(bool),
    Number(f64),
    Text(String),
    /// A list of numbers only; also an empty one.
    Numbers(Vec<f64>),
    List(Vec<Document>),
    Object(HashMap<String, Document>),
}

impl Document {
    /// A list of the items that `next` gives.
    pub(super) fn list<E>(
        mut next: impl FnMut() -> std::result::Result<Option<Self>, E>,
    ) -> std::result::Result<Self, E> {
        let mut numbers = Vec::new();
        loop {
            match next()? {
                None => return Ok(Self::Numbers(numbers)),
                Some(Self::Number(number)) => numbers.push(number),
                Some(other) => {
                    let mut items: Vec<Self> = numbers.into_iter().map(Self::Number).chain([other]).collect();
                    while let Some(item) = next()? {
                        items.push(item);
                    }
                    return Ok(Self::List(items));
                }
            }
        }
    }

    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        if let Self::Object(object) = self { object.get(key) } else { None }
    }

    /// What `key` stands for.
    ///
    /// # Errors
    /// It is not there.
    pub(super) fn need(&self, key: &str) -> Result<&Self> {
        self.get(key).ok_or_else(|| wrong(key))
    }

    pub(super) fn text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// The items of a list of other things than numbers.
    pub(super) fn items(&self) -> Option<&[Self]> {
        match self {
            Self::List(items) => Some(items),
            Self::Numbers(numbers) if numbers.is_empty() => Some(&[]),
            _ => None,
        }
    }

    /// A number, also in text.
    pub(super) fn number(&self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Flag(flag) => Some(f64::from(u8::from(*flag))),
            Self::Text(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// The list of numbers at `key`.
    ///
    /// # Errors
    /// It is not there, or something else.
    pub(super) fn numbers(&self, key: &str) -> Result<Vec<f64>> {
        match self.get(key) {
            Some(Self::Numbers(numbers)) => Ok(numbers.clone()),
            Some(Self::List(items)) => items.iter().map(|item| item.number().ok_or_else(|| wrong(key))).collect(),
            _ => Err(wrong(key)),
        }
    }

    /// The number of something at `key`.
    ///
    /// # Errors
    /// It is not there, or cannot be one.
    pub(super) fn count(&self, key: &str) -> Result<usize> {
        let number = self.get(key).and_then(Self::number).filter(|number| (0.0..1e9).contains(number));
        number.map(|number| number as usize).ok_or_else(|| wrong(key))
    }

    /// The texts at `key`; none where there is no such list.
    pub(super) fn texts(&self, key: &str) -> Vec<String> {
        let items = self.get(key).and_then(Self::items).unwrap_or_default();
        items.iter().filter_map(|item| item.text().map(str::to_owned)).collect()
    }
}

pub(super) fn wrong(key: &str) -> Error {
    Error::corrupt(format!("'{key}' is not there or is not what it should be"))
}

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_any(Reading)
    }
}

struct Reading;

impl<'de> Visitor<'de> for Reading {
    type Value = Document;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value")
    }

    fn visit_unit<E>(self) -> std::result::Result<Document, E> {
        Ok(Document::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> std::result::Result<Document, E> {
        Ok(Document::Flag(flag))
    }

    fn visit_i64<E>(self, number: i64) -> std::result::Result<Document, E> {
        Ok(Document::Number(number as f64))
    }

    fn visit_u64<E>(self, number: u64) -> std::result::Result<Document, E> {
        Ok(Document::Number(number as f64))
    }

    fn visit_f64<E>(self, number: f64) -> std::result::Result<Document, E> {
        Ok(Document::Number(number))
    }

    fn visit_str<E>(self, text: &str) -> std::result::Result<Document, E> {
        Ok(Document::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> std::result::Result<Document, A::Error> {
        Document::list(|| list.next_element())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Document, A::Error> {
        let mut object = HashMap::new();
        while let Some((key, value)) = map.next_entry()? {
            object.insert(key, value);
        }
        Ok(Document::Object(object))
    }
}
