//! A feature's values, as the places between candidates for thresholds where they lie.

/// A feature.
pub(super) struct Bins {
    /// The candidates for thresholds, in order.
    pub(super) thresholds: Vec<f64>,
    /// For each row how many of them its value is above.
    pub(super) places: Vec<u16>,
}

impl Bins {
    /// At most `most` candidates, which are at most 65,535.
    pub(super) fn new(column: &[f64], most: usize) -> Self {
        let thresholds = thresholds(column, most);
        let place = |x: &f64| thresholds.partition_point(|threshold| x > threshold) as u16;
        let places = column.iter().map(place).collect();
        Self { thresholds, places }
    }
}

/// Midpoints between neighbouring values.
fn thresholds(column: &[f64], most: usize) -> Vec<f64> {
    let mut sorted = column.to_vec();
    sorted.sort_by(f64::total_cmp);
    // Distinct values with how many rows have them.
    let mut values: Vec<(f64, usize)> = Vec::new();
    for x in sorted {
        match values.last_mut() {
            Some((last, count)) if *last == x => *count += 1,
            _ => values.push((x, 1)),
        }
    }
    let middle = |low: f64, high: f64| (low + high) / 2.0;
    let pairs = values.windows(2).filter_map(|pair| if let [a, b] = pair { Some((*a, *b)) } else { None });
    if values.len() <= most + 1 {
        return pairs.map(|((low, _), (high, _))| middle(low, high)).filter(|at| at.is_finite()).collect();
    }
    // Where a share of the rows is full, and one value more would be further from it, there is a candidate.
    let stride = column.len() as f64 / (most + 1) as f64;
    let mut found = Vec::new();
    let (mut sum, mut target) = (0.0, stride);
    for ((low, count), (high, next)) in pairs {
        sum += count as f64;
        if (sum - target).abs() < (sum + next as f64 - target).abs() {
            found.push(middle(low, high));
            target += stride;
        }
    }
    found.retain(|at| at.is_finite());
    found
}
