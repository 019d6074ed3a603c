//! Decoding ahead: while one piece of a file is on its way, other cores decode those behind it.

use std::collections::VecDeque;

use arrow::datatypes::{Schema, SchemaRef};
use levada_connector_api::config::Config;
use levada_connector_api::{Error, Result};
use levada_storage::Background;

use super::decode::{Decoded, LineDecoder};
use super::reader::Cut;

/// With more cores than these the pieces in memory would be too many; what follows could not keep up either.
const MOST: usize = 16;

/// Gives the decoder back, whatever came of its piece.
type Decoding = Background<(LineDecoder, Result<Decoded>)>;

/// The pieces of a file that were cut off and not given yet, in order.
pub(crate) struct Ahead {
    schema: SchemaRef,
    /// Decoders without work. There is one more than cores: what is decoded waits while others work.
    idle: Vec<LineDecoder>,
    pieces: VecDeque<(Cut, Decoding)>,
    /// What ended the cutting. It counts after the pieces before it.
    failed: Option<Error>,
}

impl Ahead {
    pub(crate) fn new(config: &Config, schema: &Schema) -> Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from).min(MOST);
        let idle: Vec<_> = (0..=cores).map(|_| LineDecoder::new(config, schema.clone())).collect::<Result<_>>()?;
        let schema = idle.first().map(LineDecoder::schema).ok_or_else(|| Error::internal("no decoder"))?;
        Ok(Self { schema, idle, pieces: VecDeque::new(), failed: None })
    }

    pub(crate) fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Bytes and lines that were cut off and not given.
    pub(crate) fn held(&self) -> (usize, usize) {
        self.pieces.iter().fold((0, 0), |(bytes, lines), (cut, _)| (bytes + cut.bytes, lines + cut.lines()))
    }

    /// A decoder without work, if there is one.
    pub(crate) fn decoder(&mut self) -> Option<LineDecoder> {
        self.idle.pop()
    }

    /// Takes a decoder back that was given no piece.
    pub(crate) fn unused(&mut self, decoder: LineDecoder) {
        self.idle.push(decoder);
    }

    /// Has a piece decoded, which `decoder` was given.
    pub(crate) fn push(&mut self, cut: Cut, mut decoder: LineDecoder) {
        let decoding = Background::start(move || {
            let decoded = decoder.finish();
            Ok((decoder, decoded))
        });
        self.pieces.push_back((cut, decoding));
    }

    /// Forgets the pieces.
    pub(crate) async fn clear(&mut self) -> Result<()> {
        self.failed = None;
        for (_, decoding) in std::mem::take(&mut self.pieces) {
            let (decoder, _) = decoding.wait().await?;
            self.idle.push(decoder);
        }
        Ok(())
    }

    /// Nothing more can be cut off.
    pub(crate) fn fail(&mut self, error: Error) {
        self.failed = Some(error);
    }

    /// The next piece, once it is decoded.
    pub(crate) async fn next(&mut self) -> Result<Option<(Cut, Decoded)>> {
        let Some((cut, decoding)) = self.pieces.pop_front() else {
            return self.failed.take().map_or(Ok(None), Err);
        };
        let (decoder, decoded) = decoding.wait().await?;
        self.idle.push(decoder);
        Ok(Some((cut, decoded?)))
    }
}
