//! Which Arrow types go into which types of Postgres, and which type a new column gets.

use arrow::datatypes::{DataType, Field, TimeUnit};

/// How the server wants a value in binary COPY.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wire {
    Bool,
    Int2,
    Int4,
    Int8,
    Float4,
    Float8,
    Numeric,
    Text,
    Bytea,
    Date,
    Time,
    /// With and without time zone: the server keeps both as microseconds.
    Timestamp,
    Interval,
    Uuid,
    Json,
    Jsonb,
    /// The elements, and the object id of their type.
    Array(Box<Wire>, u32),
    /// A type with a binary form of its own (`inet`, `money`, ranges): it is sent as text and cast by the server.
    Cast,
}

impl Wire {
    /// The form of the type with object id `oid`; `name` and `kind` are its `typname` and `typtype`.
    pub(crate) fn of(oid: u32, name: &str, kind: &str) -> Self {
        match oid {
            16 => Self::Bool,
            21 => Self::Int2,
            23 => Self::Int4,
            20 => Self::Int8,
            700 => Self::Float4,
            701 => Self::Float8,
            1700 => Self::Numeric,
            // text, varchar, bpchar, name, xml
            25 | 1043 | 1042 | 19 | 142 => Self::Text,
            17 => Self::Bytea,
            1082 => Self::Date,
            1083 => Self::Time,
            1114 | 1184 => Self::Timestamp,
            1186 => Self::Interval,
            2950 => Self::Uuid,
            114 => Self::Json,
            3802 => Self::Jsonb,
            // An enum's value is its label.
            _ if kind == "e" || name == "citext" => Self::Text,
            _ => Self::Cast,
        }
    }

    /// The form for values of `data_type`: of texts that are times of day or intervals the server makes them, since nothing
    /// before the sink can.
    pub(crate) fn for_values(self, data_type: &DataType) -> Self {
        match self {
            Self::Time | Self::Interval if is_text(data_type) => Self::Cast,
            other => other,
        }
    }

    /// What a user can do about values that do not fit.
    pub(crate) fn remedy(&self) -> &'static str {
        match self {
            Self::Time | Self::Interval => "give it as STRING, by a Select for example",
            _ => "cast it with a Select",
        }
    }

    /// Whether values of `data_type` can be written in this form. A single value may still be out of range.
    pub(crate) fn takes(&self, data_type: &DataType) -> bool {
        use DataType::*;
        let integer = data_type.is_integer();
        let text = is_text(data_type);
        let bytes = matches!(data_type, Binary | LargeBinary | BinaryView | FixedSizeBinary(_));
        let float = matches!(data_type, Float16 | Float32 | Float64);
        let decimal = matches!(data_type, Decimal32(..) | Decimal64(..) | Decimal128(..) | Decimal256(..));
        match data_type {
            Null => return true,
            Dictionary(_, value) => return self.takes(value),
            RunEndEncoded(_, values) => return self.takes(values.data_type()),
            _ => {}
        }
        match self {
            Self::Bool => *data_type == Boolean,
            Self::Int2 | Self::Int4 | Self::Int8 => {
                integer || matches!(data_type, Decimal32(_, 0) | Decimal64(_, 0) | Decimal128(_, 0) | Decimal256(_, 0))
            }
            Self::Float4 | Self::Float8 => float || integer || decimal,
            Self::Numeric => float || integer || decimal,
            Self::Text | Self::Cast => !bytes && !matches!(data_type, Union(..) | Interval(_) | Duration(_)),
            Self::Bytea => bytes || text,
            Self::Date => matches!(data_type, Date32 | Date64),
            Self::Time => matches!(data_type, Time32(_) | Time64(_)),
            Self::Timestamp => matches!(data_type, Timestamp(..) | Date32 | Date64),
            Self::Interval => matches!(data_type, Interval(_) | Duration(_)),
            Self::Uuid => text || matches!(data_type, FixedSizeBinary(16) | Binary | LargeBinary | BinaryView),
            Self::Json | Self::Jsonb => !matches!(data_type, Union(..) | Interval(_) | Duration(_)),
            Self::Array(element, _) => list_element(data_type).is_some_and(|field| element.takes(field.data_type())),
        }
    }
}

fn is_text(data_type: &DataType) -> bool {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Dictionary(_, value) => is_text(value),
        DataType::RunEndEncoded(_, values) => is_text(values.data_type()),
        _ => false,
    }
}

/// The elements of a list.
pub(crate) fn list_element(data_type: &DataType) -> Option<&Field> {
    match data_type {
        DataType::List(field) | DataType::LargeList(field) | DataType::FixedSizeList(field, _) => Some(field),
        _ => None,
    }
}

/// The type of a new column for values of `field`.
pub(crate) fn column_type(field: &Field) -> String {
    use DataType::*;
    match field.data_type() {
        Boolean => "boolean".into(),
        Int8 | Int16 | UInt8 => "smallint".into(),
        Int32 | UInt16 => "integer".into(),
        Int64 | UInt32 => "bigint".into(),
        UInt64 => "numeric(20,0)".into(),
        Float16 | Float32 => "real".into(),
        Float64 => "double precision".into(),
        Decimal32(precision, scale)
        | Decimal64(precision, scale)
        | Decimal128(precision, scale)
        | Decimal256(precision, scale)
            if *scale >= 0 =>
        {
            format!("numeric({precision},{scale})")
        }
        Decimal32(..) | Decimal64(..) | Decimal128(..) | Decimal256(..) => "numeric".into(),
        FixedSizeBinary(16) if field.metadata().get("ARROW:extension:name").is_some_and(|n| n == "arrow.uuid") => {
            "uuid".into()
        }
        Binary | LargeBinary | BinaryView | FixedSizeBinary(_) => "bytea".into(),
        Date32 | Date64 => "date".into(),
        Time32(_) | Time64(_) => "time".into(),
        Timestamp(_, None) => "timestamp".into(),
        Timestamp(_, Some(_)) => "timestamptz".into(),
        Interval(_) | Duration(_) => "interval".into(),
        Dictionary(_, value) => column_type(&Field::new(field.name(), value.as_ref().clone(), true)),
        RunEndEncoded(_, values) => column_type(values),
        List(element) | LargeList(element) | FixedSizeList(element, _) if !element.data_type().is_nested() => {
            format!("{}[]", column_type(element))
        }
        Struct(_) | Map(..) | List(_) | LargeList(_) | FixedSizeList(..) | ListView(_) | LargeListView(_)
        | Union(..) => "jsonb".into(),
        Utf8 | LargeUtf8 | Utf8View | Null => "text".into(),
    }
}

/// A type as people write it in DDL, for messages.
pub(crate) fn shown(data_type: &DataType) -> String {
    match data_type {
        DataType::Timestamp(TimeUnit::Microsecond, None) => "TIMESTAMP_NTZ".to_owned(),
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => "TIMESTAMP".to_owned(),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "STRING".to_owned(),
        DataType::Int32 => "INT".to_owned(),
        DataType::Int64 => "BIGINT".to_owned(),
        DataType::Float64 => "DOUBLE".to_owned(),
        other => other.to_string(),
    }
}
