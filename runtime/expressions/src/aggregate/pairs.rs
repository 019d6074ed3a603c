//! Aggregates of pairs of numbers.

/// What is computed of pairs of doubles; a pair counts if both are there. The result is a double.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PairFunction {
    /// The covariance of a sample.
    CovarSamp,
    /// The covariance of all.
    CovarPop,
    /// Pearson's coefficient of correlation.
    Corr,
    /// The sum of the squared differences of the first argument from its mean, where the second is not null.
    SumOfSquares,
    /// The sum of the products of the differences of both arguments from their means.
    SumOfProducts,
    /// The slope of the line that explains the first argument by the second.
    RegrSlope,
    /// The value of that line at zero.
    RegrIntercept,
    /// Which share of the variance that line explains.
    RegrR2,
}
