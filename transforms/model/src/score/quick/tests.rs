//! Every kind of vectors gives what a plain walk gives.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::fmt::Write as _;

use super::kernel::Level;
use super::{BLOCK, Quick};
use crate::model::Model;
use crate::prepare::{Prepared, Values};
use crate::score::Ask;

struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }
}

/// Trees of XGBoost, each of `leaves` leaves, over two features with `thresholds` thresholds each.
fn model(trees: usize, leaves: usize, thresholds: usize, nan_left: &[usize]) -> Model {
    let mut random = Random(leaves as u64 * 31 + thresholds as u64);
    let mut text = String::new();
    for tree in 0..trees {
        let (mut left, mut right, mut open) = (vec![-1i64], vec![-1i64], vec![0usize]);
        while open.len() < leaves {
            let node = open.swap_remove(random.below(open.len()));
            (left[node], right[node]) = (left.len() as i64, left.len() as i64 + 1);
            open.extend([left.len(), left.len() + 1]);
            left.extend([-1, -1]);
            right.extend([-1, -1]);
        }
        let count = left.len();
        let at: Vec<f64> = (0..count).map(|_| random.below(thresholds) as f64 / 4.0 - 8.0).collect();
        let feature: Vec<usize> = (0..count).map(|_| random.below(2)).collect();
        let nan: Vec<usize> = (0..count).map(|_| nan_left[random.below(nan_left.len())]).collect();
        let comma = if tree == 0 { "" } else { "," };
        write!(
            text,
            "{comma}{{\"left_children\":{left:?},\"right_children\":{right:?},\"split_conditions\":{at:?},\
             \"split_indices\":{feature:?},\"default_left\":{nan:?}}}"
        )
        .unwrap();
    }
    let info = vec!["0"; trees].join(",");
    let text = format!(
        "{{\"learner\":{{\"learner_model_param\":{{\"base_score\":\"0.5\",\"num_class\":\"0\",\"num_feature\":\"2\"}},\
         \"objective\":{{\"name\":\"reg:squarederror\"}},\"gradient_booster\":{{\"name\":\"gbtree\",\"model\":\
         {{\"tree_info\":[{info}],\"trees\":[{text}]}}}}}}}}"
    );
    crate::parse(text.as_bytes()).unwrap()
}

#[test]
fn all_levels_agree_with_the_plain_walk() {
    let sizes = [
        (1, 8, 4),
        (1, 256, 300),
        (3, 1, 4),
        (3, 2, 4),
        (5, 16, 20),
        (5, 33, 40),
        (4, 64, 200),
        (6, 65, 300),
        (8, 256, 2000),
    ];
    for (trees, leaves, thresholds) in sizes {
        // NaN goes one way at all nodes, or not.
        for nan_left in [&[0][..], &[1], &[0, 1]] {
            let model = model(trees, leaves, thresholds, nan_left);
            let mut random = Random(7);
            let mut column = || -> Vec<f32> {
                let mut value = || match random.below(12) {
                    0 => f32::NAN,
                    1 => [f32::INFINITY, f32::NEG_INFINITY, -0.0, 0.0][random.below(4)],
                    2 => (random.below(thresholds) as f32 / 4.0 - 8.0).next_down(),
                    3 => (random.below(thresholds) as f32 / 4.0 - 8.0).next_up(),
                    _ => random.below(thresholds) as f32 / 4.0 - 8.0,
                };
                (0..2 * BLOCK + 77).map(|_| value()).collect()
            };
            let (a, b) = (column(), column());
            let prepared = Prepared { features: vec![Values::F32(&a), Values::F32(&b)], rows: None };
            let mut quick = Quick::new(&model).unwrap();
            for level in Level::all() {
                quick.level = level;
                let scores = quick.score(&model, &prepared, (3, a.len()), &Ask::default());
                for row in 3..a.len() {
                    let wanted = model.walk(&[f64::from(a[row]), f64::from(b[row])]).prediction[0];
                    let got = scores.prediction[row - 3];
                    assert_eq!(got.to_bits(), wanted.to_bits(), "{level:?}, {leaves} leaves, {} {}", a[row], b[row]);
                }
            }
        }
    }
}

#[test]
fn what_does_not_fit_is_left_to_the_walks() {
    assert!(Quick::new(&model(1, 256, 9, &[0])).is_some());
    assert!(Quick::new(&model(1, 257, 9, &[0])).is_none(), "leaves' numbers are bytes");
}
