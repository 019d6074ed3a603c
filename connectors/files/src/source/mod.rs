//! Reads files as they arrive, line by line.

mod age;
mod ahead;
mod changes;
mod charset;
mod decode;
mod infer;
mod listing;
mod options;
mod reader;
mod records;
mod walk;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::datatypes::{Schema, SchemaRef};
use levada_connector_api::config::{Config, ConfigDef, ConfigError};
use levada_connector_api::{
    Batch, Error, ErrorKind, Offset, OffsetRange, Offsets, Origin, Partition, Plugin, PollLimit, PollStatus, Polled,
    Result, Source, SourceCapabilities, SourcePlugin, TaskContext, async_trait,
};
use levada_formats::ddl::to_ddl;

use self::age::Age;
use self::ahead::{Ahead, Room};
use self::changes::Note;
pub(crate) use self::charset::Charset;
use self::decode::LineDecoder;
use self::listing::{FileEntry, Listing};
use self::reader::{Compression, Header, OpenFile};
use self::records::Records;

/// The source `Files`.
pub struct FilesSourcePlugin;

impl Plugin for FilesSourcePlugin {
    fn name(&self) -> &str {
        "Files"
    }

    fn aliases(&self) -> &[&str] {
        &["FileStreamSource", "org.apache.kafka.connect.file.FileStreamSourceConnector"]
    }

    fn version(&self) -> &str {
        env!("CARGO_PKG_VERSION")
    }

    fn doc(&self) -> &str {
        "Reads text, JSON lines or CSV from the files of a folder as they arrive, oldest first."
    }

    fn config_def(&self) -> ConfigDef {
        crate::config::source()
    }

    fn validate(&self, config: &Config) -> Vec<ConfigError> {
        crate::config::check_source(config)
    }
}

impl SourcePlugin for FilesSourcePlugin {
    fn capabilities(&self, _: &Config) -> SourceCapabilities {
        SourceCapabilities { replayable: true, bounded: false }
    }

    fn would_read(&self, config: &Config, file: &std::path::Path) -> bool {
        let listing = Listing::new(&config.string("path"), config.bool("recursive"));
        let place = object_store::path::Path::from_absolute_path(file);
        let (Ok(listing), Ok(place)) = (listing, place) else { return false };
        listing.base.local.is_some() && listing.name_of(&place).is_some_and(|name| listing.admits(&name))
    }

    fn create(&self, config: &Config) -> Result<Box<dyn Source>> {
        let mut source = FilesSource {
            config: config.clone(),
            listing: Arc::new(Listing::new(&config.string("path"), config.bool("recursive"))?),
            ahead: None,
            only: None,
            inferred: None,
            notes: Vec::new(),
            compression: config.string("compression").to_ascii_lowercase(),
            charset: Charset::of(&config.string("encoding")).unwrap_or_default(),
            header: Header::None,
            age: Age::new(config.duration_opt("max.file.age")),
            max_files: config.int_opt("max.files.per.trigger").and_then(|n| usize::try_from(n).ok()),
            line_bytes: usize::try_from(config.size("max.line.bytes")).unwrap_or(usize::MAX),
            interval: config.duration("discovery.interval"),
            seen: HashMap::new(),
            grown: HashSet::new(),
            queue: VecDeque::new(),
            open: None,
            until: None,
            batch: None,
            files_in_batch: 0,
            files_before: 0,
            goes_on: false,
            listed: None,
        };
        if let Some(schema) = LineDecoder::given_schema(config)? {
            source.decode_into(schema)?;
        }
        Ok(Box::new(source))
    }
}

/// The file that is being read; its bytes are with [`Ahead`].
struct Opened {
    entry: FileEntry,
    label: String,
}

/// Partitions are files, named by their path below the base; positions are bytes after decompression.
struct FilesSource {
    config: Config,
    listing: Arc<Listing>,
    /// Decoders, and what they were given; none before the columns are known.
    ahead: Option<Ahead>,
    /// The columns that somebody reads, if not all.
    only: Option<Vec<String>>,
    /// The columns as DDL, if they were found in the data.
    inferred: Option<String>,
    /// What some offset says for all of them.
    notes: Vec<Note>,
    compression: String,
    charset: Charset,
    /// What to do with the first line of each file.
    header: Header,
    age: Age,
    max_files: Option<usize>,
    line_bytes: usize,
    interval: Duration,
    /// Every file that was read from, with where reading it stands: this is the log of files seen.
    seen: HashMap<String, Offset>,
    /// Files whose growth has been reported.
    grown: HashSet<String>,
    queue: VecDeque<FileEntry>,
    open: Option<Opened>,
    until: Option<Arc<Offsets>>,
    batch: Option<u64>,
    /// Files that this micro-batch has finished, and those before it that could not hold all of the trigger.
    files_in_batch: usize,
    files_before: usize,
    /// Whether there was more of the trigger when it was asked last.
    goes_on: bool,
    listed: Option<Instant>,
}

/// The note that holds the columns that were found in the data.
const SCHEMA: &str = "schema";
/// The notes that hold the folder below which files are named: as it was written, and whole.
const PATH: &str = "path";
const FOLDER: &str = "folder";
/// The note that holds the encoding of a file, unless it is UTF-8.
const ENCODING: &str = "encoding";
/// A poll that has so many bytes of input looks for no more: what follows is to begin with them.
const ENOUGH: usize = 512 << 10;

fn partition(name: &str) -> Partition {
    Partition::named("file", name)
}

fn no_columns() -> Error {
    Error::internal("the columns are not known yet")
}

fn is_done(offset: &Offset) -> bool {
    offset.notes.get("done").and_then(serde_json::Value::as_bool).unwrap_or(false)
}

#[async_trait]
impl Source for FilesSource {
    async fn schema(&mut self) -> Result<SchemaRef> {
        if self.listing.base.local.as_ref().is_some_and(|path| !path.exists()) {
            // Named here, before anything runs.
            self.listing.list().await?;
        }
        if self.ahead.is_none() {
            let schema = infer::infer(&self.config, &self.listing).await?;
            self.inferred = Some(to_ddl(&schema));
            self.decode_into(schema)?;
        }
        self.ahead.as_ref().map(Ahead::schema).ok_or_else(no_columns)
    }

    fn only(&mut self, columns: &[String]) {
        self.only = Some(columns.to_vec());
    }

    async fn open(&mut self, context: &TaskContext, from: &Offsets) -> Result<()> {
        // Dead letters show whole rows.
        if let (Some(columns), Some(ahead), false) = (self.only.take(), &mut self.ahead, context.tolerant) {
            ahead.only(&columns);
        }
        for (partition, offset) in from.iter() {
            let name = partition.text("file").ok_or_else(|| {
                Error::corrupt(format!("the checkpoint holds {partition}, which is no file"))
                    .hint("it was written for another source: use a new checkpoint.location")
            })?;
            self.seen.insert(name, offset.clone());
        }
        self.age.seen(self.seen.values());
        self.check_folder()?;
        let recorded = self.recorded(SCHEMA);
        let columns = self.inferred.iter().map(|found| Note::new(SCHEMA, found, recorded));
        let (path, folder) = self.folder();
        let places = [Note::new(PATH, &path, self.recorded(PATH)), Note::new(FOLDER, &folder, self.recorded(FOLDER))];
        let notes = columns.chain(places).collect();
        let verdict = match (&self.inferred, recorded) {
            (Some(found), Some(recorded)) if found != recorded => Err(Error::config(format!(
                "{}: the columns found in the files are no longer those of the checkpoint: {found}",
                self.listing.text
            ))
            .hint(format!(
                "set source.schema to '{recorded}', or start anew with another checkpoint.location and name"
            ))),
            _ => Ok(()),
        };
        self.notes = notes;
        verdict
    }

    async fn poll(&mut self, limit: &PollLimit) -> Result<Polled> {
        if self.batch.replace(limit.batch_id) != Some(limit.batch_id) {
            self.files_before = if self.goes_on { self.files_before + self.files_in_batch } else { 0 };
            self.files_in_batch = 0;
            if self.ahead.as_ref().is_some_and(Ahead::holds) {
                // It was cut for the limits of another batch.
                if let Some(entry) = self.close_file().await? {
                    self.queue.push_front(entry);
                }
            }
        }
        let polled = self.read(limit).await?;
        self.goes_on = polled.status == PollStatus::More;
        if !self.goes_on {
            self.files_before = 0;
        }
        Ok(polled)
    }

    async fn latest(&mut self) -> Result<Offsets> {
        let entries = self.listing.list().await?;
        self.check_seen(&entries)?;
        // How long a compressed file is, is not known before it is read: every file is read to its end.
        let to_end = |entry: FileEntry| {
            let offset = Offset::at(u64::MAX).note("mtime", entry.mtime).note("size", entry.size);
            (partition(&entry.name), offset)
        };
        Ok(self.unread(entries).into_iter().map(to_end).collect())
    }
}

impl FilesSource {
    /// Reads as far as the limits let it.
    async fn read(&mut self, limit: &PollLimit) -> Result<Polled> {
        self.set_until(limit.until.as_ref()).await?;
        let mut polled = Polled::nothing(PollStatus::More);
        let deadline = Instant::now() + limit.wait;
        loop {
            let rows = polled.num_rows() + polled.rejected.len();
            if rows >= limit.rows || polled.bytes >= limit.bytes || polled.bytes >= ENOUGH {
                return Ok(polled);
            }
            if self.open.is_none() && !self.open_next().await? {
                if self.until.is_some() {
                    polled.status = PollStatus::End;
                    return Ok(polled);
                }
                if self.discover().await? {
                    continue;
                }
                if !polled.ranges.is_empty() || Instant::now() >= deadline {
                    polled.status = PollStatus::Idle;
                    return Ok(polled);
                }
                let left = deadline.saturating_duration_since(Instant::now());
                tokio::time::sleep(left.min(self.interval)).await;
                continue;
            }
            if !self.read_piece(limit, &mut polled).await? {
                return Ok(polled);
            }
            if self.open.is_none() && self.max_files.is_some_and(|max| self.files_before + self.files_in_batch >= max) {
                self.files_in_batch = 0;
                polled.status = PollStatus::Boundary;
                return Ok(polled);
            }
        }
    }

    /// Leaves the open file, and what was read ahead of it: it is read again from where the last piece ended.
    async fn close_file(&mut self) -> Result<Option<FileEntry>> {
        if let Some(ahead) = &mut self.ahead {
            ahead.close().await?;
        }
        Ok(self.open.take().map(|file| file.entry))
    }

    /// Gets ready to decode lines into rows of `schema`.
    fn decode_into(&mut self, schema: Schema) -> Result<()> {
        let corrupt = self.config.string("column.name.of.corrupt.record");
        let names = schema.fields().iter().map(|field| field.name().clone()).filter(|name| *name != corrupt).collect();
        let by_order = self.config.bool_opt("enforce.schema").unwrap_or_else(|| self.config.is_given("schema"));
        self.header = match (self.config.bool("header"), by_order) {
            (false, _) => Header::None,
            (true, true) => Header::Skip(names),
            (true, false) => Header::Check(names),
        };
        self.ahead = Some(Ahead::new(&self.config, &schema)?);
        Ok(())
    }

    /// The files that are still to be read, of those that there are.
    fn unread(&mut self, mut entries: Vec<FileEntry>) -> Vec<FileEntry> {
        entries.retain(|entry| match self.seen.get(&entry.name) {
            Some(seen) => !is_done(seen),
            None => self.age.admits(entry, || self.listing.label(&entry.name)),
        });
        entries
    }

    /// Takes over where to stop. The files to read are then those named, in the order of their recorded times.
    async fn set_until(&mut self, until: Option<&Arc<Offsets>>) -> Result<()> {
        let same = match (&self.until, until) {
            (None, None) => true,
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            _ => false,
        };
        if same {
            return Ok(());
        }
        self.until = until.cloned();
        self.close_file().await?;
        self.queue.clear();
        self.listed = None;
        let Some(until) = until else { return Ok(()) };
        let mut entries: Vec<FileEntry> = until
            .iter()
            .filter_map(|(partition, offset)| {
                let name = partition.text("file")?;
                let mtime = offset.notes.get("mtime").and_then(serde_json::Value::as_i64).unwrap_or(0);
                let reached = self
                    .seen
                    .get(&name)
                    .is_some_and(|seen| seen.position == offset.position && is_done(seen) == is_done(offset));
                let done = self.seen.get(&name).is_some_and(is_done);
                (!reached && !done).then(|| FileEntry { name, size: offset.note_u64("size").unwrap_or(0), mtime })
            })
            .collect();
        FileEntry::sort(&mut entries);
        self.queue = entries.into();
        Ok(())
    }

    /// Looks for new files, at most once an interval. Answers whether there are any.
    async fn discover(&mut self) -> Result<bool> {
        if self.listed.is_some_and(|at| at.elapsed() < self.interval) {
            return Ok(false);
        }
        let entries = self.listing.list().await?;
        self.listed = Some(Instant::now());
        self.check_seen(&entries)?;
        self.queue = self.unread(entries).into();
        Ok(!self.queue.is_empty())
    }

    /// Opens the next file of the queue; answers whether there was one.
    async fn open_next(&mut self) -> Result<bool> {
        while let Some(entry) = self.queue.pop_front() {
            let name = entry.name.clone();
            let seen = self.seen.get(&name);
            let recorded = self.until.as_ref().and_then(|until| until.get(&partition(&name)));
            let until = recorded.and_then(Offset::number).unwrap_or(u64::MAX);
            self.check_encoding(&name, &[seen, recorded])?;
            let start = seen.map_or((0, 0), |o| (o.number().unwrap_or(0), o.note_u64("line").unwrap_or(0)));
            let coding = (Compression::of(&self.compression, &name), self.charset);
            let label = self.listing.label(&name);
            let path = self.listing.path(&name);
            match OpenFile::open(&self.listing.base, &path, entry, label.clone(), coding, start).await {
                Ok(mut file) => {
                    file.until = until;
                    if start.0 == 0 {
                        file.header = self.header.clone();
                    }
                    file.records = Records::new(&self.config);
                    let entry = file.entry.clone();
                    self.open = Some(Opened { entry, label });
                    self.ahead.as_mut().ok_or_else(no_columns)?.open(file, self.line_bytes);
                    return Ok(true);
                }
                Err(error) if error.kind() == ErrorKind::NotFound && until == u64::MAX && seen.is_none() => {
                    tracing::warn!(file = %label, "a file vanished before it was read: it is left out");
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    return Err(self.gone(&name));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    /// Reads a piece of the open file; answers whether anything fitted into the limit.
    async fn read_piece(&mut self, limit: &PollLimit, polled: &mut Polled) -> Result<bool> {
        let (Some(file), Some(ahead)) = (self.open.take(), self.ahead.as_mut()) else {
            return Err(Error::internal("there is no file or no decoder for it"));
        };
        let room = Room {
            rows: limit.rows.saturating_sub(polled.num_rows() + polled.rejected.len()),
            bytes: limit.bytes.saturating_sub(polled.bytes),
            at_least_one: polled.ranges.is_empty(),
        };
        let (cut, decoded) = match ahead.next(room).await {
            Ok(Some(piece)) => piece,
            Ok(None) => {
                self.open = Some(file);
                return Ok(false);
            }
            Err(error) => {
                ahead.close().await?;
                self.queue.push_front(file.entry);
                return Err(error);
            }
        };
        let start = self.seen.get(&file.entry.name).cloned();
        let recorded = self.until.as_ref().and_then(|until| until.get(&partition(&file.entry.name)));
        // In a recorded range the end is what was recorded, also of a file that was not done then.
        let (position, lines) = cut.end;
        let exact = recorded.filter(|offset| offset.number() == Some(position));
        let end = match exact {
            Some(offset) => offset.clone(),
            None => {
                let compression = Compression::of(&self.compression, &file.entry.name);
                let plain = compression == Compression::None && self.charset == Charset::Utf8;
                // A file that grew while it was read has been read to where it ended then.
                let size = if cut.done && plain { position } else { file.entry.size };
                let end = Offset::at(position)
                    .note("done", cut.done)
                    .note("line", lines)
                    .note("mtime", file.entry.mtime)
                    .note("size", size);
                let end = self.with_encoding(end);
                self.with_notes(end, start.as_ref())
            }
        };
        self.age.seen([&end]);
        let name = file.entry.name.clone();
        polled.ranges.push(partition(&name), OffsetRange::new(start, end.clone())?)?;
        polled.bytes += cut.bytes;
        for part in decoded.parts {
            if part.rows.num_rows() > 0 {
                let origin = match part.first {
                    Some(line) => Origin::exact(file.label.as_str(), "line", cut.first_line + line),
                    None => Origin::near(file.label.as_str()),
                };
                polled.batches.push(Batch::with_origin(part.rows, origin));
            }
        }
        polled.rejected.extend(decoded.rejected.into_iter().map(|bad| bad.at(&file.label, cut.first_line)));
        self.seen.insert(name, end);
        if cut.done {
            self.close_file().await?;
            self.files_in_batch += 1;
        } else {
            self.open = Some(file);
        }
        Ok(true)
    }
}
