//! Decoding ahead: while one piece of a file is on its way, other cores cut off and decode those behind it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::datatypes::{Schema, SchemaRef};
use levada_connector_api::config::Config;
use levada_connector_api::{Error, Result};
use levada_storage::{Background, blocking};

use super::decode::{Decoded, LineDecoder};
use super::reader::{Cut, OpenFile, PieceLimit};

/// With more cores than these the pieces in memory would be too many; what follows could not keep up either.
const MOST: usize = 16;

/// A piece, or why there is none, with its number in the file.
type Numbered = (u64, Result<(Cut, Decoded)>);

/// What a micro-batch may still take, of which some is cut off already.
#[derive(Debug, Default)]
pub(crate) struct Room {
    pub(crate) rows: usize,
    pub(crate) bytes: usize,
    /// Whether one line must be taken even if it is larger than `bytes`.
    pub(crate) at_least_one: bool,
}

/// What is cut off by itself, and may be.
#[derive(Debug, Default)]
struct Known {
    room: Room,
    held_rows: usize,
    held_bytes: usize,
    /// Whether there is nothing more to cut off.
    ended: bool,
}

/// The file under way. Who holds the one lock waits for the disk, and the other is held for a moment only.
struct Open {
    file: Mutex<(OpenFile, u64)>,
    known: Mutex<Known>,
    line_bytes: usize,
}

impl Open {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Cuts off the next piece for `decoder`, with its number; `None` if there is no room for one.
    fn cut(&self, decoder: &mut LineDecoder) -> Option<(u64, Result<Cut>)> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let (file, next) = &mut *file;
        let limit = {
            let known = self.known();
            if known.ended {
                return None;
            }
            let first = known.held_bytes == 0;
            PieceLimit {
                rows: known.room.rows.saturating_sub(known.held_rows).max(usize::from(first)),
                bytes: known.room.bytes.saturating_sub(known.held_bytes),
                at_least_one: first && known.room.at_least_one,
                line_bytes: self.line_bytes,
                chunk: decoder.chunk(),
            }
        };
        let cut = file.cut(&limit, decoder);
        let mut known = self.known();
        match &cut {
            Ok(cut) if cut.bytes == 0 && !cut.done => return None,
            Ok(cut) => {
                known.held_rows += cut.lines();
                known.held_bytes += cut.bytes;
                known.ended = cut.done;
            }
            Err(_) => {
                decoder.forget();
                known.ended = true;
            }
        }
        *next += 1;
        Some((*next - 1, cut))
    }
}

/// The pieces of a file that are cut off and were not given yet.
pub(crate) struct Ahead {
    schema: SchemaRef,
    open: Option<Arc<Open>>,
    /// Decoders without work. There are two more than cores: one piece is cut off, and one waits to be given.
    idle: Vec<LineDecoder>,
    /// At most so many pieces are under way.
    most: usize,
    working: VecDeque<Background<(LineDecoder, Option<Numbered>)>>,
    /// Pieces that were there before those in front of them.
    ready: BTreeMap<u64, Result<(Cut, Decoded)>>,
    /// The number of the next piece to give.
    next: u64,
}

impl Ahead {
    pub(crate) fn new(config: &Config, schema: &Schema) -> Result<Self> {
        let most = 2 + std::thread::available_parallelism().map_or(1, usize::from).min(MOST);
        let idle: Vec<_> = (0..most).map(|_| LineDecoder::new(config, schema.clone())).collect::<Result<_>>()?;
        let schema = idle.first().map(LineDecoder::schema).ok_or_else(|| Error::internal("no decoder"))?;
        let (working, ready) = (VecDeque::new(), BTreeMap::new());
        Ok(Self { schema, open: None, idle, most, working, ready, next: 0 })
    }

    pub(crate) fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// Nobody looks at other columns than these. Called before anything is cut off.
    pub(crate) fn only(&mut self, columns: &[String]) {
        self.idle.iter_mut().for_each(|decoder| decoder.only(columns));
    }

    /// Whether something was cut off that was not given.
    pub(crate) fn holds(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.known().held_bytes > 0)
    }

    /// Takes the file whose pieces come next; call [`close`](Self::close) before.
    pub(crate) fn open(&mut self, file: OpenFile, line_bytes: usize) {
        self.open = Some(Arc::new(Open { file: Mutex::new((file, 0)), known: Mutex::default(), line_bytes }));
        self.next = 0;
    }

    /// Leaves the file, and forgets what was cut off it.
    pub(crate) async fn close(&mut self) -> Result<()> {
        if let Some(open) = self.open.take() {
            open.known().ended = true;
        }
        while let Some(work) = self.working.pop_front() {
            let (decoder, _) = work.wait().await?;
            self.idle.push(decoder);
        }
        self.ready.clear();
        Ok(())
    }

    /// The next piece, once it is decoded; `None` if nothing fits into the room that there is.
    pub(crate) async fn next(&mut self, room: Room) -> Result<Option<(Cut, Decoded)>> {
        let Some(open) = self.open.clone() else { return Err(Error::internal("no file is open")) };
        open.known().room = room;
        let mut full = false;
        loop {
            if let Some(piece) = self.ready.remove(&self.next) {
                let (cut, decoded) = piece?;
                self.next += 1;
                {
                    let mut known = open.known();
                    known.held_rows = known.held_rows.saturating_sub(cut.lines());
                    known.held_bytes = known.held_bytes.saturating_sub(cut.bytes);
                    known.room.rows = known.room.rows.saturating_sub(cut.lines());
                    known.room.bytes = known.room.bytes.saturating_sub(cut.bytes);
                    known.room.at_least_one = false;
                }
                // The cores go on while this piece is handled.
                self.start(&open);
                return Ok(Some((cut, decoded)));
            }
            if !full {
                self.start(&open);
            }
            let Some(work) = self.working.pop_front() else { return Ok(None) };
            let (decoder, piece) = work.wait().await?;
            self.idle.push(decoder);
            match piece {
                Some((number, piece)) => drop(self.ready.insert(number, piece)),
                None => full = true,
            }
        }
    }

    fn start(&mut self, open: &Arc<Open>) {
        while !open.known().ended
            && self.working.len() + self.ready.len() < self.most
            && let Some(mut decoder) = self.idle.pop()
        {
            let open = open.clone();
            self.working.push_back(Background::compute(async move {
                // The disk may be slow: it is waited for elsewhere.
                let (mut decoder, cut) = blocking(move || {
                    let cut = open.cut(&mut decoder);
                    Ok((decoder, cut))
                })
                .await?;
                let Some((number, cut)) = cut else { return Ok((decoder, None)) };
                let piece = cut.and_then(|cut| Ok((cut, decoder.finish()?)));
                Ok((decoder, Some((number, piece))))
            }));
        }
    }
}
