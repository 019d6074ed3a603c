//! Writes a file a micro-batch, under a name that is the micro-batch's; in complete mode, one file for the whole result.

mod encode;
mod names;
mod owner;
mod parquet;
mod partition;
mod values;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use arrow::datatypes::{DataType, SchemaRef};
use futures::TryStreamExt as _;
use levada_connector_api::config::{Config, ConfigDef, ConfigError};
use levada_connector_api::{
    BadRow, Batch, Commit, Error, ErrorKind, Faults, Guarantee, OutputMode, Plugin, Result, Retry, Sink,
    SinkCapabilities, SinkPlugin, TaskContext, async_trait,
};
use levada_storage::{Background, Location, blocking};
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStoreExt as _};

use self::encode::{Encoder, FileFormat};
use self::names::Names;
use self::partition::Partitioner;

/// What is gathered before it is handed to the store: object stores want parts of 5 MB or more.
const PART_BYTES: usize = 8 << 20;

/// Rows that take a few milliseconds to encode.
const FEW: usize = 1 << 16;

/// The sink `Files`.
pub struct FilesSinkPlugin;

impl Plugin for FilesSinkPlugin {
    fn name(&self) -> &str {
        "Files"
    }

    fn aliases(&self) -> &[&str] {
        &["FileStreamSink", "org.apache.kafka.connect.file.FileStreamSinkConnector"]
    }

    fn version(&self) -> &str {
        env!("CARGO_PKG_VERSION")
    }

    fn doc(&self) -> &str {
        "Writes JSON lines, CSV or Parquet: a file a micro-batch, seen when it is complete."
    }

    fn config_def(&self) -> ConfigDef {
        crate::config::sink()
    }

    fn validate(&self, config: &Config) -> Vec<ConfigError> {
        crate::config::check_sink(config)
    }
}

impl SinkPlugin for FilesSinkPlugin {
    fn capabilities(&self, _: &Config) -> SinkCapabilities {
        SinkCapabilities {
            guarantee: Guarantee::Idempotent,
            modes: &[OutputMode::Append, OutputMode::Update, OutputMode::Complete],
        }
    }

    fn tasks(&self, _: &Config, max: u32) -> u32 {
        max
    }

    fn check(&self, config: &Config, schema: &SchemaRef) -> Result<()> {
        let format = config.string("format").to_ascii_lowercase();
        partitioner(&config.list("partition.by"), &format, schema).map(|_| ())
    }

    fn would_write(&self, config: &Config) -> Option<PathBuf> {
        let location = levada_storage::resolve(&config.string("path")).ok()?;
        location.local.as_ref()?;
        Some(format!("/{}/{}", location.path, Names::new(0, 0).of(Some(0), &file_format(config).extension())).into())
    }

    fn create(&self, config: &Config) -> Result<Box<dyn Sink>> {
        Ok(Box::new(FilesSink {
            location: levada_storage::resolve(&config.string("path"))?,
            format: file_format(config),
            partition_by: config.list("partition.by"),
            partitioner: None,
            mode: OutputMode::Append,
            names: Names::default(),
            shared: config.bool("shared"),
            faults: Faults::none(),
            tolerant: false,
            refused: Vec::new(),
            files: BTreeMap::new(),
            alone: false,
        }))
    }
}

fn file_format(config: &Config) -> FileFormat {
    let format = config.string("format").to_ascii_lowercase();
    let default = if format == "parquet" { "snappy" } else { "none" };
    let compression = config.string_opt("compression").unwrap_or_else(|| default.to_owned()).to_ascii_lowercase();
    FileFormat { format, compression, header: config.bool("header") }
}

struct FilesSink {
    location: Location,
    format: FileFormat,
    partition_by: Vec<String>,
    partitioner: Option<Partitioner>,
    mode: OutputMode,
    names: Names,
    /// Whether the folder may have files of others.
    shared: bool,
    faults: Faults,
    /// Whether a row that cannot be written may be left out.
    tolerant: bool,
    /// The rows of the micro-batch that were left out.
    refused: Vec<BadRow>,
    /// The files of the micro-batch, by folder.
    files: BTreeMap<String, StagedFile>,
    /// In complete mode: nothing is there but what this run has written.
    alone: bool,
}

struct StagedFile {
    encoder: Encoder,
    path: Path,
    upload: Box<dyn MultipartUpload>,
}

fn failed(place: &Path, error: object_store::Error) -> Error {
    let error = levada_storage::to_error(format!("/{place}"), error);
    match error.kind() {
        ErrorKind::Io => error,
        // Whatever else failed may pass: a folder that is gone is made again.
        _ => error.with_retry(Retry::Retriable),
    }
}

impl FilesSink {
    fn path(&self, folder: &str, batch_id: u64) -> Path {
        // In complete mode one name for every result: the rename that makes the new one visible takes the old one away.
        let batch_id = (self.mode != OutputMode::Complete).then_some(batch_id);
        let name = self.names.of(batch_id, &self.format.extension());
        if folder.is_empty() {
            return self.location.path.clone().join(name);
        }
        // The folder is escaped as Hive does it: joining it part by part would escape it again.
        let text = format!("{}/{folder}/{name}", self.location.path);
        Path::parse(&text).unwrap_or_else(|_| Path::from(text))
    }

    async fn encode(&mut self, folder: String, batch_id: u64, rows: arrow::array::RecordBatch) -> Result<()> {
        let mut file = match self.files.remove(&folder) {
            Some(file) => file,
            None => {
                let path = self.path(&folder, batch_id);
                let schema = self.partitioner.as_ref().map_or_else(|| rows.schema(), |p| p.schema.clone());
                let upload = self.location.store.put_multipart(&path).await.map_err(|e| failed(&path, e))?;
                StagedFile { encoder: Encoder::new(&self.format, schema)?, path, upload }
            }
        };
        let few = rows.num_rows() <= FEW;
        let write = move || {
            file.encoder.write(&rows).map_err(|e| e.context(format!("/{}", file.path)))?;
            Ok(file)
        };
        // It only computes: a thread more than there are cores would wait, and others for it.
        let mut file =
            if few { Background::compute(async move { write() }).wait().await? } else { blocking(write).await? };
        if file.encoder.buffer.len() >= PART_BYTES {
            let part = file.encoder.buffer.take();
            file.upload.put_part(part).await.map_err(|e| failed(&file.path, e))?;
        }
        self.files.insert(folder, file);
        Ok(())
    }

    /// In complete mode: deletes what the batch did not write anew. That is the file itself when the result is empty,
    /// files of folders that have no rows any more, and what was written in another mode or format.
    async fn remove_others(&mut self, written: &BTreeSet<Path>) -> Result<()> {
        self.faults.at("files.sink.replace.before")?;
        let base = &self.location.path;
        let listed: Vec<_> = match self.location.store.list(Some(base)).try_collect().await {
            Ok(listed) => listed,
            Err(object_store::Error::NotFound { .. }) => Vec::new(),
            Err(error) => return Err(failed(base, error)),
        };
        let mut folders = BTreeSet::new();
        for path in listed.into_iter().map(|object| object.location) {
            let name = path.filename().unwrap_or_default();
            if self.names.is_ours(name) && !written.contains(&path) {
                self.location.store.delete(&path).await.map_err(|e| failed(&path, e))?;
                folders.extend(path.as_ref().rsplit_once('/').map(|(folder, _)| Path::from(folder)));
            }
        }
        for folder in &folders {
            self.location.flush_folder(folder).await?;
        }
        self.faults.at("files.sink.replace.after")
    }
}

#[async_trait]
impl Sink for FilesSink {
    async fn open(&mut self, context: &TaskContext, schema: SchemaRef, mode: OutputMode) -> Result<Option<Commit>> {
        self.partitioner = Some(partitioner(&self.partition_by, &self.format.format, &schema)?);
        self.mode = mode;
        self.faults = context.faults.clone();
        self.tolerant = context.tolerant;
        self.location.create_folder().await?;
        let number = owner::claim(&self.location, context, self.shared).await?;
        self.names = Names::new(context.task, number);
        if let Some(folder) = self.location.local.clone() {
            let (names, owner) = (self.names.clone(), owner::name(context.task, number));
            blocking(move || remove_staged(folder, |name| names.is_ours(name) || name == owner)).await?;
        }
        Ok(None)
    }

    async fn write(&mut self, batch_id: u64, batch: Batch) -> Result<()> {
        let Some(partitioner) = &self.partitioner else { return Err(Error::internal("the sink is not open")) };
        let split = partitioner.split(&batch.rows)?;
        for (row, reason) in split.refused {
            if !self.tolerant {
                return Err(Error::data(format!("{}: {reason}", batch.origin.of(row))).hint(
                    "shorten it in a Select before, or set errors.tolerance=all so that such rows go to the dead letters",
                ));
            }
            self.refused.push(batch.bad_row(row, "sink", reason));
        }
        for (folder, rows) in split.folders {
            self.encode(folder, batch_id, rows).await?;
        }
        Ok(())
    }

    async fn prepare(&mut self, _: u64) -> Result<Vec<BadRow>> {
        Ok(std::mem::take(&mut self.refused))
    }

    async fn commit(&mut self, _: &Commit) -> Result<()> {
        let mut written = BTreeSet::new();
        for (_, mut file) in std::mem::take(&mut self.files) {
            let encoder = file.encoder;
            let finished = blocking(move || encoder.finish()).await;
            let rest = finished.map_err(|e| e.context(format!("/{}", file.path)))?.take();
            file.upload.put_part(rest).await.map_err(|e| failed(&file.path, e))?;
            self.faults.at("files.sink.complete.before")?;
            file.upload.complete().await.map_err(|e| failed(&file.path, e))?;
            self.faults.at("files.sink.complete.after")?;
            written.insert(file.path);
        }
        // Without folders the rename was all, except that the first batch finds what was there before.
        let renamed_all = self.partition_by.is_empty() && !written.is_empty() && self.alone;
        if self.mode == OutputMode::Complete && !renamed_all {
            self.remove_others(&written).await?;
            self.alone = true;
        }
        Ok(())
    }

    async fn abort(&mut self, _: u64) -> Result<()> {
        self.refused.clear();
        for (_, mut file) in std::mem::take(&mut self.files) {
            file.upload.abort().await.map_err(|e| failed(&file.path, e))?;
        }
        Ok(())
    }
}

/// Deletes what a killed run of this sink has left staged, below `folder`, too.
fn remove_staged(folder: PathBuf, ours: impl Fn(&str) -> bool) -> Result<()> {
    let mut folders = vec![folder];
    while let Some(folder) = folders.pop() {
        levada_storage::remove_staged(&folder, &ours)?;
        for entry in std::fs::read_dir(&folder).map_err(|e| Error::io(folder.display(), e))? {
            let entry = entry.map_err(|e| Error::io(folder.display(), e))?;
            if entry.file_type().map_err(|e| Error::io(entry.path().display(), e))?.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    Ok(())
}

/// Splits rows of `schema`, which the format must be able to write.
fn partitioner(by: &[String], format: &str, schema: &SchemaRef) -> Result<Partitioner> {
    let fields = schema.fields();
    let twice = fields.iter().enumerate().find(|(at, field)| fields.iter().take(*at).any(|f| f.name() == field.name()));
    if let Some((_, field)) = twice {
        return Err(Error::config(format!("two columns are called '{}'", field.name()))
            .hint("give one of them another name in a Select before"));
    }
    let partitioner = Partitioner::new(by, schema)?;
    if format != "csv" {
        return Ok(partitioner);
    }
    for field in partitioner.schema.fields() {
        let refused =
            |what: &str| Error::config(format!("column '{}' is {what}, and CSV has no way to write it", field.name()));
        match field.data_type() {
            DataType::Binary | DataType::LargeBinary => {
                return Err(refused("BINARY").hint("make it text with base64(…) or hex(…) before"));
            }
            data_type if data_type.is_nested() => {
                return Err(refused("nested").hint("select its fields, or write json or parquet"));
            }
            _ => {}
        }
    }
    Ok(partitioner)
}
