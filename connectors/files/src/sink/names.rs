//! The names of a task's files: they depend on the batch, never on time or chance.

/// What the sink may write.
const EXTENSIONS: [&str; 7] = ["json", "json.gz", "json.zst", "csv", "csv.gz", "csv.zst", "parquet"];

/// The names of the files of one task.
#[derive(Debug, Clone, Default)]
pub(crate) struct Names {
    prefix: String,
}

impl Names {
    /// Those of task `task`, for the owner `number` of the folder: the first has no number in its names.
    pub(crate) fn new(task: u32, number: u32) -> Self {
        let prefix = match number {
            0 => format!("part-{task:05}"),
            number => format!("part-{task:05}-{number}"),
        };
        Self { prefix }
    }

    /// The name of the file of a micro-batch; without one, of the whole result.
    pub(crate) fn of(&self, batch_id: Option<u64>, extension: &str) -> String {
        match batch_id {
            Some(batch_id) => format!("{}-{batch_id:020}.{extension}", self.prefix),
            None => format!("{}.{extension}", self.prefix),
        }
    }

    /// Whether this sink may have written a file of this name, in any mode and format. Nothing else may ever be deleted:
    /// other programs call their files `part-00000-…`, too.
    pub(crate) fn is_ours(&self, name: &str) -> bool {
        let Some(rest) = name.strip_prefix(&self.prefix) else { return false };
        let Some((batch, extension)) = rest.split_once('.') else { return false };
        let is_batch = match batch.strip_prefix('-') {
            Some(digits) => digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit()),
            None => batch.is_empty(),
        };
        is_batch && EXTENSIONS.contains(&extension)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_exactly_our_form_are_ours() {
        let (first, second) = (Names::new(0, 0), Names::new(0, 1));
        for extension in EXTENSIONS {
            for batch_id in [None, Some(7)] {
                assert!(first.is_ours(&first.of(batch_id, extension)));
                assert!(second.is_ours(&second.of(batch_id, extension)));
                assert!(!first.is_ours(&second.of(batch_id, extension)));
                assert!(!second.is_ours(&first.of(batch_id, extension)));
            }
        }
        for other in [
            "part-00000-8a9f2c1e-3b5d-4c0a-9a56-0d6a5c1f2b77-c000.snappy.parquet",
            "part-00000-00000000000000000007-c000.json",
            "part-00000-0000000000000000007.json",
            "part-00000.txt",
            "part-00000",
            "part-00001.json",
            "part-000000.json",
        ] {
            assert!(!first.is_ours(other), "{other}");
        }
    }
}
