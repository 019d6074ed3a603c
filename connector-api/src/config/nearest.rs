//! The name that was probably meant.

/// The candidate nearest to `name`, if one is near enough to be meant. Case does not count.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = name.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&wanted, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| {
            // A slip, and no other word: of four letters one.
            let length = name.len().max(candidate.len());
            *distance <= (1 + length / 4).min((length / 3).max(1))
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_slip_is_recognised_and_another_word_is_not() {
        let keys = ["output.mode", "trigger", "source.path"];
        assert_eq!(nearest("ouptut.mode", keys), Some("output.mode"));
        assert_eq!(nearest("Triger", keys), Some("trigger"));
        assert_eq!(nearest("colour", keys), None);
        assert_eq!(nearest("sha2", ["char"]), None);
    }
}
