//! `Select`: columns computed from columns.

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Field, Schema, SchemaRef};
use levada_connector_api::config::{Config, ConfigDef, ConfigError, ConfigKey, ConfigType, Importance, Validator};
use levada_connector_api::{
    Batch, BindContext, Bound, Emitted, Error, Origin, Plugin, Result, Transform, TransformPlugin, async_trait,
    find_column,
};

use crate::filter::{Filter, ansi_key, split};
use levada_expressions::{Projection, SqlOptions, bad_rows, split_list, write_origin};

/// Computes columns, and renames them.
#[derive(Debug)]
pub struct Select {
    /// The items of the select list.
    items: Vec<String>,
    renames: Vec<(String, String)>,
    /// Whether all renames look at the old names, which must be there.
    strict: bool,
    /// Whether an item takes the place of a column with its name.
    replace: bool,
    prefix: String,
    options: SqlOptions,
    alias: String,
    bound: Option<(Projection, SchemaRef)>,
    input: Option<SchemaRef>,
    /// What is exploded was tested for items before already.
    tested: bool,
}

impl Select {
    /// A select list in Spark SQL, and pairs of names: the columns called by the first get the second.
    pub fn new(columns: impl Into<String>, renames: Vec<(String, String)>, options: SqlOptions) -> Self {
        let (prefix, alias) = (String::new(), "Select".to_owned());
        let columns = columns.into();
        // A list that cannot be split is an item that cannot be compiled, with the same message.
        let items = split_list(&columns).unwrap_or_else(|_| vec![columns]);
        Self {
            items,
            renames,
            strict: true,
            replace: false,
            prefix,
            options,
            alias,
            bound: None,
            input: None,
            tested: false,
        }
    }

    fn project(&self, input: &SchemaRef) -> Result<Projection> {
        let items: Vec<_> = self.items.iter().map(String::as_str).collect();
        let projection = Projection::compile(&items, input, &self.options)?;
        match self.items.split_first() {
            Some((star, items)) if self.replace && star.trim() == "*" => self.replaced(input, items, projection),
            _ => Ok(projection),
        }
    }

    /// `*` and items, where items take the places of columns with their names.
    fn replaced(&self, input: &SchemaRef, items: &[String], projection: Projection) -> Result<Projection> {
        let schema = projection.schema();
        let columns = input.fields().len();
        let made = schema.fields().get(columns..).unwrap_or_default();
        if made.len() != items.len() {
            return Ok(projection);
        }
        let quoted = |name: &str| format!("`{}`", name.replace('`', "``"));
        let mut list: Vec<String> = input.fields().iter().map(|field| quoted(field.name())).collect();
        let mut replaced = false;
        for (item, field) in items.iter().zip(made) {
            let same = |column: &Arc<Field>| column.name().to_lowercase() == field.name().to_lowercase();
            match input.fields().iter().position(same).and_then(|at| list.get_mut(at)) {
                Some(place) => {
                    place.clone_from(item);
                    replaced = true;
                }
                None => list.push(item.clone()),
            }
        }
        if !replaced {
            return Ok(projection);
        }
        let list: Vec<_> = list.iter().map(String::as_str).collect();
        Projection::compile(&list, input, &self.options)
    }

    /// As Spark renames: a pair after the other, each all columns of its name, without regard to case.
    fn renamed_in_turn(&self, schema: &SchemaRef) -> SchemaRef {
        let mut fields: Vec<Field> = schema.fields().iter().map(|field| field.as_ref().clone()).collect();
        for (from, to) in &self.renames {
            for field in fields.iter_mut().filter(|field| field.name().to_lowercase() == from.to_lowercase()) {
                field.set_name(to.clone());
            }
        }
        Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
    }

    fn renamed(&self, schema: &SchemaRef) -> Result<SchemaRef> {
        if !self.strict {
            return Ok(self.renamed_in_turn(schema));
        }
        let mut fields: Vec<Field> = schema.fields().iter().map(|field| field.as_ref().clone()).collect();
        let mut taken = vec![false; fields.len()];
        for (from, to) in &self.renames {
            // All renames look at the old names, so that two columns can swap theirs.
            let at = find_column(schema, from)?;
            if let (Some(field), Some(taken)) = (fields.get_mut(at), taken.get_mut(at)) {
                if *taken {
                    return Err(Error::config(format!("the column '{from}' is renamed twice")));
                }
                *taken = true;
                field.set_name(to.clone());
            }
        }
        Ok(Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone())))
    }
}

#[async_trait]
impl Transform for Select {
    fn bind(&mut self, input: &SchemaRef, context: &BindContext) -> Result<Bound> {
        let projection = self.project(input).map_err(|error| error.context(format!("{}columns", self.prefix)))?;
        let renamed = self.renamed(&projection.schema());
        let schema = renamed.map_err(|error| error.context(format!("{}rename", self.prefix)))?;
        self.input = Some(Arc::clone(input));
        self.bound = Some((projection, Arc::clone(&schema)));
        self.alias = context.alias.clone();
        Ok(Bound::stateless(schema))
    }

    /// Rows that give none are dropped before a watermark: they do not move it.
    fn split_off(&mut self, copies: usize, origin: &dyn Fn(&str) -> Option<String>) -> Vec<Box<dyn Transform>> {
        let needs = self.bound.as_ref().and_then(|(projection, _)| projection.needs()).filter(|_| !self.tested);
        let Some((_, moved)) = needs.and_then(|needs| split(&needs, &self.options, origin)) else { return Vec::new() };
        self.tested = true;
        (0..copies).map(|_| Box::new(Filter::new(moved.clone(), self.options.clone())) as Box<dyn Transform>).collect()
    }

    fn origin(&self, column: &str) -> Option<String> {
        let (projection, schema) = self.bound.as_ref()?;
        let at = find_column(schema, column).ok()?;
        projection.source(at).map(|source| write_origin(source, self.options.ansi))
    }

    /// What nobody looks at is not computed, and cannot fail, as in Spark.
    fn wanted(&mut self, wanted: Option<&[String]>) {
        if let (Some((projection, schema)), Some(wanted)) = (&mut self.bound, wanted) {
            *projection = projection.spared(|at| wanted.contains(schema.field(at).name()));
        }
    }

    fn reads(&self, wanted: Option<&[String]>) -> Option<Vec<String>> {
        let (input, (projection, schema)) = (self.input.as_ref()?, self.bound.as_ref()?);
        let wanted = |at: usize| wanted.is_none_or(|wanted| wanted.contains(schema.field(at).name()));
        let reads = projection.reads_of(wanted);
        Some(reads.iter().filter_map(|at| input.fields().get(*at)).map(|field| field.name().clone()).collect())
    }

    async fn process(&mut self, batch: Batch) -> Result<Emitted> {
        let Some((projection, schema)) = &self.bound else {
            return Err(Error::internal("process was called before bind"));
        };
        let (rows, bad) = projection.evaluate_isolating(&batch.rows)?;
        let origin = origin_of(&batch, projection.keeps_rows(), &bad);
        let rejected = bad_rows(&self.alias, &batch, bad);
        let batches = if rows.num_rows() == 0 {
            Vec::new()
        } else {
            // Not `with_schema`: it refuses columns of other names.
            let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
            let rows = RecordBatch::try_new_with_options(Arc::clone(schema), rows.columns().to_vec(), &options)?;
            vec![Batch::with_origin(rows, origin)]
        };
        Ok(Emitted { batches, rejected })
    }
}

/// Makes [`Select`]s.
#[derive(Debug, Clone, Copy)]
pub struct SelectPlugin;

impl Plugin for SelectPlugin {
    fn name(&self) -> &str {
        "Select"
    }

    fn version(&self) -> &str {
        env!("CARGO_PKG_VERSION")
    }

    fn doc(&self) -> &str {
        "Computes columns with expressions in Spark SQL, explodes arrays, and renames columns"
    }

    fn config_def(&self) -> ConfigDef {
        let columns = "The select list: expressions in Spark SQL between commas, with or without AS name; * stands for all \
                       columns, c.* for the fields of the struct c, and one explode() makes a row of each item";
        let rename = "New names for columns, after the select list: old:new, between commas";
        ConfigDef::new()
            .key(
                ConfigKey::new("columns", ConfigType::String, Importance::High, columns)
                    .default("*")
                    .validator(Validator::non_empty())
                    .validator(Validator::new("a list of expressions", |text| {
                        split_list(text).map(|_| ()).map_err(|error| error.to_string())
                    })),
            )
            .key(
                ConfigKey::new("rename", ConfigType::String, Importance::Medium, rename)
                    .optional()
                    .validator(Validator::new("old:new,…", |text| parse_renames(text).map(|_| ()))),
            )
            .key(
                ConfigKey::new(
                    "rename.strict",
                    ConfigType::Boolean,
                    Importance::Low,
                    "Whether a name that is not there is an error, and all renames look at the old names. Otherwise they are \
                     done one after the other, without regard to case, and unknown names are left out, as in Spark",
                )
                .default(true),
            )
            .key(
                ConfigKey::new(
                    "replace",
                    ConfigType::Boolean,
                    Importance::Low,
                    "Whether an item after a leading * takes the place of the column that has its name, as in Spark's \
                     withColumn; otherwise it is one more column",
                )
                .default(false),
            )
            .key(ansi_key())
    }

    fn validate(&self, config: &Config) -> Vec<ConfigError> {
        if config.is_given("columns") || config.is_given("rename") {
            return Vec::new();
        }
        vec![ConfigError::new("columns", "missing; give columns, rename or both")]
    }
}

impl TransformPlugin for SelectPlugin {
    fn create(&self, config: &Config) -> Result<Box<dyn Transform>> {
        let options = SqlOptions { ansi: config.bool("ansi"), ..SqlOptions::default() };
        let renames = parse_renames(&config.string_opt("rename").unwrap_or_default())
            .map_err(|message| Error::config(message).context(config.full_key("rename")))?;
        let mut select = Select::new(config.string("columns"), renames, options);
        select.prefix = config.full_key("");
        select.strict = config.bool("rename.strict");
        select.replace = config.bool("replace");
        Ok(Box::new(select))
    }
}

/// `old:new,old:new`. A name with a colon or comma in it stands in backticks.
fn parse_renames(text: &str) -> std::result::Result<Vec<(String, String)>, String> {
    let wrong = || "write it as old:new, old:new".to_owned();
    let mut renames = Vec::new();
    for pair in split_outside(text, ',').into_iter().filter(|pair| !pair.trim().is_empty()) {
        let [from, to] = <[String; 2]>::try_from(split_outside(&pair, ':')).map_err(|_| wrong())?;
        let (from, to) = (bare(&from), bare(&to));
        if from.is_empty() || to.is_empty() {
            return Err(wrong());
        }
        renames.push((from, to));
    }
    Ok(renames)
}

/// Splits at `separator` where it does not stand in backticks.
fn split_outside(text: &str, separator: char) -> Vec<String> {
    let mut quoted = false;
    let split = |c: char| {
        quoted ^= c == '`';
        c == separator && !quoted
    };
    text.split(split).map(str::to_owned).collect()
}

fn bare(name: &str) -> String {
    let name = name.trim();
    let inner = name.strip_prefix('`').and_then(|name| name.strip_suffix('`'));
    inner.unwrap_or(name).replace("``", "`")
}

/// Where the rows come from that a projection makes of a batch.
pub(crate) fn origin_of(batch: &Batch, keeps_rows: bool, bad: &[(usize, String)]) -> Origin {
    match (keeps_rows, bad) {
        (true, []) => batch.origin.clone(),
        (true, bad) => batch.origin.without(batch.num_rows(), bad.iter().map(|(row, _)| *row)),
        (false, _) => batch.origin.blurred(),
    }
}
