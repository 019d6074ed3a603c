//! What the sums of the leaves mean: raw predictions, probabilities, a prediction.

/// XGBoost's objectives, by what they do to a margin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// Nothing.
    Identity,
    /// `1 / (1 + exp(-m))`, a number.
    Sigmoid,
    /// `exp(m)`.
    Exp,
    /// 1 where the margin is above zero.
    Hinge,
    /// `1 / (1 + exp(-m))`, the probability of class 1.
    Binary,
    /// The shares of `exp(m)`, the probabilities of the classes.
    Softmax,
    /// The first class of the largest margin.
    Argmax,
}

/// What is done after the votes are put together, in ONNX.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Post {
    /// Nothing.
    None,
    /// The logistic function.
    Logistic,
    /// Softmax.
    Softmax,
    /// Softmax in which zeros stay as they are.
    SoftmaxZero,
    /// The inverse of the normal distribution.
    Probit,
}

/// The labels of an ONNX classifier's binary case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Binary {
    /// All votes are for one class.
    pub one_class: bool,
    /// No vote is negative.
    pub positive: bool,
}

/// LightGBM's objectives.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Lightgbm {
    /// Nothing is done.
    Identity,
    /// `sign(m) · m²`.
    SignedSquare,
    /// `exp(m)`.
    Exp,
    /// `1 / (1 + exp(-m))`.
    Sigmoid,
    /// `ln(1 + exp(m))`.
    LogOnePlusExp,
    /// A class: `1 / (1 + exp(-s·m))`.
    Binary(f64),
    /// Classes: softmax.
    Softmax,
    /// Classes: `1 / (1 + exp(-s·m))` each.
    OneVsAll(f64),
}

/// What the sums mean.
#[derive(Debug, Clone, PartialEq)]
pub enum Head {
    /// Spark's decision tree and random forest classifiers.
    SparkClassifier {
        /// What probabilities are divided by before the largest wins.
        thresholds: Option<Vec<f64>>,
    },
    /// Spark's gradient-boosted trees classifier.
    SparkBoosted {
        /// What probabilities are divided by before the largest wins.
        thresholds: Option<Vec<f64>>,
    },
    /// Spark's regressions: the sum over this.
    SparkRegression(f64),
    /// XGBoost.
    Xgboost(Link),
    /// LightGBM.
    Lightgbm {
        /// What is done to the margins.
        link: Lightgbm,
        /// What margins are divided by before that.
        divide: f64,
    },
    /// ONNX regressions.
    OnnxRegression {
        /// What is done at the end.
        post: Post,
        /// What is added to each target.
        base: Vec<f64>,
        /// What sums are divided by.
        divide: f64,
        /// Whether a target without votes gives zero, whatever its base.
        untouched_is_zero: bool,
    },
    /// ONNX classifiers.
    OnnxClassifier {
        /// What is done at the end.
        post: Post,
        /// What is added to the classes.
        base: Vec<f64>,
        /// What to know about two classes.
        binary: Binary,
        /// The classes' numbers, where they are no text.
        numbers: Option<Vec<i64>>,
    },
}

/// Scores of rows, each list row by row.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Scores {
    /// How many rows there are.
    pub rows: usize,
    /// The prediction: a number, or a class as the model numbers it.
    pub prediction: Vec<f64>,
    /// How many probabilities a row has.
    pub classes: usize,
    /// The probabilities.
    pub probability: Vec<f64>,
    /// How many raw predictions a row has.
    pub raws: usize,
    /// The raw predictions.
    pub raw: Vec<f64>,
    /// How many leaf numbers a row has: as many as there are trees, or none if they were not asked for.
    pub trees: usize,
    /// The leaf that each tree led to.
    pub leaves: Vec<u32>,
    /// The variance at the leaf, where it was asked for.
    pub variance: Vec<f64>,
}

impl Head {
    /// The number of probabilities a row has, for votes of `targets` targets.
    pub fn classes(&self, targets: usize) -> usize {
        match self {
            Self::SparkClassifier { .. } | Self::OnnxClassifier { .. } => targets,
            Self::SparkBoosted { .. } | Self::Xgboost(Link::Binary) => 2,
            Self::Lightgbm { link: Lightgbm::Binary(_), .. } => 2,
            Self::Xgboost(Link::Softmax | Link::Argmax) => targets,
            Self::Lightgbm { link: Lightgbm::Softmax | Lightgbm::OneVsAll(_), .. } => targets,
            _ => 0,
        }
    }

    /// The number of raw predictions a row has.
    pub fn raws(&self, targets: usize) -> usize {
        match self {
            Self::SparkBoosted { .. } => 2,
            Self::SparkRegression(_) | Self::OnnxRegression { .. } | Self::OnnxClassifier { .. } => 0,
            _ => targets,
        }
    }

    /// How many predictions a row has: several only for a regression of several targets.
    pub fn predictions(&self, targets: usize) -> usize {
        match self {
            Self::OnnxRegression { .. } => targets,
            _ => 1,
        }
    }

    /// Turns the sums of one row into a prediction, probabilities and raw predictions. `touched`: which targets had votes.
    /// The slices are as long as [`classes`](Self::classes), [`raws`](Self::raws) and
    /// [`predictions`](Self::predictions) say.
    pub(crate) fn finish(
        &self,
        sums: &mut [f64],
        touched: &[bool],
        prediction: &mut [f64],
        probability: &mut [f64],
        raw: &mut [f64],
    ) {
        let answer;
        match self {
            Self::SparkClassifier { thresholds } => {
                raw.copy_from_slice(sums);
                let sum: f64 = sums.iter().sum();
                for (probability, sum_of_class) in probability.iter_mut().zip(sums.iter()) {
                    *probability = if sum == 0.0 { *sum_of_class } else { sum_of_class / sum };
                }
                answer = choose(sums, probability, thresholds.as_deref());
            }
            Self::SparkBoosted { thresholds } => {
                if let ([m], [raw0, raw1], [p0, p1]) = (&*sums, &mut *raw, &mut *probability) {
                    (*raw0, *raw1) = (-m, *m);
                    *p0 = 1.0 / (1.0 + (-2.0 * *raw0).exp());
                    *p1 = 1.0 - *p0;
                }
                answer = choose(raw, probability, thresholds.as_deref());
            }
            Self::SparkRegression(divide) => answer = first(sums) / divide,
            Self::Xgboost(link) => {
                raw.copy_from_slice(sums);
                answer = xgboost(*link, sums, probability);
            }
            Self::Lightgbm { link, divide } => {
                raw.copy_from_slice(sums);
                sums.iter_mut().for_each(|sum| *sum /= divide);
                answer = lightgbm(*link, sums, probability);
            }
            Self::OnnxRegression { post, base, divide, untouched_is_zero } => {
                onnx_regression(sums, touched, *post, base, *divide, *untouched_is_zero);
                prediction.copy_from_slice(sums);
                return;
            }
            Self::OnnxClassifier { post, base, binary, numbers } => {
                answer = onnx_class(sums, touched, *post, base, *binary, probability, numbers.as_deref());
            }
        }
        if let Some(prediction) = prediction.first_mut() {
            *prediction = answer;
        }
    }
}

fn first(of: &[f64]) -> f64 {
    of.first().copied().unwrap_or(0.0)
}

/// The place of the first largest number, as Spark finds it: NaN is never larger.
fn argmax(of: impl IntoIterator<Item = f64>) -> usize {
    let (mut place, mut largest) = (0, f64::NEG_INFINITY);
    for (at, x) in of.into_iter().enumerate() {
        if at == 0 || x > largest {
            (place, largest) = (at, x);
        }
    }
    place
}

fn choose(raw: &[f64], probability: &[f64], thresholds: Option<&[f64]>) -> f64 {
    let place = match thresholds {
        None => argmax(raw.iter().copied()),
        Some(thresholds) => argmax(probability.iter().zip(thresholds).map(|(p, t)| match (*p, *t) {
            (p, 0.0) if p > 0.0 => f64::INFINITY,
            (_, 0.0) => f64::NEG_INFINITY,
            (p, t) => p / t,
        })),
    };
    place as f64
}

fn sigmoid32(x: f32) -> f32 {
    1.0 / ((-x).min(88.7).exp() + 1.0 + 1e-16)
}

fn xgboost(link: Link, sums: &[f64], probability: &mut [f64]) -> f64 {
    let margin = first(sums) as f32;
    match link {
        Link::Identity => f64::from(margin),
        Link::Sigmoid => f64::from(sigmoid32(margin)),
        Link::Exp => f64::from(margin.exp()),
        Link::Hinge => f64::from(u8::from(margin > 0.0)),
        Link::Binary => {
            let p = sigmoid32(margin);
            if let [p0, p1] = probability {
                (*p0, *p1) = (f64::from(1.0 - p), f64::from(p));
            }
            f64::from(u8::from(p > 0.5))
        }
        Link::Softmax | Link::Argmax => {
            let largest = sums.iter().fold(f32::NEG_INFINITY, |largest, m| largest.max(*m as f32));
            let mut total = 0.0f32;
            for (p, m) in probability.iter_mut().zip(sums) {
                let e = (*m as f32 - largest).exp();
                total += e;
                *p = f64::from(e);
            }
            probability.iter_mut().for_each(|p| *p = f64::from(*p as f32 / total));
            let ranked: &[f64] = if link == Link::Softmax { probability } else { sums };
            argmax(ranked.iter().copied()) as f64
        }
    }
}

fn lightgbm(link: Lightgbm, sums: &[f64], probability: &mut [f64]) -> f64 {
    let m = first(sums);
    match link {
        Lightgbm::Identity => m,
        Lightgbm::SignedSquare => m.abs() * m,
        Lightgbm::Exp => m.exp(),
        Lightgbm::Sigmoid => 1.0 / (1.0 + (-m).exp()),
        Lightgbm::LogOnePlusExp => m.exp().ln_1p(),
        Lightgbm::Binary(s) => {
            let p = 1.0 / (1.0 + (-s * m).exp());
            if let [p0, p1] = probability {
                (*p0, *p1) = (1.0 - p, p);
            }
            f64::from(u8::from(p > 0.5))
        }
        Lightgbm::Softmax => {
            let largest = sums.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let mut total = 0.0;
            for (p, m) in probability.iter_mut().zip(sums) {
                *p = (m - largest).exp();
                total += *p;
            }
            probability.iter_mut().for_each(|p| *p /= total);
            argmax(probability.iter().copied()) as f64
        }
        Lightgbm::OneVsAll(s) => {
            for (p, m) in probability.iter_mut().zip(sums) {
                *p = 1.0 / (1.0 + (-s * m).exp());
            }
            argmax(probability.iter().copied()) as f64
        }
    }
}

fn add32(a: f64, b: f64) -> f64 {
    f64::from(a as f32 + b as f32)
}

fn logistic32(x: f32) -> f32 {
    let v = 1.0 / (1.0 + (-x.abs()).exp());
    if x < 0.0 { 1.0 - v } else { v }
}

/// The approximation of the inverse error function that onnxruntime has.
fn probit32(x: f32) -> f32 {
    let x = 2.0 * x - 1.0;
    let sign = if x < 0.0 { -1.0 } else { 1.0 };
    let log = ((1.0 - x) * (1.0 + x)).ln();
    let v = 2.0 / (std::f32::consts::PI * 0.147) + 0.5 * log;
    let v2 = 1.0 / 0.147 * log;
    let v3 = -v + (v * v - v2).sqrt();
    std::f32::consts::SQRT_2 * sign * v3.sqrt()
}

fn apply(post: Post, values: &mut [f64]) {
    match post {
        Post::None => {}
        Post::Logistic => values.iter_mut().for_each(|v| *v = f64::from(logistic32(*v as f32))),
        Post::Probit => values.iter_mut().for_each(|v| *v = f64::from(probit32(*v as f32))),
        Post::Softmax | Post::SoftmaxZero => {
            let largest = values.iter().fold(f32::MIN, |largest, v| largest.max(*v as f32));
            let scale = (-largest).exp();
            let mut total = 0.0f32;
            for v in values.iter_mut() {
                let x = *v as f32;
                if post == Post::Softmax || x.abs() > 1e-7 {
                    let e = (x - largest).exp();
                    total += e;
                    *v = f64::from(e);
                } else {
                    *v = f64::from(x * scale);
                }
            }
            values.iter_mut().for_each(|v| *v = f64::from(*v as f32 / total));
        }
    }
}

fn onnx_regression(sums: &mut [f64], touched: &[bool], post: Post, base: &[f64], divide: f64, zero: bool) {
    if divide != 1.0 {
        sums.iter_mut().for_each(|sum| *sum = f64::from(*sum as f32 / divide as f32));
    }
    if let [sum] = sums {
        *sum = add32(*sum, first(base));
        // With one target only the inverse normal is applied.
        if post == Post::Probit {
            apply(post, sums);
        }
        return;
    }
    let has_base = base.len() == sums.len();
    for (target, sum) in sums.iter_mut().enumerate() {
        if has_base {
            *sum = add32(*sum, base.get(target).copied().unwrap_or(0.0));
        }
        if zero && !touched.get(target).copied().unwrap_or(false) {
            *sum = 0.0;
        }
    }
    apply(post, sums);
}

/// The class and the probabilities, in the way that onnxruntime has them where the standard is silent.
fn onnx_class(
    sums: &mut [f64],
    touched: &[bool],
    post: Post,
    base: &[f64],
    binary: Binary,
    probability: &mut [f64],
    numbers: Option<&[i64]>,
) -> f64 {
    let label = |place: usize| match numbers {
        Some(numbers) => numbers.get(place).map_or(place as f64, |number| *number as f64),
        None => place as f64,
    };
    let has = |target: usize| touched.get(target).copied().unwrap_or(false);
    let base_of = |target: usize| base.get(target).copied().unwrap_or(0.0);
    let &mut [mut first, mut second] = sums else {
        let mut best: Option<(usize, f64)> = None;
        for (target, sum) in sums.iter_mut().enumerate() {
            *sum = add32(*sum, base_of(target));
            let counts = has(target) || target < base.len();
            if counts && best.is_none_or(|(_, largest)| *sum > largest) {
                best = Some((target, *sum));
            }
        }
        let class = best.map_or(0, |(target, _)| target);
        apply(post, sums);
        probability.copy_from_slice(sums);
        return label(class);
    };
    let mut single = false;
    let mut second_has = has(1);
    match base.len() {
        2 if second_has => {
            second = add32(base_of(1), first);
            first = -second;
        }
        2 => {
            second = 0.0;
            first = add32(first, base_of(0));
        }
        1 => {
            first = add32(first, base_of(0));
            single = !second_has;
        }
        _ => single = !second_has,
    }
    second_has &= !single;
    let weight = if second_has { second } else { first };
    let limit = if binary.one_class && binary.positive { 0.5 } else { 0.0 };
    let wins = weight > limit;
    let class = usize::from(wins);
    if single {
        let complement = binary.one_class && binary.positive;
        let (p0, p1) = match post {
            Post::Probit => (f64::from(probit32(first as f32)), 0.0),
            // Where other rows vote for both and there is one base value, onnxruntime writes the sum as it is, and
            // nothing for the second class.
            _ if !binary.one_class && base.len() == 1 => (first, 0.0),
            Post::Logistic if complement => {
                let p = logistic32(first as f32);
                (f64::from(1.0 - p), f64::from(p))
            }
            _ if complement => (f64::from(1.0 - first as f32), first),
            Post::Logistic => (f64::from(logistic32(-first as f32)), f64::from(logistic32(first as f32))),
            _ => (-first, first),
        };
        if let [a, b] = probability {
            (*a, *b) = (p0, p1);
        }
    } else if let [a, b] = probability {
        // As of a regression's targets: without a vote there is no base value either.
        (*a, *b) = (if has(0) { first } else { 0.0 }, second);
        apply(post, probability);
    }
    // Where both classes are voted for, the answer is 0 or 1, whatever the numbers are.
    if binary.one_class || numbers.is_none() { label(class) } else { class as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What onnxruntime 1.31 gives where a row's leaves vote for the first of two classes only, and others' for both.
    #[test]
    fn a_row_without_votes_for_the_second_class() {
        for (post, wanted) in
            [(Post::None, 0.5), (Post::Logistic, 0.5), (Post::Softmax, 0.5), (Post::Probit, f64::from(probit32(0.5)))]
        {
            let binary = Binary { one_class: false, positive: true };
            let head = Head::OnnxClassifier { post, base: vec![0.25], binary, numbers: Some(vec![0, 1]) };
            let (mut prediction, mut probability) = ([9.0], [9.0; 2]);
            head.finish(&mut [0.25, 0.0], &[true, false], &mut prediction, &mut probability, &mut []);
            assert_eq!((prediction, probability), ([1.0], [wanted, 0.0]), "{post:?}");
        }
    }
}
