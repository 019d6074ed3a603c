//! Several streams as one.

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use levada_connector_api::config::{Config, ConfigDef, ConfigKey, ConfigType, Importance};
use levada_connector_api::{
    Batch, BindContext, Bound, Emitted, Error, Plugin, Result, Transform, TransformPlugin, WATERMARK, async_trait,
    find_column, watermark_delay,
};
use levada_expressions::{Expression, SqlOptions};
use levada_formats::ddl::type_name;

/// Rows of all inputs, columns matched by name.
#[derive(Default)]
struct UnionTransform {
    schema: Option<SchemaRef>,
    /// For each input: the output's columns in it.
    columns: Vec<Vec<Source>>,
    inputs: Vec<SchemaRef>,
    options: SqlOptions,
}

/// Where a column of the output comes from in an input.
enum Source {
    Column(usize),
    /// It is cast to the type that it has in all inputs together.
    Cast(Expression),
}

/// The type that values of both are cast to, as Spark's `coalesce` does it; the fields of structs are matched by name.
fn common(a: &DataType, b: &DataType, options: &SqlOptions) -> Option<DataType> {
    match (a, b) {
        (a, b) if a == b => return Some(a.clone()),
        (DataType::Struct(x), DataType::Struct(y)) if x.len() == y.len() => {
            let fields = x.iter().map(|x| {
                let y = named(y, x.name())?;
                let ty = common(x.data_type(), y.data_type(), options)?;
                Some(Field::new(x.name(), ty, x.is_nullable() || y.is_nullable()))
            });
            return fields.collect::<Option<Vec<_>>>().map(|fields| DataType::Struct(fields.into()));
        }
        (DataType::List(x), DataType::List(y)) => {
            let ty = common(x.data_type(), y.data_type(), options)?;
            return Some(DataType::List(Arc::new(Field::new_list_field(ty, true))));
        }
        _ => {}
    }
    let both = Schema::new(vec![Field::new("a", a.clone(), true), Field::new("b", b.clone(), true)]);
    let expression = Expression::compile("coalesce(a, b)", &Arc::new(both), options).ok()?;
    Some(expression.data_type().clone())
}

fn named<'a>(fields: &'a Fields, name: &str) -> Option<&'a Field> {
    fields.iter().find(|field| field.name().eq_ignore_ascii_case(name)).map(AsRef::as_ref)
}

fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// The expression that brings `value` from one type to another that [`common`] gave.
fn brought(value: &str, from: &DataType, to: &DataType, depth: usize) -> String {
    match (from, to) {
        (from, to) if from == to => value.to_owned(),
        (DataType::Struct(own), DataType::Struct(wanted)) => {
            let field = |wanted: &Arc<Field>| {
                let own = named(own, wanted.name()).unwrap_or(wanted);
                let inner = format!("{value}.{}", quoted(own.name()));
                let inner = brought(&inner, own.data_type(), wanted.data_type(), depth);
                format!("'{}', {inner}", wanted.name().replace('\\', "\\\\").replace('\'', "\\'"))
            };
            let fields: Vec<String> = wanted.iter().map(field).collect();
            format!("IF({value} IS NULL, NULL, named_struct({}))", fields.join(", "))
        }
        (DataType::List(own), DataType::List(wanted)) => {
            let item = format!("item{depth}");
            let inner = brought(&item, own.data_type(), wanted.data_type(), depth + 1);
            format!("transform({value}, {item} -> {inner})")
        }
        (_, to) => format!("coalesce({value}, CAST(NULL AS {}))", type_name(to)),
    }
}

#[async_trait]
impl Transform for UnionTransform {
    fn bind(&mut self, input: &SchemaRef, context: &BindContext) -> Result<Bound> {
        self.bind_all(std::slice::from_ref(input), context)
    }

    fn bind_all(&mut self, inputs: &[SchemaRef], _context: &BindContext) -> Result<Bound> {
        let Some((first, others)) = inputs.split_first() else {
            return Err(Error::config("a Union without inputs"));
        };
        let mut fields: Vec<Field> = first.fields().iter().map(|field| field.as_ref().clone()).collect();
        let mut places: Vec<Vec<usize>> = vec![(0..fields.len()).collect()];
        for (number, other) in others.iter().enumerate() {
            if other.fields().len() != fields.len() {
                return Err(Error::config(format!(
                    "[NUM_COLUMNS_MISMATCH] input 1 has {} columns, and input {} has {}",
                    fields.len(),
                    number + 2,
                    other.fields().len()
                ))
                .hint("select the same columns in all inputs"));
            }
            let mut own = Vec::new();
            for field in &mut fields {
                let at = find_column(other, field.name()).map_err(|error| {
                    error.context(format!("[UNRESOLVED_COLUMN] columns are matched by name: input {}", number + 2))
                })?;
                let theirs = other.field(at);
                let Some(ty) = common(field.data_type(), theirs.data_type(), &self.options) else {
                    return Err(Error::config(format!(
                        "the column '{}' is {} in input 1 and {} in input {}",
                        field.name(),
                        field.data_type(),
                        theirs.data_type(),
                        number + 2
                    ))
                    .hint("cast one of them in a Select before the Union"));
                };
                if ty != *field.data_type() {
                    field.set_data_type(ty);
                }
                if let Some(delay) = watermark_delay(theirs) {
                    let delay = watermark_delay(field).map_or(delay, |own| own.max(delay));
                    let mut metadata = field.metadata().clone();
                    metadata.insert(WATERMARK.to_owned(), delay.to_string());
                    field.set_metadata(metadata);
                }
                if theirs.is_nullable() {
                    field.set_nullable(true);
                }
                own.push(at);
            }
            places.push(own);
        }
        self.columns.clear();
        for (input, places) in inputs.iter().zip(places) {
            let sources = places.into_iter().zip(&fields).map(|(at, field)| {
                let own = input.field(at);
                if own.data_type() == field.data_type() {
                    return Ok(Source::Column(at));
                }
                let text = brought(&quoted(own.name()), own.data_type(), field.data_type(), 0);
                let expression = Expression::compile(&text, input, &self.options)?;
                match expression.data_type() == field.data_type() {
                    true => Ok(Source::Cast(expression)),
                    false => {
                        Err(Error::config(format!("the column '{}' has types that do not go together", own.name()))
                            .hint("cast it in a Select before the Union"))
                    }
                }
            });
            self.columns.push(sources.collect::<Result<_>>()?);
        }
        self.inputs = inputs.to_vec();
        let schema = Arc::new(Schema::new(fields));
        self.schema = Some(schema.clone());
        Ok(Bound::stateless(schema))
    }

    fn origin(&self, column: &str) -> Option<String> {
        // The columns have the same names in all inputs. What is cast is not the same before.
        let at = find_column(self.schema.as_ref()?, column).ok()?;
        let cast = |sources: &Vec<Source>| matches!(sources.get(at), Some(Source::Cast(_)));
        if self.columns.iter().any(cast) {
            return None;
        }
        Some(quoted(column))
    }

    /// Every input is read for the columns of these names, however it writes them.
    fn reads(&self, wanted: Option<&[String]>) -> Option<Vec<String>> {
        let (wanted, schema) = (wanted?, self.schema.as_ref()?);
        let mut names = wanted.to_vec();
        for (inputs, own) in self.inputs.iter().zip(&self.columns) {
            for (field, source) in schema.fields().iter().zip(own) {
                if wanted.contains(field.name()) {
                    let places = match source {
                        Source::Column(at) => vec![*at],
                        Source::Cast(expression) => expression.reads(),
                    };
                    names.extend(places.iter().filter_map(|at| inputs.fields().get(*at)).map(|f| f.name().clone()));
                }
            }
        }
        Some(names)
    }

    async fn process(&mut self, batch: Batch) -> Result<Emitted> {
        self.process_input(0, batch).await
    }

    async fn process_input(&mut self, input: usize, batch: Batch) -> Result<Emitted> {
        let (Some(schema), Some(columns)) = (&self.schema, self.columns.get(input)) else {
            return Err(Error::internal("a Union was used before it was bound"));
        };
        let column = |source: &Source| match source {
            Source::Column(at) => {
                batch.rows.columns().get(*at).cloned().ok_or_else(|| Error::internal("a Union's input lacks a column"))
            }
            Source::Cast(expression) => expression.evaluate(&batch.rows),
        };
        let columns = columns.iter().map(column).collect::<Result<_>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let rows = RecordBatch::try_new_with_options(schema.clone(), columns, &options);
        let rows = rows?;
        Ok(Emitted::one(Batch::with_origin(rows, batch.origin)))
    }
}

/// The plugin `Union`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Union;

impl Plugin for Union {
    fn name(&self) -> &str {
        "Union"
    }

    fn version(&self) -> &str {
        env!("CARGO_PKG_VERSION")
    }

    fn doc(&self) -> &str {
        "All rows of several inputs, named in 'inputs'; columns are matched by name."
    }

    fn config_def(&self) -> ConfigDef {
        ConfigDef::new().key(
            ConfigKey::new(
                "ansi",
                ConfigType::Boolean,
                Importance::Low,
                "How columns of several types become one: as in Spark 4, where text that is no number is an error, or not.",
            )
            .default(true),
        )
    }
}

impl TransformPlugin for Union {
    fn create(&self, config: &Config) -> Result<Box<dyn Transform>> {
        let options = SqlOptions { ansi: config.bool("ansi"), ..SqlOptions::default() };
        Ok(Box::new(UnionTransform { options, ..UnionTransform::default() }))
    }
}
