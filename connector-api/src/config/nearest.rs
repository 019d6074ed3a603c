//! The name that was probably meant.

/// The candidate nearest to `name`, if one is near enough to be meant. Case does not count.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = name.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&wanted, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + name.len().max(candidate.len()) / 4)
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
    }
}
