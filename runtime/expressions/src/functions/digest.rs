//! Checksums and hashes of values.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, Int32Array, Int64Array, StringArray};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    TimestampMicrosecondType,
};
use base64::Engine as _;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::engine::{DecodePaddingMode, general_purpose};
use datafusion_common::{DataFusionError, Result, exec_err};
use sha2::Digest;
use twox_hash::XxHash64;

use super::Invocation;
use super::collection::range;
use super::types::sql_name;
use crate::ast::Planned;
use crate::coerce::argument;
use crate::typed::Typed;

pub(super) const NAMES: &[&str] = &["md5", "sha", "sha1", "sha2", "hash", "xxhash64", "unbase64"];

/// Spark's seed of both hashes.
const SEED: u32 = 42;

pub(super) fn plan(mut call: Invocation<'_>) -> Planned<Typed> {
    let (ansi, span) = (call.ansi(), call.span);
    match call.name {
        "md5" => digest(call, |bytes| hex(&md5::Md5::digest(bytes))),
        "sha" | "sha1" => digest(call, |bytes| hex(&sha1::Sha1::digest(bytes))),
        "sha2" => {
            let [value, bits] = call.exactly()?;
            let label = format!("sha2({}, {})", value.name, bits.name);
            let value = argument(value, &DataType::Binary, ansi, "sha2")?;
            let bits = argument(bits, &DataType::Int32, ansi, "sha2")?;
            let typed = Typed::call("sha2", &[value, bits], DataType::Utf8, span, |args| {
                let (values, bits) = (args.array(0)?, args.array(1)?);
                let rows = values.as_binary::<i32>().iter().zip(bits.as_primitive::<Int32Type>());
                let sum = |(bytes, bits): (Option<&[u8]>, Option<i32>)| {
                    let bytes = bytes?;
                    match bits? {
                        0 | 256 => Some(hex(&sha2::Sha256::digest(bytes))),
                        224 => Some(hex(&sha2::Sha224::digest(bytes))),
                        384 => Some(hex(&sha2::Sha384::digest(bytes))),
                        512 => Some(hex(&sha2::Sha512::digest(bytes))),
                        _ => None,
                    }
                };
                Ok(Arc::new(rows.map(sum).collect::<StringArray>()))
            });
            Ok(typed.named(label))
        }
        "unbase64" => {
            let [value] = call.exactly()?;
            let value = argument(value, &DataType::Utf8, ansi, "unbase64")?;
            let typed = Typed::call("unbase64", &[value], DataType::Binary, span, |args| {
                let text = args.array(0)?;
                let bytes = text.as_string::<i32>().iter().map(|text| text.map(decode).transpose());
                Ok(Arc::new(bytes.collect::<Result<Vec<_>>>()?.into_iter().collect::<BinaryArray>()))
            });
            Ok(typed.fallible())
        }
        name => {
            let args = call.between(1, usize::MAX)?;
            if let Some(arg) = args.iter().find(|arg| !hashable(&arg.ty)) {
                let message = format!("[DATATYPE_MISMATCH] {name} takes no {}", sql_name(&arg.ty));
                return Err(crate::ast::PlanError::new(arg.span, message));
            }
            if name == "hash" {
                return Ok(Typed::call(name, &args, DataType::Int32, span, |args| {
                    let columns = args.arrays()?;
                    let hash = |row| columns.iter().try_fold(SEED, |seed, column| fold(column, row, seed, &Murmur));
                    let hashes = (0..args.rows).map(|row| hash(row).map(u32::cast_signed));
                    Ok(Arc::new(Int32Array::from(hashes.collect::<Result<Vec<_>>>()?)))
                }));
            }
            Ok(Typed::call(name, &args, DataType::Int64, span, |args| {
                let columns = args.arrays()?;
                let hash = |row| columns.iter().try_fold(u64::from(SEED), |seed, column| fold(column, row, seed, &Xx));
                let hashes = (0..args.rows).map(|row| hash(row).map(u64::cast_signed));
                Ok(Arc::new(Int64Array::from(hashes.collect::<Result<Vec<_>>>()?)))
            }))
        }
    }
}

fn digest(mut call: Invocation<'_>, sum: fn(&[u8]) -> String) -> Planned<Typed> {
    let [value] = call.exactly()?;
    let value = argument(value, &DataType::Binary, call.ansi(), call.name)?;
    Ok(Typed::call(call.name, &[value], DataType::Utf8, call.span, move |args| {
        let bytes = args.array(0)?;
        Ok(Arc::new(bytes.as_binary::<i32>().iter().map(|bytes| bytes.map(sum)).collect::<StringArray>()))
    }))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Base64 as MIME has it: other characters are left out, and so may be the padding.
fn decode(text: &str) -> Result<Vec<u8>> {
    const LENIENT: GeneralPurpose = GeneralPurpose::new(
        &base64::alphabet::STANDARD,
        GeneralPurposeConfig::new()
            .with_decode_padding_mode(DecodePaddingMode::Indifferent)
            .with_decode_allow_trailing_bits(true),
    );
    let known = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
    let kept: Vec<u8> = text.bytes().filter(known).collect();
    let decoded = LENIENT.decode(&kept).or_else(|_| general_purpose::STANDARD.decode(&kept));
    decoded.map_err(|_| DataFusionError::Execution(format!("[CONVERSION_INVALID_INPUT] '{text}' is no base64")))
}

pub(crate) fn hashable(ty: &DataType) -> bool {
    match ty {
        DataType::List(item) => hashable(item.data_type()),
        DataType::Struct(fields) => fields.iter().all(|field| hashable(field.data_type())),
        DataType::Null
        | DataType::Boolean
        | DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::Float32
        | DataType::Float64
        | DataType::Decimal128(_, _)
        | DataType::Utf8
        | DataType::Binary
        | DataType::Date32
        | DataType::Timestamp(_, _) => true,
        _ => false,
    }
}

/// Spark's 64-bit hash of the value in a row.
pub(crate) fn xxhash64(column: &ArrayRef, row: usize) -> Result<i64> {
    fold(column, row, u64::from(SEED), &Xx).map(u64::cast_signed)
}

/// Spark's Murmur3 hash of bytes.
pub fn murmur(bytes: &[u8], seed: u32) -> u32 {
    Murmur.bytes(bytes, seed)
}

/// A hash that goes on from one value to the next.
trait Hash {
    type Seed: Copy;
    fn int(&self, value: i32, seed: Self::Seed) -> Self::Seed;
    fn long(&self, value: i64, seed: Self::Seed) -> Self::Seed;
    fn bytes(&self, value: &[u8], seed: Self::Seed) -> Self::Seed;
}

/// A value's hash from `seed` on; null changes nothing.
fn fold<H: Hash>(column: &ArrayRef, row: usize, seed: H::Seed, hash: &H) -> Result<H::Seed> {
    if column.is_null(row) {
        return Ok(seed);
    }
    Ok(match column.data_type() {
        DataType::Null => seed,
        DataType::Boolean => hash.int(i32::from(column.as_boolean().value(row)), seed),
        DataType::Int8 => hash.int(column.as_primitive::<Int8Type>().value(row).into(), seed),
        DataType::Int16 => hash.int(column.as_primitive::<Int16Type>().value(row).into(), seed),
        DataType::Int32 => hash.int(column.as_primitive::<Int32Type>().value(row), seed),
        DataType::Date32 => hash.int(column.as_primitive::<Date32Type>().value(row), seed),
        DataType::Int64 => hash.long(column.as_primitive::<Int64Type>().value(row), seed),
        DataType::Timestamp(_, _) => hash.long(column.as_primitive::<TimestampMicrosecondType>().value(row), seed),
        DataType::Float32 => {
            let value = column.as_primitive::<Float32Type>().value(row);
            let value = if value == 0.0 {
                0.0
            } else if value.is_nan() {
                f32::NAN
            } else {
                value
            };
            hash.int(value.to_bits().cast_signed(), seed)
        }
        DataType::Float64 => {
            let value = column.as_primitive::<Float64Type>().value(row);
            let value = if value == 0.0 {
                0.0
            } else if value.is_nan() {
                f64::NAN
            } else {
                value
            };
            hash.long(value.to_bits().cast_signed(), seed)
        }
        DataType::Decimal128(precision, _) => {
            let value = column.as_primitive::<Decimal128Type>().value(row);
            match i64::try_from(value) {
                Ok(value) if *precision <= 18 => hash.long(value, seed),
                _ => {
                    // The shortest two's complement, as Java's BigInteger gives it.
                    let bytes = value.to_be_bytes();
                    let sign = if value < 0 { 0xff } else { 0 };
                    let skipped = bytes.windows(2).take_while(
                        |pair| matches!(pair, [first, second] if *first == sign && (second ^ sign) & 0x80 == 0),
                    );
                    hash.bytes(bytes.get(skipped.count()..).unwrap_or_default(), seed)
                }
            }
        }
        DataType::Utf8 => hash.bytes(column.as_string::<i32>().value(row).as_bytes(), seed),
        DataType::Binary => hash.bytes(column.as_binary::<i32>().value(row), seed),
        DataType::List(_) => {
            let list = column.as_list::<i32>();
            range(list, row).try_fold(seed, |seed, at| fold(list.values(), at, seed, hash))?
        }
        DataType::Struct(_) => {
            column.as_struct().columns().iter().try_fold(seed, |seed, column| fold(column, row, seed, hash))?
        }
        other => return exec_err!("a value of type {} has no hash", sql_name(other)),
    })
}

/// XXH64, which Spark's hashes of numbers are, too.
struct Xx;

impl Hash for Xx {
    type Seed = u64;

    fn int(&self, value: i32, seed: u64) -> u64 {
        XxHash64::oneshot(seed, &value.to_le_bytes())
    }

    fn long(&self, value: i64, seed: u64) -> u64 {
        XxHash64::oneshot(seed, &value.to_le_bytes())
    }

    fn bytes(&self, value: &[u8], seed: u64) -> u64 {
        XxHash64::oneshot(seed, value)
    }
}

/// Murmur3 for x86 and 32 bits, but for bytes that fill no word: Spark takes each for a word of its own.
struct Murmur;

impl Murmur {
    fn word(word: u32, hash: u32) -> u32 {
        let word = word.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593);
        (hash ^ word).rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64)
    }

    fn end(hash: u32, length: u32) -> u32 {
        let hash = hash ^ length;
        let hash = (hash ^ (hash >> 16)).wrapping_mul(0x85eb_ca6b);
        let hash = (hash ^ (hash >> 13)).wrapping_mul(0xc2b2_ae35);
        hash ^ (hash >> 16)
    }
}

impl Hash for Murmur {
    type Seed = u32;

    fn int(&self, value: i32, seed: u32) -> u32 {
        Self::end(Self::word(value.cast_unsigned(), seed), 4)
    }

    fn long(&self, value: i64, seed: u32) -> u32 {
        let value = value.cast_unsigned();
        Self::end(Self::word((value >> 32) as u32, Self::word(value as u32, seed)), 8)
    }

    fn bytes(&self, value: &[u8], seed: u32) -> u32 {
        let (words, rest) = value.as_chunks::<4>();
        let hash = words.iter().fold(seed, |hash, word| Self::word(u32::from_le_bytes(*word), hash));
        let hash = rest.iter().fold(hash, |hash, byte| Self::word(i32::from(byte.cast_signed()).cast_unsigned(), hash));
        Self::end(hash, u32::try_from(value.len()).unwrap_or(u32::MAX))
    }
}
