//! A select list over a select list as one: the columns that the outer one reads are replaced by what they are computed
//! from, as Spark's `CollapseProject` does it.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use datafusion_common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::expressions::Column;

use super::{Expression, Predicate, Projection};

/// How often each column is read.
fn count(expression: &Expression, uses: &mut BTreeMap<usize, usize>) {
    let counted = expression.physical().apply(|node| {
        if let Some(column) = node.downcast_ref::<Column>() {
            *uses.entry(column.index()).or_default() += 1;
        }
        Ok(TreeNodeRecursion::Continue)
    });
    // The walk itself never fails.
    drop(counted);
}

fn replaced(expression: &Expression, by: &dyn Fn(usize) -> Option<Arc<dyn PhysicalExpr>>) -> Option<Expression> {
    let mut known = true;
    let replace = |node: Arc<dyn PhysicalExpr>| {
        let Some(column) = node.downcast_ref::<Column>() else { return Ok(Transformed::no(node)) };
        match by(column.index()) {
            Some(expression) => Ok(Transformed::yes(expression)),
            None => {
                known = false;
                Ok(Transformed::no(node))
            }
        }
    };
    let made = Arc::clone(expression.physical()).transform_up(replace).ok()?.data;
    known.then(|| expression.with_physical(made))
}

impl Projection {
    /// This list and `conditions`, both over what `inner` yields, over what `inner` itself reads. `None`: they must be
    /// computed one after the other, since one of them explodes an array, or a computed column is read more than once.
    pub fn over(&self, inner: &Projection, conditions: &[Predicate]) -> Option<(Projection, Vec<Predicate>)> {
        let (own, below) = (self.values()?, inner.values()?);
        let mut uses = BTreeMap::new();
        own.iter().copied().chain(conditions.iter().map(Predicate::expression)).for_each(|e| count(e, &mut uses));
        let twice = |(at, uses): (&usize, &usize)| *uses > 1 && below.get(*at).is_none_or(|e| e.column().is_none());
        if uses.iter().any(twice) {
            return None;
        }
        let by = |at: usize| below.get(at).map(|expression| Arc::clone(expression.physical()));
        let values = own.iter().map(|expression| replaced(expression, &by)).collect::<Option<_>>()?;
        let conditions = conditions
            .iter()
            .map(|condition| replaced(condition.expression(), &by).map(Predicate::of))
            .collect::<Option<_>>()?;
        Some((self.with_values(values), conditions))
    }

    /// This list over batches that have only those columns of its input that it [reads](Self::reads), in order, and the
    /// schema of these. A list with an explode reads its whole input.
    pub fn narrowed(&self, input: &SchemaRef) -> (Projection, Vec<usize>, SchemaRef) {
        let all = || (self.clone(), (0..input.fields().len()).collect(), Arc::clone(input));
        let Some(values) = self.values() else { return all() };
        let reads = self.reads();
        let by = |at: usize| {
            let place = reads.binary_search(&at).ok()?;
            let name = input.fields().get(at)?.name();
            Some(Arc::new(Column::new(name, place)) as Arc<dyn PhysicalExpr>)
        };
        let values: Option<Vec<_>> = values.iter().map(|expression| replaced(expression, &by)).collect();
        let fields: Option<Vec<_>> = reads.iter().map(|at| input.fields().get(*at).cloned()).collect();
        match (values, fields) {
            (Some(values), Some(fields)) => {
                let schema = Arc::new(Schema::new_with_metadata(fields, input.metadata().clone()));
                (self.with_values(values), reads, schema)
            }
            _ => all(),
        }
    }
}
