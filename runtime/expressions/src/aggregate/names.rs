//! What aggregates are called.

use super::functions::AggregateFunction::{self, self as F};
use super::pairs::PairFunction as P;

/// The names by which the functions are called.
pub(super) const NAMES: &[(&str, AggregateFunction)] = &[
    ("count", F::Count),
    ("count_if", F::Count),
    ("sum", F::Sum),
    ("try_sum", F::Sum),
    ("avg", F::Avg),
    ("mean", F::Avg),
    ("try_avg", F::Avg),
    ("min", F::Min),
    ("max", F::Max),
    ("bool_and", F::Min),
    ("every", F::Min),
    ("bool_or", F::Max),
    ("any", F::Max),
    ("some", F::Max),
    ("variance", F::VarSamp),
    ("var_samp", F::VarSamp),
    ("var", F::VarSamp),
    ("var_sample", F::VarSamp),
    ("var_population", F::VarPop),
    ("var_pop", F::VarPop),
    ("std", F::StddevSamp),
    ("stddev", F::StddevSamp),
    ("stddev_samp", F::StddevSamp),
    ("stddev_pop", F::StddevPop),
    ("skewness", F::Skewness),
    ("kurtosis", F::Kurtosis),
    ("covar_samp", F::OfPairs(P::CovarSamp)),
    ("covar", F::OfPairs(P::CovarSamp)),
    ("covar_pop", F::OfPairs(P::CovarPop)),
    ("corr", F::OfPairs(P::Corr)),
    ("first", F::First),
    ("first_value", F::First),
    ("any_value", F::First),
    ("last", F::Last),
    ("last_value", F::Last),
    ("max_by", F::MaxBy),
    ("min_by", F::MinBy),
    ("collect_list", F::CollectList),
    ("array_agg", F::CollectList),
    ("collect_set", F::CollectSet),
    ("bit_and", F::BitAnd),
    ("bit_or", F::BitOr),
    ("bit_xor", F::BitXor),
    ("approx_count_distinct", F::ApproxCountDistinct),
    ("approx_distinct", F::ApproxCountDistinct),
    ("percentile", F::Percentile),
    ("median", F::Percentile),
    ("percentile_cont", F::Percentile),
    ("quantile_cont", F::Percentile),
    ("percentile_disc", F::PercentileDisc),
    ("percentile_approx", F::PercentileApprox),
    ("approx_percentile", F::PercentileApprox),
    ("approx_percentile_cont", F::PercentileApprox),
    ("approx_median", F::PercentileApprox),
    ("mode", F::Mode),
    ("histogram_numeric", F::Histogram),
    ("listagg", F::Listagg),
    ("string_agg", F::Listagg),
    ("regr_count", F::Count),
    ("regr_avgx", F::Avg),
    ("regr_avgy", F::Avg),
    ("regr_sxx", F::OfPairs(P::SumOfSquares)),
    ("regr_syy", F::OfPairs(P::SumOfSquares)),
    ("regr_sxy", F::OfPairs(P::SumOfProducts)),
    ("regr_slope", F::OfPairs(P::RegrSlope)),
    ("regr_intercept", F::OfPairs(P::RegrIntercept)),
    ("regr_r2", F::OfPairs(P::RegrR2)),
];

/// Aggregates that Spark has and that are not here: sketches in forms of Spark's own; and what takes the results apart.
pub(super) const MISSING: &[&str] = &[
    "approx_top_k",
    "approx_top_k_accumulate",
    "approx_top_k_combine",
    "bitmap_construct_agg",
    "bitmap_or_agg",
    "bitmap_and_agg",
    "count_min_sketch",
    "grouping",
    "grouping_id",
    "hll_sketch_agg",
    "hll_union_agg",
    "kll_sketch_agg_bigint",
    "kll_sketch_agg_double",
    "kll_sketch_agg_float",
    "theta_sketch_agg",
    "theta_union_agg",
    "theta_intersection_agg",
];

/// What to use instead of one of them.
pub(super) fn instead(name: &str) -> Option<&'static str> {
    MISSING.contains(&name).then_some(match name {
        _ if name.starts_with("approx_top_k") => {
            "mode(x) gives the most frequent value; to count all values, group by them"
        }
        _ if name.starts_with("kll_") => "percentile_approx and histogram_numeric tell how values are spread",
        "count_min_sketch" => "group by the values and count",
        _ => "approx_count_distinct counts different values",
    })
}
