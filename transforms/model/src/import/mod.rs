//! Models as the libraries save them.

mod document;
mod lightgbm;
mod onnx;
mod onnx_graph;
mod onnx_trees;
mod protobuf;
mod spark;
mod spark_files;
mod spark_stages;
mod ubjson;
mod xgboost;

use std::fs::File;
use std::io::Read;
use std::path::Path;

use levada_connector_api::{Error, Result};

use crate::model::{Format, Model};

/// The largest file that is read as a model, in bytes; also the most bytes that Spark's Parquet files may hold, unpacked.
pub const LARGEST: u64 = 512 << 20;

/// Reads the model at `path`: a file, or a folder of Spark ML. The format is told by the content.
///
/// # Errors
/// Nothing is there, it is no model of a known format, or it is damaged: the message names file, tree and node.
pub fn load(path: &Path) -> Result<Model> {
    let place = path.display().to_string();
    let metadata = std::fs::metadata(path).map_err(|error| Error::io(&place, error))?;
    let read = || {
        if metadata.is_dir() {
            let mut model = spark::load(path)?;
            model.version = version(path)?;
            return Ok(model);
        }
        let bytes = content(path)?;
        let mut model = parse(&bytes)?;
        model.version = START;
        fold_bytes(&bytes, &mut model.version);
        Ok(model)
    };
    read().map_err(|error: Error| error.context(format!("model '{place}'")))
}

/// The bytes of a file that is not too large.
fn content(path: &Path) -> Result<Vec<u8>> {
    let failed = |error| Error::io(path.display(), error);
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    // The file may grow while it is read.
    if length <= LARGEST && file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(failed)? as u64 <= LARGEST {
        return Ok(bytes);
    }
    Err(Error::unsupported(format!("the file has {length} bytes, a model may have {LARGEST}"))
        .hint("fewer or smaller trees, or another format: text is larger than UBJSON"))
}

/// Reads a model from the bytes of its file.
///
/// # Errors
/// As [`load`].
pub fn parse(bytes: &[u8]) -> Result<Model> {
    let start = bytes.trim_ascii_start();
    match start {
        [] => Err(Error::corrupt("the file is empty")),
        [b'{', b'"' | b' ' | b'\n' | b'\r' | b'\t', ..] => {
            let value = serde_json::from_slice(start)
                .map_err(|error| Error::corrupt(format!("it is no whole JSON document: {error}")))?;
            xgboost::read(&value, Format::XgboostJson)
        }
        [b'{', ..] => xgboost::read(&ubjson::parse(start)?, Format::XgboostUbj),
        [b't', b'r', b'e', b'e', b'\n' | b'\r', ..] => lightgbm::read(start),
        // The first field of an ONNX model is its version, a varint of number 1.
        [0x08, ..] => onnx::read(start),
        _ => Err(Error::corrupt("this is no model of Spark ML, ONNX, XGBoost or LightGBM")
            .hint("save XGBoost models as .json or .ubj, LightGBM models with save_model, others as ONNX")),
    }
}

/// What a hash begins with.
const START: u64 = 0xcbf2_9ce4_8422_2325;

/// A hash of what is at `path`: of a file's content, or of the names and contents below a folder.
///
/// # Errors
/// Something cannot be read, or is larger than [`LARGEST`].
pub fn version(path: &Path) -> Result<u64> {
    let mut hash = START;
    fold_path(path, &mut hash)?;
    Ok(hash)
}

fn fold_path(path: &Path, hash: &mut u64) -> Result<()> {
    let failed = |error| Error::io(path.display(), error);
    if std::fs::metadata(path).map_err(failed)?.is_dir() {
        let mut entries = std::fs::read_dir(path)
            .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>())
            .map_err(failed)?;
        entries.sort();
        for entry in entries {
            let hidden = entry.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
            if !hidden {
                fold_bytes(entry.file_name().unwrap_or_default().as_encoded_bytes(), hash);
                fold_path(&entry, hash)?;
            }
        }
        return Ok(());
    }
    fold_bytes(&content(path)?, hash);
    Ok(())
}

/// FNV-1a over words of eight bytes: to tell files apart, not to withstand anybody.
fn fold_bytes(bytes: &[u8], hash: &mut u64) {
    for chunk in bytes.chunks(8) {
        let mut word = [0u8; 8];
        for (to, from) in word.iter_mut().zip(chunk) {
            *to = *from;
        }
        *hash = (*hash ^ u64::from_le_bytes(word)).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
    }
    *hash = (*hash ^ bytes.len() as u64).wrapping_mul(0x0000_0100_0000_01b3);
}
