//! Random trees in each format: the scorer gives what a walk written from the format's own rules gives.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Array, Float64Array};
use levada_transform_model::{Ask, Model, Scorer, parse};
use proptest::prelude::*;

use crate::formats::{Flat, Shape, flats, lightgbm, onnx, ubjson, xgboost_json};

pub(crate) const FEATURES: usize = 4;

/// Thresholds: few, so that features meet them.
fn threshold() -> impl Strategy<Value = f32> {
    prop_oneof![
        Just(0.0f32),
        Just(-0.0),
        Just(1.0),
        Just(-1.5),
        Just(0.1),
        Just(1e-38),
        Just(1e-40),
        Just(1e-35),
        Just(-1e-35),
        Just(3.4e38),
        Just(f32::MIN),
        -2.0f32..2.0,
    ]
}

fn shape() -> impl Strategy<Value = Shape> {
    let leaf = (-4.0f32..4.0).prop_map(Shape::Leaf);
    leaf.prop_recursive(7, 120, 2, |inner| {
        (0..FEATURES, threshold(), any::<bool>(), inner.clone(), inner).prop_map(
            |(feature, at, nan_left, left, right)| Shape::Split {
                feature,
                at,
                nan_left,
                left: Box::new(left),
                right: Box::new(right),
            },
        )
    })
}

/// A deep, narrow tree: the kernel stops early on such.
fn chain() -> impl Strategy<Value = Shape> {
    prop::collection::vec((0..FEATURES, threshold(), any::<bool>(), any::<bool>()), 1..40).prop_map(|splits| {
        splits.into_iter().enumerate().fold(Shape::Leaf(0.25), |tree, (at_level, (feature, at, nan_left, first))| {
            let leaf = Shape::Leaf(at_level as f32);
            let (left, right) = if first { (tree, leaf) } else { (leaf, tree) };
            Shape::Split { feature, at, nan_left, left: Box::new(left), right: Box::new(right) }
        })
    })
}

/// Features: each tree's thresholds, one step beside them in both precisions, and what is special.
pub(crate) fn rows(trees: &[Shape], seed: u64) -> Vec<[f64; FEATURES]> {
    let mut values = vec![
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        0.0,
        -0.0,
        f64::MIN_POSITIVE,
        1e-36,
        -1e-36,
        1e300,
        f64::MAX,
        0.3,
    ];
    for node in flats(trees).iter().flatten().filter(|node| node.children.is_some()) {
        let at = f64::from(node.at);
        let (up, down) = (f64::from(node.at.next_up()), f64::from(node.at.next_down()));
        // Between two floats: rounding decides.
        values.extend([at, at.next_up(), at.next_down(), up, down, (at + up) / 2.0, ((at + up) / 2.0).next_up()]);
    }
    let mut state = seed | 1;
    let mut pick = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        values[(state % values.len() as u64) as usize]
    };
    (0..601).map(|_| std::array::from_fn(|_| pick())).collect()
}

pub(crate) fn columns(rows: &[[f64; FEATURES]]) -> Vec<ArrayRef> {
    let column = |at: usize| Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| row[at]))) as ArrayRef;
    (0..FEATURES).map(column).collect()
}

/// Walks each tree; `goes_left` is the format's rule. The leaf's value of each tree.
fn walk(trees: &[Shape], row: &[f64], goes_left: impl Fn(&Flat, f64) -> bool) -> Vec<f32> {
    let value = |nodes: &Vec<Flat>| {
        let mut at = 0;
        while let Some((left, right)) = nodes[at].children {
            at = if goes_left(&nodes[at], row[nodes[at].feature]) { left } else { right };
        }
        nodes[at].at
    };
    flats(trees).iter().map(value).collect()
}

fn check(model: Model, rows: &[[f64; FEATURES]], expected: impl Fn(&[f64]) -> f64) -> Result<(), TestCaseError> {
    let scorer = Scorer::new(model);
    let given = columns(rows);
    for threads in [1, 3] {
        let scored = scorer
            .score(
                &given,
                rows.len(),
                &Ask { raw: true, probability: true, leaves: threads == 3, threads, ..Ask::default() },
            )
            .unwrap();
        for (row, features) in rows.iter().enumerate() {
            let wanted = expected(features);
            let got = scored.scores.prediction[row];
            prop_assert!(got.to_bits() == wanted.to_bits(), "row {features:?}: {got}, not {wanted}");
            let plain = scorer.model().walk(features);
            prop_assert_eq!(plain.prediction[0].to_bits(), wanted.to_bits());
            if threads == 3 {
                let trees = scored.scores.trees;
                prop_assert_eq!(&scored.scores.leaves[row * trees..(row + 1) * trees], &plain.leaves[..]);
            }
        }
    }
    Ok(())
}

pub(crate) fn trees() -> impl Strategy<Value = Vec<Shape>> {
    prop::collection::vec(prop_oneof![4 => shape(), 1 => chain()], 1..6)
}

fn sum32(start: f32, values: &[f32]) -> f64 {
    f64::from(values.iter().fold(start, |sum, value| sum + value))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn xgboost(trees in trees(), seed in any::<u64>()) {
        let json = xgboost_json(&trees, FEATURES);
        let rule = |node: &Flat, x: f64| if (x as f32).is_nan() { node.nan_left } else { (x as f32) < node.at };
        let rows = rows(&trees, seed);
        let expected = |row: &[f64]| sum32(0.5, &walk(&trees, row, rule));
        check(parse(json.as_bytes()).unwrap(), &rows, expected)?;
        let document = serde_json::from_str(&json).unwrap();
        check(parse(&ubjson(&document)).unwrap(), &rows, expected)?;
    }

    #[test]
    fn lightgbm_text(trees in trees(), seed in any::<u64>(), missing in 0u8..3) {
        let rule = |node: &Flat, x: f64| {
            let x = if x.abs() <= f64::from(1e-35f32) { 0.0 } else { x };
            let x = if x.is_nan() && missing != 2 { 0.0 } else { x };
            if (missing == 1 && x == 0.0) || (missing == 2 && x.is_nan()) { node.nan_left } else { x <= f64::from(node.at) }
        };
        let expected = |row: &[f64]| walk(&trees, row, rule).iter().fold(0.0, |sum, value| sum + f64::from(*value));
        check(parse(lightgbm(&trees, FEATURES, missing).as_bytes()).unwrap(), &rows(&trees, seed), expected)?;
    }

    #[test]
    fn onnx_of_each_mode(trees in trees(), seed in any::<u64>(), mode in 0usize..6) {
        let name = ["BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ"][mode];
        let rule = |node: &Flat, x: f64| {
            let x = x as f32;
            let passes = match mode {
                0 => x <= node.at,
                1 => x < node.at,
                2 => x >= node.at,
                3 => x > node.at,
                4 => x == node.at,
                _ => x != node.at,
            };
            passes || (x.is_nan() && node.nan_left)
        };
        let expected = |row: &[f64]| sum32(0.0, &walk(&trees, row, rule));
        check(parse(&onnx(&trees, FEATURES, name)).unwrap(), &rows(&trees, seed), expected)?;
    }

    #[test]
    fn columns_of_floats_and_slices(trees in trees(), seed in any::<u64>(), skip in 0usize..300) {
        let scorer = Scorer::new(parse(xgboost_json(&trees, FEATURES).as_bytes()).unwrap());
        let rows = rows(&trees, seed);
        let narrow = |at: usize| Arc::new(Float32Array::from_iter_values(rows.iter().map(|row| row[at] as f32))) as ArrayRef;
        let wide = scorer.score(&columns(&rows), rows.len(), &Ask::default()).unwrap();
        let part: Vec<ArrayRef> = (0..FEATURES).map(|at| narrow(at).slice(skip, rows.len() - skip)).collect();
        let sliced = scorer.score(&part, rows.len() - skip, &Ask::default()).unwrap();
        prop_assert_eq!(&wide.scores.prediction[skip..], &sliced.scores.prediction[..]);
    }

    #[test]
    fn damaged_bytes_are_errors_not_panics(trees in trees(), cut in 0.0f64..1.0, at in 0.0f64..1.0, byte in any::<u8>()) {
        let json = xgboost_json(&trees, FEATURES);
        let document = serde_json::from_str(&json).unwrap();
        let all = [json.into_bytes(), ubjson(&document), lightgbm(&trees, FEATURES, 2).into_bytes(), onnx(&trees, FEATURES, "BRANCH_LEQ")];
        for mut bytes in all {
            let length = bytes.len();
            prop_assert!(parse(&bytes[..((length - 1) as f64 * cut) as usize]).is_err() || cut > 0.9);
            bytes[((length - 1) as f64 * at) as usize] = byte;
            // It may still be a model; what matters is that it is read or refused.
            if let Ok(model) = parse(&bytes) {
                let inputs = model.inputs.len();
                if inputs < 100 {
                    let column: ArrayRef = Arc::new(Float64Array::from(vec![0.5; 3]));
                    let _ = Scorer::new(model).score(&vec![column; inputs], 3, &Ask::default());
                }
            }
        }
    }
}
