//! Trees in the words of each format: XGBoost's JSON and UBJSON, LightGBM's text, ONNX, Spark's folders.

use std::fmt::Write as _;

/// A tree whose nodes are in pre-order.
#[derive(Debug, Clone)]
pub(crate) enum Shape {
    Leaf(f32),
    Split { feature: usize, at: f32, nan_left: bool, left: Box<Shape>, right: Box<Shape> },
}

/// A node in a list.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flat {
    pub(crate) feature: usize,
    /// The threshold, or the leaf's value.
    pub(crate) at: f32,
    pub(crate) nan_left: bool,
    /// The children; none at a leaf.
    pub(crate) children: Option<(usize, usize)>,
}

pub(crate) fn flat(shape: &Shape, to: &mut Vec<Flat>) -> usize {
    let here = to.len();
    match shape {
        Shape::Leaf(value) => to.push(Flat { feature: 0, at: *value, nan_left: false, children: None }),
        Shape::Split { feature, at, nan_left, left, right } => {
            to.push(Flat { feature: *feature, at: *at, nan_left: *nan_left, children: None });
            let left = flat(left, to);
            let right = flat(right, to);
            to[here].children = Some((left, right));
        }
    }
    here
}

pub(crate) fn flats(trees: &[Shape]) -> Vec<Vec<Flat>> {
    let flatten = |tree: &Shape| {
        let mut nodes = Vec::new();
        flat(tree, &mut nodes);
        nodes
    };
    trees.iter().map(flatten).collect()
}

fn join(items: impl Iterator<Item = String>, between: &str) -> String {
    items.collect::<Vec<_>>().join(between)
}

pub(crate) fn xgboost_json(trees: &[Shape], features: usize) -> String {
    let tree = |nodes: &Vec<Flat>| {
        let list = |value: &dyn Fn(&Flat) -> String| join(nodes.iter().map(value), ",");
        format!(
            "{{\"left_children\":[{}],\"right_children\":[{}],\"split_conditions\":[{}],\"split_indices\":[{}],\
             \"default_left\":[{}],\"split_type\":[{}]}}",
            list(&|node| node.children.map_or(-1, |(left, _)| left as i64).to_string()),
            list(&|node| node.children.map_or(-1, |(_, right)| right as i64).to_string()),
            list(&|node| format!("{:e}", node.at)),
            list(&|node| node.feature.to_string()),
            list(&|node| u8::from(node.nan_left).to_string()),
            list(&|_| "0".into()),
        )
    };
    let flats = flats(trees);
    format!(
        "{{\"learner\":{{\"learner_model_param\":{{\"base_score\":\"[5E-1]\",\"num_class\":\"0\",\"num_feature\":\"{features}\"}},\
         \"objective\":{{\"name\":\"reg:squarederror\"}},\"gradient_booster\":{{\"name\":\"gbtree\",\"model\":\
         {{\"tree_info\":[{}],\"trees\":[{}]}}}}}}}}",
        join(flats.iter().map(|_| "0".into()), ","),
        join(flats.iter().map(tree), ","),
    )
}

/// The same document in UBJSON, lists of floats as typed arrays.
pub(crate) fn ubjson(value: &serde_json::Value) -> Vec<u8> {
    use serde_json::Value;
    fn text(text: &str, to: &mut Vec<u8>) {
        to.push(b'L');
        to.extend((text.len() as i64).to_be_bytes());
        to.extend(text.as_bytes());
    }
    fn write(value: &Value, to: &mut Vec<u8>) {
        match value {
            Value::Object(object) => {
                to.push(b'{');
                for (key, value) in object {
                    text(key, to);
                    write(value, to);
                }
                to.push(b'}');
            }
            Value::Array(list) if !list.is_empty() && list.iter().all(Value::is_f64) => {
                to.extend(b"[$d#L");
                to.extend((list.len() as i64).to_be_bytes());
                list.iter().for_each(|item| to.extend((item.as_f64().unwrap() as f32).to_be_bytes()));
            }
            Value::Array(list) => {
                to.extend(b"[#L");
                to.extend((list.len() as i64).to_be_bytes());
                list.iter().for_each(|item| write(item, to));
            }
            Value::String(string) => {
                to.push(b'S');
                text(string, to);
            }
            Value::Number(number) if number.is_f64() => {
                to.push(b'D');
                to.extend(number.as_f64().unwrap().to_be_bytes());
            }
            Value::Number(number) => {
                to.push(b'l');
                to.extend((number.as_i64().unwrap() as i32).to_be_bytes());
            }
            Value::Bool(true) => to.push(b'T'),
            Value::Bool(false) => to.push(b'F'),
            Value::Null => to.push(b'Z'),
        }
    }
    let mut bytes = Vec::new();
    write(value, &mut bytes);
    bytes
}

/// LightGBM's text; `missing` is its missing type: 0 none, 1 zero, 2 NaN.
pub(crate) fn lightgbm(trees: &[Shape], features: usize, missing: u8) -> String {
    let mut text = format!(
        "tree\nversion=v4\nnum_class=1\nnum_tree_per_iteration=1\nmax_feature_idx={}\nobjective=regression\n\
         feature_names={}\nfeature_infos={}\n\n",
        features - 1,
        join((0..features).map(|at| format!("c{at}")), " "),
        join((0..features).map(|_| "[0:1]".into()), " "),
    );
    for (number, nodes) in flats(trees).iter().enumerate() {
        let splits: Vec<usize> = (0..nodes.len()).filter(|at| nodes[*at].children.is_some()).collect();
        let leaves: Vec<usize> = (0..nodes.len()).filter(|at| nodes[*at].children.is_none()).collect();
        let id = |node: usize| match splits.iter().position(|at| *at == node) {
            Some(split) => split as i64,
            None => !(leaves.iter().position(|at| *at == node).unwrap() as i64),
        };
        let list = |value: &dyn Fn(&Flat) -> String| join(splits.iter().map(|at| value(&nodes[*at])), " ");
        let _ = write!(
            text,
            "Tree={number}\nnum_leaves={}\nnum_cat=0\nsplit_feature={}\nthreshold={}\ndecision_type={}\nleft_child={}\n\
             right_child={}\nleaf_value={}\n\n\n",
            leaves.len(),
            list(&|node| node.feature.to_string()),
            list(&|node| format!("{:e}", f64::from(node.at))),
            list(&|node| (missing << 2 | u8::from(node.nan_left) << 1).to_string()),
            list(&|node| id(node.children.unwrap().0).to_string()),
            list(&|node| id(node.children.unwrap().1).to_string()),
            join(leaves.iter().map(|at| format!("{:e}", f64::from(nodes[*at].at))), " "),
        );
    }
    text + "end of trees\n\npandas_categorical:null\n"
}

fn varint(mut number: u64, to: &mut Vec<u8>) {
    while number > 0x7f {
        to.push(number as u8 | 0x80);
        number >>= 7;
    }
    to.push(number as u8);
}

fn bytes(field: u64, value: &[u8], to: &mut Vec<u8>) {
    varint(field << 3 | 2, to);
    varint(value.len() as u64, to);
    to.extend(value);
}

fn number(field: u64, value: u64, to: &mut Vec<u8>) {
    varint(field << 3, to);
    varint(value, to);
}

/// An ONNX model of one TreeEnsembleRegressor whose nodes all have `mode`.
pub(crate) fn onnx(trees: &[Shape], features: usize, mode: &str) -> Vec<u8> {
    onnx_of(&flats(trees), features, mode)
}

/// The same of lists of nodes, which need not be trees.
pub(crate) fn onnx_of(flats: &[Vec<Flat>], features: usize, mode: &str) -> Vec<u8> {
    let all = || {
        flats.iter().enumerate().flat_map(|(tree, nodes)| nodes.iter().enumerate().map(move |(at, n)| (tree, at, n)))
    };
    let mut node = Vec::new();
    let ints = |name: &str, values: Vec<usize>, node: &mut Vec<u8>| {
        let mut attribute = Vec::new();
        bytes(1, name.as_bytes(), &mut attribute);
        values.iter().for_each(|value| number(8, *value as u64, &mut attribute));
        bytes(5, &attribute, node);
    };
    let floats = |name: &str, values: Vec<f32>, node: &mut Vec<u8>| {
        let mut attribute = Vec::new();
        bytes(1, name.as_bytes(), &mut attribute);
        bytes(7, &values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>(), &mut attribute);
        bytes(5, &attribute, node);
    };
    bytes(1, b"X", &mut node);
    bytes(2, b"Y", &mut node);
    bytes(4, b"TreeEnsembleRegressor", &mut node);
    ints("nodes_treeids", all().map(|(tree, ..)| tree).collect(), &mut node);
    ints("nodes_nodeids", all().map(|(_, at, _)| at).collect(), &mut node);
    ints("nodes_featureids", all().map(|(.., n)| n.feature).collect(), &mut node);
    ints("nodes_truenodeids", all().map(|(.., n)| n.children.map_or(0, |c| c.0)).collect(), &mut node);
    ints("nodes_falsenodeids", all().map(|(.., n)| n.children.map_or(0, |c| c.1)).collect(), &mut node);
    ints("nodes_missing_value_tracks_true", all().map(|(.., n)| usize::from(n.nan_left)).collect(), &mut node);
    floats("nodes_values", all().map(|(.., n)| n.at).collect(), &mut node);
    let mut modes = Vec::new();
    bytes(1, b"nodes_modes", &mut modes);
    all().for_each(|(.., n)| bytes(9, if n.children.is_some() { mode.as_bytes() } else { b"LEAF" }, &mut modes));
    bytes(5, &modes, &mut node);
    let leaves = || all().filter(|(.., n)| n.children.is_none());
    ints("target_treeids", leaves().map(|(tree, ..)| tree).collect(), &mut node);
    ints("target_nodeids", leaves().map(|(_, at, _)| at).collect(), &mut node);
    ints("target_ids", leaves().map(|_| 0).collect(), &mut node);
    floats("target_weights", leaves().map(|(.., n)| n.at).collect(), &mut node);
    let mut dims = Vec::new();
    bytes(1, &[], &mut dims);
    let mut width = Vec::new();
    number(1, features as u64, &mut width);
    bytes(1, &width, &mut dims);
    let mut tensor = Vec::new();
    number(1, 1, &mut tensor);
    bytes(2, &dims, &mut tensor);
    let mut kind = Vec::new();
    bytes(1, &tensor, &mut kind);
    let mut input = Vec::new();
    bytes(1, b"X", &mut input);
    bytes(2, &kind, &mut input);
    let mut graph = Vec::new();
    bytes(1, &node, &mut graph);
    bytes(11, &input, &mut graph);
    let mut model = Vec::new();
    number(1, 9, &mut model);
    bytes(7, &graph, &mut model);
    model
}
