//! Lines of words, distributed as in a text: the word of rank k comes as often as 1 / k.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use levada_connector_api::{Result, columns};

use super::columns::Text;
use super::{Draw, Generate, Options};

/// The largest vocabulary: every word then has three syllables at most, and fits a slot.
pub(super) const MAX_DISTINCT: u64 = SYLLABLES + SYLLABLES * SYLLABLES + SYLLABLES * SYLLABLES * SYLLABLES;

const CONSONANTS: [u8; 20] = *b"tnshrdlcmwfgypbvkjxz";
const VOWELS: [u8; 5] = *b"eaoiu";
const SYLLABLES: u64 = 100;

/// Generates the column `value`.
pub(super) struct Words {
    schema: SchemaRef,
    seed: u64,
    per_line: u64,
    /// By rank: the word and a space in the low bytes, and how many bytes that is in the highest. A word is appended
    /// with one copy of fixed size.
    words: Vec<u64>,
    /// Vose's alias table by rank: below the threshold it is the rank itself, otherwise the other one.
    aliases: Vec<(u32, u32)>,
}

impl Words {
    pub(super) fn new(options: &Options) -> Self {
        let distinct = options.distinct.clamp(1, MAX_DISTINCT);
        Self {
            schema: Arc::new(Schema::new(vec![Field::new(columns::VALUE, DataType::Utf8, true)])),
            seed: options.seed,
            per_line: options.words_per_line.max(1),
            words: (0..distinct).map(slot).collect(),
            aliases: alias_table(distinct, options.skew),
        }
    }

    fn word(&self, random: u64) -> u64 {
        // The high half chooses a column of the table, the low half one of the column's two words.
        let column = ((random >> 32) * self.aliases.len() as u64) >> 32;
        let Some((threshold, alias)) = self.aliases.get(column as usize) else { return 0 };
        let rank = if random as u32 <= *threshold { column as usize } else { *alias as usize };
        self.words.get(rank).copied().unwrap_or(0)
    }
}

impl Generate for Words {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn generate(&self, first: u64, rows: usize, bytes: usize) -> Result<(RecordBatch, usize)> {
        let mut text = Text::with_capacity(rows, (self.per_line as usize * 5).min(bytes / rows.max(1) + 8));
        for row in 0..rows {
            let start = text.bytes.len();
            let draw = Draw::row(self.seed, first.wrapping_add(row as u64));
            for i in 0..self.per_line {
                let word = self.word(draw.get(i));
                let end = text.bytes.len() + (word >> 56) as usize;
                text.bytes.extend_from_slice(&word.to_le_bytes());
                text.bytes.truncate(end);
            }
            // The last word's space stands for the line's end, and is counted as that.
            if row > 0 && text.bytes.len() + row > bytes {
                text.bytes.truncate(start);
                break;
            }
            text.bytes.pop();
            text.end()?;
        }
        let rows = text.rows();
        let bytes = text.bytes.len() + rows;
        Ok((RecordBatch::try_new(self.schema(), vec![text.finish()?])?, bytes))
    }
}

/// The word of a rank, the frequent ones short as in a language.
fn slot(rank: u64) -> u64 {
    let mut slot = u64::from(b' ');
    let (mut rest, mut length) = (rank, 1);
    loop {
        let (syllable, vowels) = ((rest % SYLLABLES) as usize, VOWELS.len());
        let consonant = CONSONANTS.get(syllable / vowels).copied().unwrap_or(b't');
        let vowel = VOWELS.get(syllable % vowels).copied().unwrap_or(b'e');
        slot = slot << 16 | u64::from(vowel) << 8 | u64::from(consonant);
        length += 2;
        if rest < SYLLABLES {
            return slot | length << 56;
        }
        // Numbers without a zero: `te` and `tete` are two words.
        rest = rest / SYLLABLES - 1;
    }
}

/// Any rank in constant time: each column of the table holds its own rank and at most one other.
fn alias_table(distinct: u64, skew: f64) -> Vec<(u32, u32)> {
    // 1 / k is exact everywhere; a power may differ in the last digit from one platform to another.
    let weight = |rank: u64| {
        let k = (rank + 1) as f64;
        if skew == 1.0 { 1.0 / k } else { k.powf(-skew) }
    };
    let total: f64 = (0..distinct).map(weight).sum();
    let mut share: Vec<f64> = (0..distinct).map(|rank| weight(rank) / total * distinct as f64).collect();
    let mut table: Vec<(u32, u32)> = (0..distinct as u32).map(|rank| (u32::MAX, rank)).collect();
    let (mut small, mut large): (Vec<u32>, Vec<u32>) =
        (0..distinct as u32).partition(|rank| share.get(*rank as usize).is_some_and(|share| *share < 1.0));
    while let (Some(poor), Some(&rich)) = (small.pop(), large.last()) {
        let own = share.get(poor as usize).copied().unwrap_or(1.0);
        if let Some(column) = table.get_mut(poor as usize) {
            *column = ((own * f64::from(u32::MAX)) as u32, rich);
        }
        if let Some(left) = share.get_mut(rich as usize) {
            *left -= 1.0 - own;
            if *left < 1.0 {
                large.pop();
                small.push(rich);
            }
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_rank_has_a_word_of_its_own() {
        let words: HashSet<_> = (0..MAX_DISTINCT).map(slot).collect();
        assert_eq!(words.len() as u64, MAX_DISTINCT);
        let text = |rank| {
            let slot = slot(rank);
            String::from_utf8(slot.to_le_bytes()[..(slot >> 56) as usize].to_vec()).unwrap()
        };
        assert_eq!([text(0), text(99), text(100)], ["te ", "zu ", "tete "]);
        assert_eq!(text(MAX_DISTINCT - 1), "zuzuzu ");
    }

    #[test]
    fn the_alias_table_gives_each_rank_its_share() {
        let (distinct, skew) = (1000, 1.0);
        let mut shares = vec![0.0; distinct as usize];
        for (rank, (threshold, alias)) in alias_table(distinct, skew).into_iter().enumerate() {
            let own = f64::from(threshold) / f64::from(u32::MAX);
            shares[rank] += own / distinct as f64;
            shares[alias as usize] += (1.0 - own) / distinct as f64;
        }
        let total: f64 = (1..=distinct).map(|k| 1.0 / k as f64).sum();
        for (rank, share) in shares.iter().enumerate() {
            let wanted = 1.0 / (rank + 1) as f64 / total;
            assert!((share - wanted).abs() < 1e-8, "rank {rank}: {share} for {wanted}");
        }
    }
}
