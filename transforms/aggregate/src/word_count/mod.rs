//! Word count: how often each word of a text column has been seen.
//!
//! The work goes through three stages, each of which makes the next one's share smaller:
//!
//! 1. [`split`] finds words in the column's bytes, without copying them;
//! 2. [`delta`] counts them, one table for each [thread](pool), so that threads share nothing while they count;
//! 3. [`state`] takes what the tables counted, once a micro-batch: the totals, their order, and what has changed.

mod config;
mod delta;
mod image;
mod lower;
mod marks;
mod pool;
mod slot;
mod split;
mod state;
mod table;
mod transform;

#[cfg(test)]
mod tests;

pub use config::WordCount;
