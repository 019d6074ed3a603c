//! Rows that the server refuses, told apart from the others (`errors.tolerance=all`).
//!
//! A micro-batch is tried as a whole first: that costs nothing but holding on to its rows. If the server refuses it, it is
//! rolled back and tried again piece by piece, each under a savepoint: a piece that is refused is divided, where the server
//! names a row by that row, else in the middle, until single rows are left. The good rows of all pieces and the progress
//! are committed in one transaction as ever.

use levada_connector_api::{BadRow, Batch, Error, Result};

use super::session::{Session, UnderWay};

/// What is known of the rows of the micro-batch under way.
#[derive(Default)]
pub(super) struct Gathered {
    /// Its rows, in order.
    batches: Vec<Batch>,
    /// It was refused as a whole.
    piecewise: bool,
    /// Its good rows are in the table, but for the commit.
    pub(super) prepared: bool,
}

/// Why rows could not be sent.
pub(super) struct Failure {
    pub(super) error: Error,
    /// Another transaction may have got in the way.
    pub(super) conflict: bool,
    /// It is for the rows' sake, and would be so again.
    pub(super) refused: Option<Refused>,
}

/// A row that is refused, or one of several.
pub(super) struct Refused {
    /// Its number among those that were sent, where that is known.
    pub(super) row: Option<usize>,
    pub(super) reason: String,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error, conflict: false, refused: None }
    }
}

impl Session {
    /// Sends rows, unless it is known already that some of the micro-batch's are refused.
    pub(super) async fn write_tolerantly(&mut self, batch: Batch) -> Result<()> {
        self.gathered.batches.push(batch.clone());
        if self.gathered.piecewise {
            return Ok(());
        }
        match self.send(&batch).await {
            Ok(()) => Ok(()),
            Err(failure) => self.give_up_the_whole(failure).await,
        }
    }

    async fn give_up_the_whole(&mut self, failure: Failure) -> Result<()> {
        if failure.refused.is_none() {
            return Err(failure.error);
        }
        tracing::debug!(error = %failure.error, "rows are refused: they are looked for");
        self.gathered.piecewise = true;
        self.roll_back().await
    }

    /// Brings the rows into the table, but for the commit. Answers with those that are refused.
    ///
    /// # Errors
    /// A newer run has taken over, or the connection is lost.
    pub(crate) async fn prepare(&mut self) -> Result<Vec<BadRow>> {
        match self.try_prepare().await {
            Ok(refused) => Ok(refused),
            Err(error) => Err(self.judge(error).await),
        }
    }

    async fn try_prepare(&mut self) -> Result<Vec<BadRow>> {
        if !self.tolerant || self.gathered.batches.is_empty() {
            return Ok(Vec::new());
        }
        if !self.gathered.piecewise
            && let Err(failure) = self.bring_all().await
        {
            self.give_up_the_whole(failure).await?;
        }
        let batches = std::mem::take(&mut self.gathered.batches);
        let refused = match self.gathered.piecewise {
            true => self.bring_pieces(batches).await?,
            false => Vec::new(),
        };
        self.gathered.prepared = true;
        Ok(refused)
    }

    async fn bring_all(&mut self) -> Result<(), Failure> {
        self.fill().await?;
        self.merge().await?;
        self.execute("SET CONSTRAINTS ALL IMMEDIATE").await
    }

    async fn bring_pieces(&mut self, batches: Vec<Batch>) -> Result<Vec<BadRow>> {
        self.faults.at("postgres.sink.pieces.before")?;
        self.begin().await?;
        // Rows of a newer run would be taken for duplicates otherwise.
        self.progress.hold(&mut self.connection).await?;
        let mut refused = Vec::new();
        let mut pieces = batches;
        pieces.reverse();
        while let Some(piece) = pieces.pop() {
            let begun = self.execute("SAVEPOINT levada_piece").await;
            begun.map_err(|failure| failure.error)?;
            let Err(failure) = self.bring_piece(&piece).await else {
                self.execute("RELEASE SAVEPOINT levada_piece").await.map_err(|failure| failure.error)?;
                continue;
            };
            let Some(why) = failure.refused else { return Err(failure.error) };
            // An unfinished COPY is given up when it is dropped.
            self.under_way = Some(UnderWay::new(&self.statements));
            let undone = self.execute("ROLLBACK TO SAVEPOINT levada_piece; RELEASE SAVEPOINT levada_piece").await;
            undone.map_err(|failure| failure.error)?;
            match piece.num_rows() {
                0 | 1 => refused.push(piece.bad_row(0, "sink", why.reason)),
                rows => pieces.extend(divide(&piece, why.row.filter(|row| *row < rows)).into_iter().rev()),
            }
        }
        Ok(refused)
    }

    /// Rows from first to last, with all that the server has to say of them.
    async fn bring_piece(&mut self, piece: &Batch) -> Result<(), Failure> {
        self.under_way = Some(UnderWay::new(&self.statements));
        if self.statements.prepare.is_some() {
            self.execute("TRUNCATE pg_temp.levada_stage").await?;
        }
        self.send(piece).await?;
        self.fill().await?;
        self.merge().await?;
        self.execute("SET CONSTRAINTS ALL IMMEDIATE").await
    }

    async fn execute(&mut self, sql: &str) -> Result<(), Failure> {
        match self.connection.client.batch_execute(sql).await {
            Ok(()) => Ok(()),
            Err(error) => {
                let place = self.place.clone();
                Err(self.failed(&place, error).await)
            }
        }
    }
}

/// The parts of a batch: what is before `row`, it alone, and what is behind; without it, two halves.
fn divide(batch: &Batch, row: Option<usize>) -> Vec<Batch> {
    let rows = batch.num_rows();
    let cuts = match row {
        Some(row) => vec![0, row, row + 1, rows],
        None => vec![0, rows / 2, rows],
    };
    let part = |(from, to): (&usize, &usize)| {
        let rows = batch.rows.slice(*from, to - from);
        (to > from).then(|| Batch::with_origin(rows, batch.origin.sliced(*from)))
    };
    cuts.iter().zip(cuts.iter().skip(1)).filter_map(part).collect()
}
