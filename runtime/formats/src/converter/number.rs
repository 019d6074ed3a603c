//! Numbers as Java writes them: of a fixed width, the most significant byte first.

use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, Float32Array, Float64Array, Int16Array, Int32Array, Int64Array};
use arrow::datatypes::DataType;

/// A type of number.
#[derive(Debug, Clone, Copy)]
pub(super) enum Number {
    Short,
    Integer,
    Long,
    Float,
    Double,
}

impl Number {
    pub(super) fn of(name: &str) -> Option<Self> {
        Some(match name {
            "short" => Self::Short,
            "integer" => Self::Integer,
            "long" => Self::Long,
            "float" => Self::Float,
            "double" => Self::Double,
            _ => return None,
        })
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Short => "a short",
            Self::Integer => "an integer",
            Self::Long => "a long",
            Self::Float => "a float",
            Self::Double => "a double",
        }
    }

    pub(super) fn width(self) -> usize {
        match self {
            Self::Short => 2,
            Self::Integer | Self::Float => 4,
            Self::Long | Self::Double => 8,
        }
    }

    pub(super) fn data_type(self) -> DataType {
        match self {
            Self::Short => DataType::Int16,
            Self::Integer => DataType::Int32,
            Self::Long => DataType::Int64,
            Self::Float => DataType::Float32,
            Self::Double => DataType::Float64,
        }
    }

    /// The numbers, null where a payload is; and the places of payloads of another width.
    pub(super) fn decode(self, payloads: &BinaryArray) -> (ArrayRef, Vec<usize>) {
        macro_rules! decode {
            ($array:ty, $number:ty) => {{
                let mut bad = Vec::new();
                let number = |(index, payload): (usize, Option<&[u8]>)| {
                    let bytes = payload?;
                    let number = bytes.try_into().ok().map(<$number>::from_be_bytes);
                    if number.is_none() {
                        bad.push(index);
                    }
                    number
                };
                let values: $array = payloads.iter().enumerate().map(number).collect();
                (Arc::new(values) as ArrayRef, bad)
            }};
        }
        match self {
            Self::Short => decode!(Int16Array, i16),
            Self::Integer => decode!(Int32Array, i32),
            Self::Long => decode!(Int64Array, i64),
            Self::Float => decode!(Float32Array, f32),
            Self::Double => decode!(Float64Array, f64),
        }
    }
}
