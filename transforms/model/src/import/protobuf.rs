//! As much of protobuf as ONNX needs: fields of a message, and what of ONNX's messages a tree model has.

use levada_connector_api::{Error, Result};

/// A field's value.
#[derive(Debug, Clone, Copy)]
pub(super) enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Four([u8; 4]),
    Eight([u8; 8]),
}

fn damaged() -> Error {
    Error::corrupt("the protobuf is damaged or truncated: this is no whole ONNX model")
}

/// The fields of a message, in order.
pub(super) fn fields(mut bytes: &[u8]) -> Result<Vec<(u64, Value<'_>)>> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes)?;
        let value = match key & 7 {
            0 => Value::Number(varint(&mut bytes)?),
            1 => {
                let (value, rest) = bytes.split_first_chunk().ok_or_else(damaged)?;
                bytes = rest;
                Value::Eight(*value)
            }
            2 => {
                let length = usize::try_from(varint(&mut bytes)?).map_err(|_| damaged())?;
                let (value, rest) = bytes.split_at_checked(length).ok_or_else(damaged)?;
                bytes = rest;
                Value::Bytes(value)
            }
            5 => {
                let (value, rest) = bytes.split_first_chunk().ok_or_else(damaged)?;
                bytes = rest;
                Value::Four(*value)
            }
            _ => return Err(damaged()),
        };
        fields.push((key >> 3, value));
    }
    Ok(fields)
}

fn varint(bytes: &mut &[u8]) -> Result<u64> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first().ok_or_else(damaged)?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(damaged())
}

impl<'a> Value<'a> {
    pub(super) fn bytes(self) -> Result<&'a [u8]> {
        if let Self::Bytes(bytes) = self { Ok(bytes) } else { Err(damaged()) }
    }

    pub(super) fn text(self) -> Result<String> {
        String::from_utf8(self.bytes()?.to_vec()).map_err(|_| damaged())
    }

    pub(super) fn int(self) -> Result<i64> {
        if let Self::Number(number) = self { Ok(number as i64) } else { Err(damaged()) }
    }

    /// Adds one whole number, or a packed list of them.
    fn ints(self, to: &mut Vec<i64>) -> Result<()> {
        match self {
            Self::Bytes(mut bytes) => {
                while !bytes.is_empty() {
                    to.push(varint(&mut bytes)? as i64);
                }
            }
            _ => to.push(self.int()?),
        }
        Ok(())
    }

    /// Adds one `f32`, or a packed list of them.
    fn floats(self, to: &mut Vec<f64>) -> Result<()> {
        match self {
            Self::Four(four) => to.push(f64::from(f32::from_le_bytes(four))),
            _ => to.extend(self.bytes()?.as_chunks().0.iter().map(|four| f64::from(f32::from_le_bytes(*four)))),
        }
        Ok(())
    }

    fn doubles(self, to: &mut Vec<f64>) -> Result<()> {
        match self {
            Self::Eight(eight) => to.push(f64::from_le_bytes(eight)),
            _ => to.extend(self.bytes()?.as_chunks().0.iter().map(|eight| f64::from_le_bytes(*eight))),
        }
        Ok(())
    }
}

/// A tensor, flat.
#[derive(Debug, Clone, Default)]
pub(super) struct Tensor {
    pub(super) name: String,
    pub(super) double: bool,
    pub(super) numbers: Vec<f64>,
    pub(super) texts: Vec<String>,
}

impl Tensor {
    pub(super) fn read(bytes: &[u8]) -> Result<Self> {
        let mut tensor = Self::default();
        let mut kind = 0;
        let mut raw = None;
        let mut ints = Vec::new();
        for (field, value) in fields(bytes)? {
            match field {
                2 => kind = value.int()?,
                4 => value.floats(&mut tensor.numbers)?,
                5 | 7 => value.ints(&mut ints)?,
                6 => tensor.texts.push(value.text()?),
                8 => tensor.name = value.text()?,
                9 => raw = Some(value.bytes()?),
                10 => value.doubles(&mut tensor.numbers)?,
                13 => return Err(Error::unsupported("a tensor whose data is in another file")),
                _ => {}
            }
        }
        tensor.double = kind == 11;
        tensor.numbers.extend(ints.iter().map(|int| *int as f64));
        if let Some(raw) = raw {
            match kind {
                1 => Value::Bytes(raw).floats(&mut tensor.numbers)?,
                11 => Value::Bytes(raw).doubles(&mut tensor.numbers)?,
                6 => tensor.numbers.extend(raw.as_chunks().0.iter().map(|x| f64::from(i32::from_le_bytes(*x)))),
                7 => tensor.numbers.extend(raw.as_chunks().0.iter().map(|x| i64::from_le_bytes(*x) as f64)),
                2 | 9 => tensor.numbers.extend(raw.iter().map(|x| f64::from(*x))),
                3 => tensor.numbers.extend(raw.iter().map(|x| f64::from(*x as i8))),
                other => return Err(Error::unsupported(format!("a tensor of type {other}"))),
            }
        }
        Ok(tensor)
    }
}

/// An attribute of a node.
#[derive(Debug, Clone, Default)]
pub(super) struct Attribute {
    pub(super) name: String,
    pub(super) float: Option<f64>,
    pub(super) int: Option<i64>,
    pub(super) text: Option<String>,
    pub(super) floats: Vec<f64>,
    pub(super) ints: Vec<i64>,
    pub(super) texts: Vec<String>,
    pub(super) tensor: Option<Tensor>,
}

impl Attribute {
    fn read(bytes: &[u8]) -> Result<Self> {
        let mut attribute = Self::default();
        for (field, value) in fields(bytes)? {
            match field {
                1 => attribute.name = value.text()?,
                2 => {
                    let mut one = Vec::new();
                    value.floats(&mut one)?;
                    attribute.float = one.first().copied();
                }
                3 => attribute.int = Some(value.int()?),
                4 => attribute.text = Some(value.text()?),
                5 => attribute.tensor = Some(Tensor::read(value.bytes()?)?),
                7 => value.floats(&mut attribute.floats)?,
                8 => value.ints(&mut attribute.ints)?,
                9 => attribute.texts.push(value.text()?),
                _ => {}
            }
        }
        Ok(attribute)
    }
}

/// A node of a graph.
#[derive(Debug, Clone, Default)]
pub(super) struct Operator {
    pub(super) inputs: Vec<String>,
    pub(super) outputs: Vec<String>,
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) attributes: Vec<Attribute>,
}

impl Operator {
    pub(super) fn read(bytes: &[u8]) -> Result<Self> {
        let mut operator = Self::default();
        for (field, value) in fields(bytes)? {
            match field {
                1 => operator.inputs.push(value.text()?),
                2 => operator.outputs.push(value.text()?),
                3 => operator.name = value.text()?,
                4 => operator.kind = value.text()?,
                5 => operator.attributes.push(Attribute::read(value.bytes()?)?),
                _ => {}
            }
        }
        Ok(operator)
    }

    pub(super) fn get(&self, name: &str) -> Option<&Attribute> {
        self.attributes.iter().find(|attribute| attribute.name == name)
    }

    pub(super) fn ints(&self, name: &str) -> &[i64] {
        self.get(name).map_or(&[], |attribute| &attribute.ints)
    }

    pub(super) fn texts(&self, name: &str) -> &[String] {
        self.get(name).map_or(&[], |attribute| &attribute.texts)
    }

    pub(super) fn int(&self, name: &str, default: i64) -> i64 {
        self.get(name).and_then(|attribute| attribute.int).unwrap_or(default)
    }

    /// Numbers of a list, or of the tensor that may stand in its place.
    pub(super) fn floats(&self, name: &str) -> &[f64] {
        let tensor =
            || self.get(&format!("{name}_as_tensor")).or_else(|| self.get(name)).and_then(|a| a.tensor.as_ref());
        match self.get(name).map(|attribute| attribute.floats.as_slice()) {
            Some(floats) if !floats.is_empty() => floats,
            _ => tensor().map_or(&[], |tensor| &tensor.numbers),
        }
    }
}

/// An input of a graph.
#[derive(Debug, Clone, Default)]
pub(super) struct GraphInput {
    pub(super) name: String,
    /// As TensorProto numbers it.
    pub(super) kind: i64,
    /// The number of columns, where it is known.
    pub(super) width: Option<usize>,
}

impl GraphInput {
    pub(super) fn read(bytes: &[u8]) -> Result<Self> {
        let mut input = Self::default();
        for (field, value) in fields(bytes)? {
            match field {
                1 => input.name = value.text()?,
                2 => {
                    for (field, value) in fields(value.bytes()?)? {
                        if field == 1 {
                            input.tensor(value.bytes()?)?;
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(input)
    }

    fn tensor(&mut self, bytes: &[u8]) -> Result<()> {
        for (field, value) in fields(bytes)? {
            match field {
                1 => self.kind = value.int()?,
                2 => {
                    for (place, (_, dim)) in fields(value.bytes()?)?.into_iter().enumerate() {
                        let size = fields(dim.bytes()?)?.into_iter().find(|(field, _)| *field == 1);
                        if let (1, Some((_, size))) = (place, size) {
                            self.width = usize::try_from(size.int()?).ok().filter(|width| *width > 0);
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}
