//! Orders of a shop.

use std::sync::Arc;

use arrow::array::{Decimal128Array, Int32Array, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use levada_connector_api::Result;

use super::columns::Text;
use super::source::{event_time, fitting};
use super::{Draw, Generate, Options};

/// What each order counts against a limit of bytes.
const ROW_BYTES: usize = 64;

/// The products, and what one costs in cents before the order's own rebate or surcharge.
const PRODUCTS: [(&str, i128); 12] = [
    ("apples", 249),
    ("bread", 349),
    ("butter", 299),
    ("cheese", 799),
    ("coffee", 1299),
    ("honey", 899),
    ("kettle", 4999),
    ("lamp", 7999),
    ("milk", 129),
    ("oranges", 329),
    ("tea", 599),
    ("wine", 1899),
];

/// Generates orders.
pub(super) struct Orders {
    schema: SchemaRef,
    options: Options,
}

impl Orders {
    pub(super) fn new(options: &Options) -> Self {
        let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let schema = Schema::new(vec![
            Field::new("order_id", DataType::Int64, true),
            Field::new("customer", DataType::Utf8, true),
            Field::new("product", DataType::Utf8, true),
            Field::new("quantity", DataType::Int32, true),
            Field::new("price", DataType::Decimal128(10, 2), true),
            Field::new("ts", time, true),
        ]);
        Self { schema: Arc::new(schema), options: options.clone() }
    }
}

impl Generate for Orders {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn generate(&self, first: u64, rows: usize, bytes: usize) -> Result<(RecordBatch, usize)> {
        let rows = fitting(rows, bytes, ROW_BYTES);
        let mut ids = Vec::with_capacity(rows);
        let mut customers = Text::with_capacity(rows, 12);
        let mut products = Text::with_capacity(rows, 8);
        let mut quantities = Vec::with_capacity(rows);
        let mut prices = Vec::with_capacity(rows);
        let mut times = Vec::with_capacity(rows);
        for row in (first..).take(rows) {
            let draw = Draw::row(self.options.seed, row);
            ids.push(i64::try_from(row).unwrap_or(i64::MAX));
            customers.push_number("c", draw.below(0, self.options.keys), 6)?;
            let product = draw.below(1, PRODUCTS.len() as u64) as usize;
            let (name, cents) = PRODUCTS.get(product).copied().unwrap_or(("other", 100));
            products.push(name)?;
            quantities.push(1 + draw.below(2, 10) as i32);
            // A tenth more or less.
            prices.push(cents * (900 + i128::from(draw.below(3, 201))) / 1000);
            times.push(event_time(&self.options, row)?);
        }
        let rows = RecordBatch::try_new(
            self.schema(),
            vec![
                Arc::new(Int64Array::from(ids)),
                customers.finish()?,
                products.finish()?,
                Arc::new(Int32Array::from(quantities)),
                Arc::new(Decimal128Array::from(prices).with_precision_and_scale(10, 2)?),
                Arc::new(TimestampMicrosecondArray::from(times).with_timezone("UTC")),
            ],
        )?;
        let bytes = rows.num_rows() * ROW_BYTES;
        Ok((rows, bytes))
    }
}
