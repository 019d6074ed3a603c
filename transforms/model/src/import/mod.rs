//! Models as the libraries save them.

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

use std::path::Path;

use levada_connector_api::{Error, Result};

use crate::model::{Format, Model};

/// The largest file that is read as a model, in bytes.
pub const LARGEST: u64 = 2 << 30;

/// Reads the model at `path`: a file, or a folder of Spark ML. The format is told by the content.
///
/// # Errors
/// Nothing is there, it is no model of a known format, or it is damaged: the message names file, tree and node.
pub fn load(path: &Path) -> Result<Model> {
    let place = path.display().to_string();
    let metadata = std::fs::metadata(path).map_err(|error| Error::io(&place, error))?;
    let mut model = if metadata.is_dir() {
        spark::load(path)
    } else if metadata.len() > LARGEST {
        Err(Error::unsupported(format!("the file has {} bytes, a model may have {LARGEST}", metadata.len())))
    } else {
        let bytes = std::fs::read(path).map_err(|error| Error::io(&place, error))?;
        parse(&bytes)
    }
    .map_err(|error| error.context(format!("model '{place}'")))?;
    model.version = version(path)?;
    Ok(model)
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
            xgboost::read(value, Format::XgboostJson)
        }
        [b'{', ..] => xgboost::read(ubjson::parse(start)?, Format::XgboostUbj),
        [b't', b'r', b'e', b'e', b'\n' | b'\r', ..] => lightgbm::read(start),
        // The first field of an ONNX model is its version, a varint of number 1.
        [0x08, ..] => onnx::read(start),
        _ => Err(Error::corrupt("this is no model of Spark ML, ONNX, XGBoost or LightGBM")
            .hint("save XGBoost models as .json or .ubj, LightGBM models with save_model, others as ONNX")),
    }
}

/// A hash of what is at `path`: of a file's content, or of the names and contents below a folder.
///
/// # Errors
/// Something cannot be read.
pub fn version(path: &Path) -> Result<u64> {
    let mut hash = 0xcbf2_9ce4_8422_2325;
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
    fold_bytes(&std::fs::read(path).map_err(failed)?, hash);
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
